#!/usr/bin/env bash
# From this checkout onto a box.
#
#   ./flash.sh image                       build the image (build/image/<arch>/disk.img) and its signed update (update.raucb)
#   ./flash.sh qemu                        the same, then boot it here; its serial console is this terminal (Ctrl-A X ends it)
#   ./flash.sh card DEV                    write the image onto a card or disk, and read it back
#   ./flash.sh usb DIR                     put the signed update onto a mounted stick, for a box without a network
#   ./flash.sh board USER@HOST:DEV         write it onto the disk of a board that runs a rescue Linux, over ssh, and read it back
#   ./flash.sh test                        build, boot, record, update, break, roll back (make image-test)
#
# --arch arm64 before the verb: for a board of that kind that starts with U-Boot; without it amd64, with GRUB.
# --dry-run before the verb prints each command and runs none. Every command is printed before it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
arch=amd64 dry=no
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch="$2"; shift 2 ;;
        --dry-run) dry=yes; shift ;;
        -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
set -- "${arguments[@]:-}"
out="build/image/$arch"
say() { printf 'flash: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
run() {  # print, then do
    printf '+' >&2; printf ' %q' "$@" >&2; printf '\n' >&2
    [ "$dry" = yes ] || "$@"
}

image() {
    run tools/image-setup.sh "$arch"
    run rootfs/build.sh --arch "$arch"
    run tools/bundle.sh --arch "$arch"
}

built() { [ -e "$out/disk.img" ] || [ "$dry" = yes ] || { say "no image yet, building it"; image; }; }

# A disk that carries the running system, is mounted, is in use as swap or by device mapper, or is no whole disk, is never written.
whole_free_disk() {
    local disk="$1" name holder mounted
    [ -b "$disk" ] || fail "expected a block device such as /dev/sdb, $disk is none"
    name="$(lsblk -ndo KNAME "$disk")" || fail "expected lsblk to say what $disk is, it does not"
    case "$(lsblk -ndo TYPE "$disk")" in
        disk | loop) ;;  # loop: a file that stands for a disk
        *) fail "expected a whole disk, $disk is a $(lsblk -ndo TYPE "$disk"): name the disk it is on" ;;
    esac
    # Not MOUNTPOINTS, which lsblk knows since util-linux 2.37; and what does not say where a disk is mounted has not said that it is not.
    mounted="$(lsblk -nro MOUNTPOINT "$disk")" || fail "expected lsblk to say where $disk is mounted, it does not"
    if grep -q . <<<"$mounted"; then
        fail "expected a disk nobody uses, $disk is mounted: $(grep . <<<"$mounted" | paste -sd' '). Unmount it if it is the right one"
    fi
    for holder in /sys/class/block/"$name"/holders/* /sys/class/block/"$name"/"$name"*/holders/*; do
        [ ! -e "$holder" ] || fail "expected a disk nobody uses, $(basename "$holder") is built on $disk"
    done
    [ "$(cat "/sys/class/block/$name/ro")" = 0 ] || fail "expected a disk that can be written, $disk is read-only (a card's lock?)"
    local have need
    have="$(blockdev --getsize64 "$disk")" need="$(stat -c %s "$out/disk.img")"
    [ "$have" -ge "$need" ] || fail "expected at least $((need >> 20)) MiB, $disk has $((have >> 20)) MiB"
}

# Read back past the page cache: what counts is what the card holds.
same_as_written() {
    local size wrote
    size="$(stat -c %s "$out/disk.img")"
    wrote="$(dd if="$1" bs=4M iflag=direct count="$size" iflag=count_bytes,direct status=none | sha256sum | cut -d' ' -f1)"
    [ "$wrote" = "$(sha256sum <"$out/disk.img" | cut -d' ' -f1)" ] || fail "what $1 gives back is not what was written: the card is bad or not what it claims to be; do not use it"
    say "verified: $1 holds $out/disk.img"
}

card() {
    local disk="${1:-}"
    [ -n "$disk" ] || fail "expected a disk: ./flash.sh card /dev/sdb. These can be written: $(lsblk -ndo PATH,SIZE,MODEL,RM | awk '$NF==1' | paste -sd';')"
    built
    [ "$dry" = yes ] || whole_free_disk "$disk"
    say "$(lsblk -ndo PATH,SIZE,MODEL,SERIAL "$disk" 2>/dev/null || echo "$disk") will be overwritten"
    if [ "$dry" = no ] && [ -t 0 ] && [ "${SCRUBJAY_YES:-}" != 1 ]; then
        read -r -p "flash: type $disk again to go on: " again
        [ "$again" = "$disk" ] || fail "nothing was written"
    fi
    run dd if="$out/disk.img" of="$disk" bs=4M oflag=direct conv=fsync status=progress
    [ "$dry" = yes ] || same_as_written "$disk"
    # The backup partition table belongs at the disk's own end, and the data partition takes what is left: same beginning, later
    # end. The file system in it grows at the first start.
    run sgdisk --move-second-header "$disk"
    run sgdisk --delete=6 --largest-new=6 --typecode=6:8300 --change-name=6:data "$disk"
    say "first start: the box makes its key and its name, grows its data partition, and records. Connect the serial line at 115200 baud."
}

usb() {
    local place="${1:-}"
    [ -d "$place" ] || fail "expected the directory of a mounted stick, got ${place:-nothing}"
    [ -e "$out/update.raucb" ] || [ "$dry" = yes ] || image
    run install -D -m 644 "$out/update.raucb" "$place/scrubjay/update-$arch.raucb"
    [ "$dry" = yes ] || cmp "$out/update.raucb" "$place/scrubjay/update-$arch.raucb" || fail "the stick does not give back what was written"
    run sync -f "$place"
    say "put the stick into the box: signature, board and version are checked, and 'show system' on its console says what became of it"
}

board() {
    local target="${1:-}" host disk digest need=0
    host="${target%%:*}" disk="${target#*:}"
    [ -n "$host" ] && [ "$disk" != "$target" ] || fail "expected USER@HOST:DEV, got ${target:-nothing}"
    built
    digest="$([ "$dry" = yes ] || sha256sum <"$out/disk.img" | cut -d' ' -f1)"
    [ "$dry" = yes ] || need="$(stat -c %s "$out/disk.img")"
    # What is needed later, too: a rescue system has not every tool, and is asked before the first byte is written.
    # A whole disk, on which nothing but partitions is built: the same as whole_free_disk, in what any lsblk knows.
    local free="kinds=\"\$(lsblk -nro TYPE $disk)\" && mounted=\"\$(lsblk -nro MOUNTPOINT $disk)\" && test -z \"\$(echo \$mounted)\""
    free+=" && case \"\$kinds\" in disk*|loop*) ;; *) false ;; esac && ! echo \"\$kinds\" | grep -qvx -e disk -e loop -e part"
    run ssh "$host" "test -b $disk && $free && test \"\$(blockdev --getsize64 $disk)\" -ge $need && command -v sgdisk >/dev/null" ||
        fail "expected $disk on $host as a whole disk nobody uses of at least $((need >> 20)) MiB, and lsblk, blockdev and sgdisk there"
    run sh -c "zstd -q -T0 -c $out/disk.img | ssh $host 'zstd -q -d | dd of=$disk bs=4M oflag=direct conv=fsync iflag=fullblock status=none'"
    [ "$dry" = yes ] || [ "$(ssh "$host" "dd if=$disk bs=4M iflag=direct status=none count=$(($(stat -c %s "$out/disk.img") / 4194304)) | sha256sum" | cut -d' ' -f1)" = "$digest" ] ||
        fail "what $disk on $host gives back is not what was written"
    run ssh "$host" "sgdisk --move-second-header $disk && sgdisk --delete=6 --largest-new=6 --typecode=6:8300 --change-name=6:data $disk"
    say "written and read back; restart the board from $disk"
}

case "${1:-}" in
    image) image ;;
    qemu) built; run tools/boot.sh --arch "$arch" ;;
    card) card "${2:-}" ;;
    usb) usb "${2:-}" ;;
    board) board "${2:-}" ;;
    test) run make image-test ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
