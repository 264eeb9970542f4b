#!/usr/bin/env bash
# Boot a built image under QEMU; its serial console is this terminal. Ctrl-A X ends it. The image file itself is not changed.
#
#   tools/boot.sh [--arch amd64|arm64] [--disk FILE]
#
# Emulated (TCG), which needs no right of its host: a start takes minutes, a board's takes seconds.
set -euo pipefail
top="$(dirname "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)")"
arch=amd64 disk=
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch="$2"; shift 2 ;;
        --disk) disk="$2"; shift 2 ;;
        *) echo "boot: expected --arch or --disk, got $1" >&2; exit 2 ;;
    esac
done
disk="${disk:-$top/build/image/$arch/disk.img}"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
case "$arch" in
    amd64)
        # Without the string instructions that emulation makes slow: clearing a page takes eight times as long with them.
        board=(qemu-system-x86_64 -cpu "max,-erms,-fsrm" -M q35
            -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd -drive "if=pflash,format=raw,file=$place/variables")
        cp /usr/share/OVMF/OVMF_VARS_4M.fd "$place/variables" ;;
    arm64)
        # Cores with atomic instructions and none of pointer authentication, which emulation makes slow.
        board=(qemu-system-aarch64 -cpu cortex-a76 -M virt -bios "$top/build/image/$arch/u-boot.bin") ;;
    *) echo "boot: expected amd64 or arm64, got $arch" >&2; exit 2 ;;
esac
# eth0: the uplink, on QEMU's own network with no way out. eth1: the mirror port, on a switch of its own that nobody else is on.
"${board[@]}" -accel tcg,thread=multi -smp 2 -m 1024 -nodefaults -display none -serial mon:stdio -snapshot \
    -drive file="$disk",if=virtio,format=raw -device i6300esb -device virtio-rng-pci \
    -netdev user,id=uplink,restrict=on -device virtio-net-pci,netdev=uplink,romfile= \
    -netdev hubport,id=mirror,hubid=1 -device virtio-net-pci,netdev=mirror,romfile=
