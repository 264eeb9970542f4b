# What a board that starts with GRUB (UEFI, amd64) needs of the build; rootfs/build.sh reads it, grub.cfg beside it is what starts.
bootloader=grub bootloader_state=grubenv=/efi/grubenv
loader_packages=grub-common   # in the image: RAUC counts and switches with grub-editenv
loader_beside=                # beside the image, from the same suite
loader_tools="grub-mkimage grub-editenv"

loader_root() { :; }

loader_esp() {  # an empty file system, for GRUB, its settings and the state of the slots
    printf 'search --set=root --file /scrubjay/grub.cfg\nset prefix=($root)/scrubjay\nconfigfile ($root)/scrubjay/grub.cfg\n' >"$work/grub-early.cfg"
    grub-mkimage -O x86_64-efi -c "$work/grub-early.cfg" -p /scrubjay -o "$work/BOOTX64.EFI" \
        part_gpt fat ext2 normal configfile loadenv test echo linux serial terminal sleep reboot boot search search_fs_file minicmd probe regexp
    grub-editenv "$work/grubenv" create
    grub-editenv "$work/grubenv" set ORDER="A B" A_OK=1 A_TRY=0 B_OK=0 B_TRY=0 WHOLE=1
    mmd -i "$1" ::/EFI ::/EFI/BOOT ::/scrubjay
    mcopy -i "$1" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$1" "$here/usr/lib/scrubjay/boot/grub.cfg" ::/scrubjay/grub.cfg
    mcopy -i "$1" "$work/grubenv" ::/grubenv
}
