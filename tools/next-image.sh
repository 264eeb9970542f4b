#!/usr/bin/env bash
# The image to update to, for the tests: the same source under a later version, so that what is exchanged is whole and known.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version="$(cat build/image/amd64/version).next"
[ "$(cat build/image/next/version 2>/dev/null)" = "$version" ] || LEVEL=3 rootfs/build.sh --into build/image/next --version "$version"
