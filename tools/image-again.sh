#!/usr/bin/env bash
# The same commit gives the same bytes: builds it again in a clone of its own, nothing kept but who may sign updates, and compares.
#
#   tools/image-again.sh [amd64|arm64]      after ./flash.sh image of a tree without changes; some minutes, as a first build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
arch="${1:-amd64}" first="$PWD/build/image/${1:-amd64}"
[ -e "$first/disk.img" ] || { echo "image-again: expected an image to compare with, there is none: ./flash.sh --arch $arch image" >&2; exit 2; }
case "$(cat "$first/version")" in
    *".$(git log -1 --format=%h)") ;;
    *) echo "image-again: expected the image of this commit, $first is $(cat "$first/version"): ./flash.sh --arch $arch image" >&2; exit 2 ;;
esac
clone="$(mktemp -d "${TMPDIR:-/tmp}/scrubjay-again.XXXXXX")"
trap 'rm -rf --one-file-system "$clone"' EXIT
git clone --quiet . "$clone/scrubjay"
SCRUBJAY_KEYS="${SCRUBJAY_KEYS:-$PWD/build/image/development-keys}" "$clone/scrubjay/rootfs/build.sh" --arch "$arch"
for name in root.img boot.img disk.img sbom.json; do
    cmp "$first/$name" "$clone/scrubjay/build/image/$arch/$name" || { echo "image-again: $name is not the same, byte for byte" >&2; exit 1; }
done
echo "image-again: the same commit gave the same bytes: root.img, boot.img, disk.img, sbom.json"
