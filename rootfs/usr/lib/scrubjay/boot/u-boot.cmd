# Which slot starts: the first in BOOT_ORDER that has a try left. RAUC writes BOOT_ORDER, and takes a slot out of it that is bad; a start
# counts BOOT_*_LEFT down, the confirmation (rootfs/usr/lib/scrubjay/slots) sets it to 3. Three tries: a power cut in a start must not
# cost a slot. When no slot has one left, counting begins again: a box that stays dark records nothing.
# uboot.env is U-Boot's own format with its checksum, which fw_setenv writes, too. uboot.env.good is as it was at the last confirmation,
# for the case that the power went while uboot.env was written; what is written from here on is uboot.env again, whole.
setenv from
for file in uboot.env uboot.env.good; do
  if test -z "${from}"; then
    if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${file}; then
      if env import -c ${kernel_addr_r} 0x4000 BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT; then setenv from ${file}; fi
    fi
  fi
done
test -n "${BOOT_ORDER}" || setenv BOOT_ORDER "A B"
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT 3
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT 3
setenv slot
for round in first again; do
  for candidate in ${BOOT_ORDER}; do
    if test "${candidate}" = A; then setenv left ${BOOT_A_LEFT}; else setenv left ${BOOT_B_LEFT}; fi
    if test -z "${slot}" && test ${left} -gt 0; then setenv slot ${candidate}; fi
  done
  if test -z "${slot}"; then setenv BOOT_A_LEFT 3; setenv BOOT_B_LEFT 3; fi
done
if test "${slot}" = A; then
  setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
  setenv part 2
else
  setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
  setenv part 3
fi
env export -c -s 0x4000 ${kernel_addr_r} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
fatwrite ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} uboot.env 0x4000
echo "scrubjay: slot ${slot} of ${BOOT_ORDER} (A left=${BOOT_A_LEFT}, B left=${BOOT_B_LEFT}, ${from})"
setenv bootargs console=@CONSOLE@,115200 quiet loglevel=3 panic=5 net.ifnames=0 rauc.slot=${slot} scrubjay.slot=${slot} systemd.log_target=journal-or-kmsg systemd.show_status=no
if load ${devtype} ${devnum}:${part} ${kernel_addr_r} /vmlinuz && load ${devtype} ${devnum}:${part} ${ramdisk_addr_r} /initrd; then
  booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}
fi
echo "scrubjay: slot ${slot} has no kernel that starts"
sleep 2
reset
