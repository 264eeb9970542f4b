# Scrubjay. Every target does its own set-up: missing Debian packages and the virtual environment in .venv.
#
#   make demo          a simulated room, a box, a broker and a hub on this machine: the main job, with figures; ends by itself
#   make demo KEEP=1   the same, and stays up with the hub's page on localhost until Ctrl-C
#   make test          style, types, imports, then every test
#   make bench         the figures beside their peers, measured in the same run
#   make image         the image of a box, its signed update and its list of parts: two minutes, needs root
#   make image-test    the same, then boots, records, updates, breaks and brings it back under QEMU: an hour, needs root
#   make image-test-arm64   the arm64 image, compiled across, booted to recording by U-Boot on QEMU's board, and updated: half an hour
#   make picture       docs/hub.png anew, from the demo's room
#   make lint          style, types, imports only

.PHONY: demo test bench lint picture setup image image-test image-test-arm64
BIN = .venv/bin

setup:
	@bash tools/setup.sh

demo: setup
	@$(BIN)/scrubjay demo --into build/demo $(if $(filter-out 0,$(KEEP)),--keep)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@tools/test.sh

bench: setup
	@$(BIN)/scrubjay bench

picture: setup
	@$(BIN)/python tools/picture.py

image:
	@./flash.sh image

image-test: setup image
	@tools/next-image.sh
	$(BIN)/pytest -vv --durations=0 --durations-min=1 -m image tests/image

image-test-arm64: setup
	@./flash.sh --arch arm64 image
	@tools/next-image.sh arm64
	$(BIN)/pytest -vv --durations=0 --durations-min=1 -m image tests/image/test_u_boot.py tests/image/test_arm64.py
