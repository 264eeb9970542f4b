#!/usr/bin/env bash
# The signed update of an image that rootfs/build.sh has built: a RAUC bundle with its root and its boot slot.
#
#   tools/bundle.sh [--arch A] [--from DIR] [--to FILE] [--downgrade] [--during-session] [--for CERTIFICATES]      keys: SCRUBJAY_KEYS
#
# --downgrade: signed as going back on purpose; a box takes an older version in no other way (rootfs/usr/lib/scrubjay/slots).
# --during-session: signed as to be changed to at once, even while a session is open; without it a box waits for the session's end.
# --for: encrypted, and readable by the boxes whose certificates are in this file only (`show recipient` at a box's console shows its).
# verity: a bundle can be streamed and is proved block by block while it is written. block-hash-index: a box fetches only the
# blocks it does not have yet.
set -euo pipefail
top="$(dirname "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)")"
arch=amd64 from= to= purpose=update recipients= format=verity
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch="$2"; shift 2 ;;
        --from) from="$2"; shift 2 ;;
        --to) to="$2"; shift 2 ;;
        --downgrade | --during-session) purpose+=" ${1#--}"; shift ;;
        --for) recipients="$2" format=crypt; shift 2 ;;
        *) echo "bundle: expected --arch, --from, --to, --downgrade, --during-session or --for, got $1" >&2; exit 2 ;;
    esac
done
from="${from:-$top/build/image/$arch}"
to="${to:-$from/update.raucb}"
if [ -n "$recipients" ] && ! openssl x509 -in "$recipients" -noout 2>/dev/null; then
    echo "bundle: expected boxes' certificates (PEM) in $recipients, there is none; a box's console shows its own: show recipient" >&2
    exit 2
fi
keys="${SCRUBJAY_KEYS:-$top/build/image/development-keys}"
[ -n "${SCRUBJAY_KEYS:-}" ] || "$top/tools/signing-keys.sh" "$keys"
version="$(cat "$from/version")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/bundle"
cp --reflink=auto "$from/root.img" "$from/boot.img" "$work/bundle/"
cat >"$work/bundle/manifest.raucm" <<MANIFEST
[update]
compatible=scrubjay-$arch
version=$version
description=$purpose

[bundle]
format=$format

[image.root]
filename=root.img
adaptive=block-hash-index

[image.boot]
filename=boot.img
MANIFEST
rm -f "$to"
# The box's own settings: what it would not take is not made.
sed -e "s|@ARCH@|$arch|" -e 's|@BOOTLOADER@|noop|' -e 's|@BOOTLOADER_STATE@||' -e "s|^path=.*|path=$keys/ca.pem|" \
    "$top/rootfs/etc/rauc/system.conf" >"$work/system.conf"
made="$to"
[ -z "$recipients" ] || made="$work/readable.raucb"
rauc --conf="$work/system.conf" --cert="$keys/sign.pem" --key="$keys/sign.key" bundle "$work/bundle" "$made" >/dev/null
[ -z "$recipients" ] || rauc --conf="$work/system.conf" encrypt --to="$recipients" "$made" "$to" >/dev/null
echo "bundle: $to: $version for $arch, $(($(stat -c %s "$to") >> 20)) MiB${recipients:+, for $(grep -c 'BEGIN CERTIFICATE' "$recipients") boxes alone}"
