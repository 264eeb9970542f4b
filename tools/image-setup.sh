#!/usr/bin/env bash
# Debian packages that building and booting an image needs, beyond tools/setup.sh. A second run finds everything there.
#
#   tools/image-setup.sh [amd64|arm64]
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# package | what must be there, or it is missing | why
table="
mmdebstrap      | mmdebstrap          | the Debian root, from packages
squashfs-tools  | mksquashfs          | the read-only root
cryptsetup-bin  | veritysetup         | its hash tree
gdisk           | sgdisk              | the partitions, labels and fixed UUIDs
dosfstools      | mkfs.vfat           | the partition of the boot loader
mtools          | mcopy               | files into it without mounting
e2fsprogs       | mke2fs              | boot slots and the data partition
kmod            | depmod              | the kernel modules a board needs, with what they depend on
cpio            | cpio                | the initramfs
zstd            | zstd                | packs it
binutils        | readelf             | what a program of the initramfs needs beside it
openssl         | openssl             | the keys that sign an update
rauc            | rauc                | makes the signed bundle
bc              | bc                  | sums
qemu-utils      | qemu-img            | the disks of machines that only tests boot
debian-archive-keyring | /usr/share/keyrings/debian-archive-keyring.gpg | whose packages these are
"
case "${1:-amd64}" in
    amd64) table+="
grub-common         | grub-mkimage                                  | the boot loader
grub-efi-amd64-bin  | /usr/lib/grub/x86_64-efi/search.mod           | its modules
qemu-system-x86     | qemu-system-x86_64                            | boots the image without a board
ovmf                | /usr/share/OVMF/OVMF_CODE_4M.fd               | the firmware it boots with
" ;;
    arm64) table+="
u-boot-tools        | mkimage                                       | the boot loader's script and its environment
gcc-aarch64-linux-gnu | aarch64-linux-gnu-gcc                       | the holder of the ring in the initramfs
libc6-dev-arm64-cross | /usr/aarch64-linux-gnu/include/stdio.h      | headers for it
qemu-user-static    | qemu-aarch64-static                           | runs the programs of the root that is being made
binfmt-support      | update-binfmts                                | has the kernel call it
arch-test           | arch-test                                     | whether it does; mmdebstrap asks, too
qemu-system-arm     | qemu-system-aarch64                           | boots the image without a board
" ;;
    *) echo "image-setup: expected amd64 or arm64, got $1" >&2; exit 2 ;;
esac
there() { case "$1" in /*) [ -e "$1" ] ;; *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;; esac; }
names=()
while IFS='|' read -r package probe why; do
    package="${package//[[:space:]]/}" probe="${probe//[[:space:]]/}"
    if [ -n "$package" ] && ! there "$probe"; then
        printf 'image-setup: missing %s:%s\n' "$package" "$why"
        names+=("$package")
    fi
done <<<"$table"
as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
if [ ${#names[@]} -gt 0 ]; then
    "${as_root[@]}" apt-get update -q >/dev/null || true
    "${as_root[@]}" apt-get install -y -q --no-install-recommends "${names[@]}" </dev/null >/dev/null
fi
# A machine that runs no systemd, such as a container, has not mounted what binfmt-support writes to.
if [ "${1:-amd64}" = arm64 ] && ! arch-test arm64 >/dev/null; then
    mountpoint -q /proc/sys/fs/binfmt_misc || "${as_root[@]}" mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    "${as_root[@]}" update-binfmts --enable qemu-aarch64
    arch-test arm64 >/dev/null || { echo "image-setup: this kernel does not run programs of arm64 (binfmt_misc and qemu-user-static)" >&2; exit 1; }
fi
echo "image-setup: everything is there"
