# What a board that starts with U-Boot (arm64) needs of the build; rootfs/build.sh reads it, u-boot.cmd beside it is what starts.
# U-Boot itself is the board's: it lies in the board's flash. What is laid beside the image is the one of QEMU's board.
bootloader=uboot bootloader_state=boot-attempts=3
loader_packages=libubootenv-tool   # in the image: RAUC counts and switches with fw_setenv
loader_beside=u-boot-qemu          # beside the image, from the same suite
loader_tools="mkimage mkenvimage"

loader_root() {  # file, offset, size: that of `env export -s` in u-boot.cmd
    printf '/efi/uboot.env 0x0 0x4000\n' >"$stage/etc/fw_env.config"
    dpkg-deb --fsys-tarfile "$stage"/boot-package/u-boot-qemu*.deb | tar -xO ./usr/lib/u-boot/qemu_arm64/u-boot.bin >"$into/u-boot.bin"
}

loader_esp() {  # an empty file system, for the script and the state of the slots
    sed "s|@CONSOLE@|$console|" "$here/usr/lib/scrubjay/boot/u-boot.cmd" >"$work/boot.cmd"
    mkimage -A arm64 -T script -n scrubjay -d "$work/boot.cmd" "$work/boot.scr" >/dev/null
    printf 'BOOT_ORDER=A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=0\n' | mkenvimage -s 0x4000 -p 0 -o "$work/uboot.env" -
    mcopy -i "$1" "$work/boot.scr" ::/boot.scr
    mcopy -i "$1" "$work/uboot.env" ::/uboot.env
}
