#!/usr/bin/env bash
# The image to update to, for the tests: the same source under a later version, so that what is exchanged is whole and known.
#
#   tools/next-image.sh [amd64|arm64]      into build/image/next or build/image/next-arm64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
arch="${1:-amd64}" into=build/image/next
[ "$arch" = amd64 ] || into="build/image/next-$arch"
version="$(cat "build/image/$arch/version").next"
[ "$(cat "$into/version" 2>/dev/null)" = "$version" ] || LEVEL=3 rootfs/build.sh --arch "$arch" --into "$into" --version "$version"
