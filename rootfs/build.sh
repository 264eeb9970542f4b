#!/usr/bin/env bash
# Build the image of a box: a read-only Debian 13 root, proved block by block, in two slots.
#
#   rootfs/build.sh [--arch amd64|arm64] [--into DIR] [--version V] [--relock] [--wheel FILE]
#
#   DIR/root.img     squashfs of the root and its dm-verity hash tree         what RAUC writes into a root slot
#   DIR/boot.img     kernel and initramfs that belong to exactly this root     what RAUC writes into a boot slot
#   DIR/disk.img     esp | boot-a | boot-b | root-a | root-b | data            what flash.sh writes onto a card
#   DIR/sbom.json    every Debian package and Python library in it (CycloneDX 1.6)
#
# What a boot loader needs is in usr/lib/scrubjay/boot/<boot loader>.sh. For another machine than this one what is compiled is compiled
# across; only the programs of its root that have to run while it is made run under qemu-user.
# Needs root (mmdebstrap, chroot) and the packages that tools/image-setup.sh installs. Packages and wheels are those of
# rootfs/usr/share/scrubjay/lock.*: another version is an error that says so; --relock writes what was found instead.
# The same commit gives the same bytes: every time stamp is the commit's, every UUID is derived from version and board.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
top="$(dirname "$here")"
arch=amd64 into= relock=no version= wheel=
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch="$2"; shift 2 ;;
        --into) into="$2"; shift 2 ;;
        --version) version="$2"; shift 2 ;;
        --wheel) wheel="$2"; shift 2 ;;
        --relock) relock=yes; shift ;;
        *) echo "build: expected --arch, --into, --version, --wheel or --relock, got $1" >&2; exit 2 ;;
    esac
done
case "$arch" in
    amd64) machine=x86_64 kernel=linux-image-amd64 loader=grub console=ttyS0 ;;
    arm64) machine=aarch64 kernel=linux-image-arm64 loader=u-boot console=ttyAMA0 ;;
    *) echo "build: expected amd64 or arm64, got $arch; another board needs its kernel, its boot loader and its lock here" >&2; exit 2 ;;
esac
native="$(dpkg --print-architecture)"  # what runs here without emulation
# shellcheck source=/dev/null
. "$here/usr/lib/scrubjay/boot/$loader.sh"
into="${into:-$top/build/image/$arch}"
# Later commits are later versions: a box takes no older one unless it is signed as a downgrade.
version="${version:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/pyproject.toml")+$(TZ=UTC git -C "$top" log -1 --date=format-local:%Y%m%d.%H%M%S --format=%cd.%h)}"
cache="$top/build/image/cache-$arch"
lock="$here/usr/share/scrubjay"
mkdir -p "$into" "$cache"
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
SOURCE_DATE_EPOCH="$(git -C "$top" log -1 --format=%ct)"
work="$(mktemp -d "${TMPDIR:-/tmp}/scrubjay-image.XXXXXX")"
trap 'umount "$work/stage/proc" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
say() { printf 'build: %s\n' "$*"; }
uuid() { printf '%s' "scrubjay $arch $version $1" | sha256sum | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/'; }

PACKAGES=systemd,systemd-sysv,systemd-resolved,udev,dbus-broker,libpam-systemd,python3-minimal,python3,linuxptp,chrony,iproute2,rauc,rauc-service,libpcap0.8t64,kmod,e2fsprogs,dosfstools,util-linux,ethtool,dmsetup,$loader_packages,ca-certificates
SUITE=trixie
mirror() {  # wherever this machine takes Debian from
    apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" | grep -v security | sort -u | head -n 1
}

# What comes from Debian, once for each list of packages; the builder beside it compiles our C for the Python of the image.
debian() {  # name, architectures (the first is its programs'), packages, customize hook arguments
    local name="$1" architectures="$2" packages="$3"
    shift 3
    local key
    key="$(printf '%s' "$SUITE $packages $(cat "$lock/lock.packages.$arch" 2>/dev/null)" | sha256sum | cut -c1-16)"
    if [ ! -e "$cache/$name-$key.tar" ]; then
        say "Debian $SUITE for $arch: $name …"
        mmdebstrap --quiet --format=tar --variant=minbase --architectures="$architectures" --components=main --include="$packages" \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' "$@" \
            "$SUITE" "$cache/$name-$key.tar.part" "deb $(mirror) $SUITE main" "deb $(mirror) $SUITE-updates main" >"$cache/$name.log" 2>&1 ||
            { tail -n 20 "$cache/$name.log" >&2; exit 1; }
        mv "$cache/$name-$key.tar.part" "$cache/$name-$key.tar"
    fi
    tarball="$cache/$name-$key.tar"
}

# Of this machine's kind: what compiles is never emulated. For an image of another kind it has that kind's compiler, and beside its own
# Python that one's headers and settings (sysconfig): they name the compiler, and the wheel and what is in it are called after them.
builder() {
    local tarball
    across=()
    if [ "$arch" = "$native" ]; then
        debian builder "$arch" "$PACKAGES,gcc,libc6-dev,python3-dev,python3-setuptools,python3-wheel,python3-pip"
    else
        debian builder "$native,$arch" "python3,gcc-${machine/_/-}-linux-gnu,libpython3-dev:$arch,python3-setuptools,python3-wheel,python3-pip"
        across=(_PYTHON_SYSCONFIGDATA_NAME="_sysconfigdata__$machine-linux-gnu" _PYTHON_HOST_PLATFORM="linux-$machine")
    fi
    [ -d "$work/builder" ] || { mkdir "$work/builder" && tar -C "$work/builder" --exclude=./dev -xf "$tarball"; }
}

own_wheel() {  # our own package, compiled for the image's Python
    [ -z "$wheel" ] || { cp "$wheel" "$work/wheels/"; return; }
    local tree
    tree="$(git -C "$top" rev-parse HEAD:firmware HEAD:drivers HEAD:pyproject.toml HEAD:setup.py | sha256sum | cut -c1-16)"
    if ! ls "$cache/wheel-$tree/"*.whl >/dev/null 2>&1; then
        builder
        say "compiling for Python in $SUITE $arch …"
        mkdir -p "$work/builder/source" "$cache/wheel-$tree"
        git -C "$top" archive HEAD firmware drivers simulator pyproject.toml setup.py README.md | tar -C "$work/builder/source" -x
        chroot "$work/builder" env "${across[@]}" sh -c 'cd /source && python3 -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel .' >"$cache/wheel.log" 2>&1 ||
            { tail -n 20 "$cache/wheel.log" >&2; exit 1; }
        cp "$work/builder/wheel/"*.whl "$cache/wheel-$tree/"
    fi
    cp "$cache/wheel-$tree/"*.whl "$work/wheels/"
}

python_of() { basename "$(ls -d "$1"/usr/lib/python3.*)"; }

libraries() {  # the Python libraries of pyproject.toml, by hash, for the image's Python; never compiled, never from another place
    local python tag names
    python="$(python_of "$stage")"
    tag="${python#python}"
    local platforms=()
    for level in 2_34 2_28 2_26 2_17; do platforms+=(--platform "manylinux_${level}_$machine"); done
    platforms+=(--platform "manylinux2014_$machine")
    if [ "$relock" = yes ]; then
        mapfile -t names < <(sed -n '/^dependencies = \[/,/^\]/s/^ *"\([^"]*\)".*/\1/p' "$top/pyproject.toml" | grep -v -e starlette -e uvicorn)
        rm -rf "$work/found"
        python3 -m pip download -qq --disable-pip-version-check --only-binary=:all: --python-version "$tag" "${platforms[@]}" -d "$work/found" "${names[@]}"
        (cd "$work/found" && for file in *.whl; do
            # The names of wheels are name-version-…, PEP 427.
            printf '%s==%s --hash=sha256:%s\n' "$(echo "$file" | cut -d- -f1 | tr '_' '-')" "$(echo "$file" | cut -d- -f2)" "$(sha256sum "$file" | cut -d' ' -f1)"
        done) >"$lock/lock.wheels.$arch"
    fi
    python3 -m pip download -qq --disable-pip-version-check --only-binary=:all: --no-deps --require-hashes --python-version "$tag" "${platforms[@]}" \
        -d "$work/wheels" -r "$lock/lock.wheels.$arch"
}

locked_packages() {  # what Debian gave is what the lock names
    local found="$work/packages"
    dpkg-query --admindir="$stage/var/lib/dpkg" -W -f '${Package}=${Version}\n' | sort >"$found"
    if [ "$relock" = yes ]; then cp "$found" "$lock/lock.packages.$arch"; fi
    if ! diff -u "$lock/lock.packages.$arch" "$found" >"$work/differences"; then
        echo "build: expected the packages of lock.packages.$arch; Debian has moved on:" >&2
        grep '^[-+][^-+]' "$work/differences" | head -n 20 >&2
        echo "build: look at the changes, then run this again with --relock and commit the lock" >&2
        exit 1
    fi
}

# Of these directories of the root. It is the same for every kind of machine, and where the root's Python is emulated the builder's makes
# it: under qemu-user this alone took five minutes.
byte_code() {
    local python compile=(-m compileall -q --invalidation-mode unchecked-hash -j1)
    python="$(python_of "$stage")"
    if [ "$arch" = "$native" ]; then
        chroot "$stage" "/usr/bin/$python" "${compile[@]}" "$@" >/dev/null || true
    else
        builder
        mv "$stage" "$work/builder/stage"
        chroot "$work/builder" "/usr/bin/$python" "${compile[@]}" -s /stage -p / "${@/#//stage}" >/dev/null || true
        mv "$work/builder/stage" "$stage"
    fi
}

application() {
    local python site
    python="$(python_of "$stage")"
    site="$stage/usr/lib/scrubjay/venv/lib/$python/site-packages"
    mkdir -p "$site" "$stage/usr/lib/scrubjay/venv/bin"
    ln -s "/usr/bin/$python" "$stage/usr/lib/scrubjay/venv/bin/python3"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$stage/usr/lib/scrubjay/venv/pyvenv.cfg"
    python3 -m pip install -qq --disable-pip-version-check --no-index --no-deps --no-compile --root-user-action=ignore \
        --python-version "${python#python}" --platform "linux_$machine" --platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine" \
        --platform "manylinux_2_26_$machine" --platform "manylinux_2_28_$machine" --platform "manylinux_2_34_$machine" \
        --only-binary=:all: --target "$site" "$work/wheels/"*.whl
    rm -rf "$site/bin" "$site/simulator"  # what the box does not run is not on it
    rm -f "$site/"*.dist-info/direct_url.json  # where pip took each from: a directory of this very build
    sed -i '/\/direct_url\.json,/d' "$site/"*.dist-info/RECORD
    printf '#!/usr/lib/scrubjay/venv/bin/python3\nfrom firmware.cli import main\nraise SystemExit(main())\n' >"$stage/usr/lib/scrubjay/venv/bin/scrubjay"
    chmod 755 "$stage/usr/lib/scrubjay/venv/bin/scrubjay"
    ln -sf ../lib/scrubjay/venv/bin/scrubjay "$stage/usr/bin/scrubjay"
    byte_code /usr/lib/scrubjay/venv/lib "/usr/lib/$python"
    rm -rf --one-file-system "$work/builder"
    chroot "$stage" /usr/bin/scrubjay settings >/dev/null  # it starts, with every library it needs
}

pages() {  # what the units tell to read, and what that refers to, as it lies in the tree
    install -d "$stage/usr/share/doc/scrubjay"
    git -C "$top" -c tar.umask=0022 archive HEAD '*.md' docs/hub.png | tar -C "$stage/usr/share/doc/scrubjay" --no-same-owner -xf -
}

overlay() {
    tar -C "$here" --exclude=./build.sh --exclude=./usr/lib/scrubjay/initramfs --exclude=./usr/lib/scrubjay/boot -cf - . | tar -C "$stage" --no-same-owner -xf -
    sed -i -e "s|@ARCH@|$arch|" -e "s|@BOOTLOADER@|$bootloader|" -e "s|@BOOTLOADER_STATE@|$bootloader_state|" "$stage/etc/rauc/system.conf"
    sed -i "s|/dev/ttyS0|/dev/$console|" "$stage/etc/scrubjay/scrubjay.toml"
    loader_root
    pages
    printf '%s\n' "$version" >"$stage/usr/lib/scrubjay/version"
    printf 'NAME=Scrubjay\nID=scrubjay\nID_LIKE=debian\nPRETTY_NAME="Scrubjay %s"\nVERSION_ID="%s"\n' "$version" "$version" >"$stage/etc/os-release"
    cp "$(keys)/ca.pem" "$stage/etc/rauc/ca.pem"
    install -d "$stage/data" "$stage/efi" "$stage/media/scrubjay" "$stage/etc/scrubjay" "$stage/var/lib/scrubjay" "$stage/var/lib/rauc" "$stage/usr/share/scrubjay/etc"
    cp "$stage/etc/scrubjay/scrubjay.toml" "$stage/usr/share/scrubjay/etc/"
    : >"$stage/etc/machine-id"
    rm -f "$stage/etc/hostname" "$stage/etc/resolv.conf"
    ln -s /run/systemd/resolve/stub-resolv.conf "$stage/etc/resolv.conf"
    echo scrubjay >"$stage/etc/hostname"
    systemd-sysusers --root="$stage" "$stage/usr/lib/sysusers.d/scrubjay.conf" 2>/dev/null || chroot "$stage" systemd-sysusers
    mount -t proc proc "$stage/proc"  # systemctl looks there for the root it is in
    chroot "$stage" systemctl --quiet enable scrubjay.target scrubjay-first-start.service scrubjay-slots.service scrubjay-network.service scrubjay-addresses.path scrubjay-addresses.service scrubjay-change.path scrubjay-system.path systemd-networkd.service systemd-resolved.service \
        scrubjay-identity.service scrubjay-vault.service scrubjay@{capture,clock,roomside,gate,uplink,steward,feedback,update,console}.service
    chroot "$stage" systemctl --quiet mask serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service apt-daily.timer \
        apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service systemd-timesyncd.service chrony.service \
        systemd-remount-fs.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
        systemd-logind.service systemd-user-sessions.service getty-static.service grub-common.service systemd-pstore.service \
        systemd-journal-catalog-update.service systemd-update-done.service systemd-networkd-persistent-storage.service \
        systemd-random-seed.service systemd-sysext.socket systemd-hostnamed.socket sys-fs-fuse-connections.mount \
        sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount \
        modprobe@drm.service modprobe@fuse.service modprobe@configfs.service modprobe@efi_pstore.service
    umount "$stage/proc"
    chroot "$stage" passwd --quiet --lock root
    # The day of the commit, not of the download that is kept for the next build; and nobody's mirror: a box has no use for one.
    sed -i -E "s/^([^:]*:[^:]*):[0-9]+:/\1:$((SOURCE_DATE_EPOCH / 86400)):/" "$stage/etc/shadow" "$stage/etc/shadow-"
    rm -rf "$stage/etc/apt/sources.list" "$stage/etc/apt/sources.list.d"
}

# For chronyd (leapsectz), which asks a time zone that counts leap seconds. Debian has the table of them and no such zone any more.
leap_seconds() {
    rm -rf "$stage"/usr/share/zoneinfo/{right,posix}
    printf 'Zone\tUTC\t0\t-\tUTC\n' | chroot "$stage" zic -L /usr/share/zoneinfo/leapseconds -d /usr/share/zoneinfo/right -
}

kernel_of() {  # unpacks the kernel's package beside the stage
    local package
    mkdir -p "$work/kernel"
    tar -C "$work/kernel" --strip-components=2 -xf "$tarball" --wildcards './boot-package/linux-image-*.deb'
    package="$(find "$work/kernel" -name '*.deb')"
    dpkg-deb -x "$package" "$work/kernel"
    rm "$package"
    modules="$(find "$work/kernel" -path '*/lib/modules' -type d)"
    release="$(ls "$modules")"
    module_root="${modules%/lib/modules}"
    depmod -b "$module_root" "$release"
}

needed_modules() { modprobe -d "$module_root" -S "$release" --show-depends "$1" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'; }

board_modules() {  # those of the initramfs and what a running box may need; not the other 380 MB
    local name file
    mkdir -p "$stage/usr/lib/modules/$release"
    for name in $(grep -v '^#' "$here/usr/lib/scrubjay/initramfs/modules") autofs4 vfat exfat nls_cp437 nls_iso8859-1 nls_ascii overlay loop nbd erofs \
        ext4 dm-crypt softdog i6300esb ptp_kvm pps-gpio pps-ldisc veth 8021q sch_htb sch_fq_codel cls_u32 cls_basic tcp_bbr usbserial ftdi_sio cp210x pl2303 cdc-acm tpm_tis tpm_crb; do
        for file in $(needed_modules "$name"); do
            install -D -m 644 "$file" "$stage/usr/lib/modules/$release/${file#*"/modules/$release/"}"
        done
    done
    cp "$modules/$release/"modules.{builtin,order}* "$stage/usr/lib/modules/$release/"
    depmod -b "$stage" "$release"
}

initramfs() {
    local tree="$work/initramfs" name file base uid
    mkdir -p "$tree/bin" "$tree/m" "$tree/lib64" "$tree/lib"
    cp "$cache/busybox" "$tree/bin/busybox"
    install -m 755 "$here/usr/lib/scrubjay/initramfs/init" "$tree/init"
    uid="$(sed -n 's/^scrubjay-capture:[^:]*:\([0-9]*\):.*/\1/p' "$stage/etc/passwd")"
    "$machine-linux-gnu-gcc" -O2 -static -Wl,--build-id=none -DRECORDER_UID="$uid" -o "$tree/bin/ringhold" "$here/usr/lib/scrubjay/initramfs/ringhold.c"
    cp "$stage/usr/sbin/dmsetup" "$tree/bin/dmsetup"
    # Its libraries, by what it says it needs; the loader finds them by name in /lib.
    local queue=("$stage/usr/sbin/dmsetup") seen=" "
    while [ ${#queue[@]} -gt 0 ]; do
        for name in $(readelf -d "${queue[0]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
            case "$seen" in *" $name "*) continue ;; esac
            seen+="$name "
            file="$(find "$stage/usr/lib" -name "$name" | head -n 1)"
            cp -L "$file" "$tree/lib/$name"
            queue+=("$file")
        done
        queue=("${queue[@]:1}")
    done
    cp -L "$tree/lib/"ld-linux-* "$tree/lib64/" 2>/dev/null || true
    : >"$tree/modules"
    for name in $(grep -v '^#' "$here/usr/lib/scrubjay/initramfs/modules"); do
        for file in $(needed_modules "$name"); do
            base="$(basename "${file%.xz}")"
            [ ! -e "$tree/m/$base" ] || continue
            case "$file" in *.xz) xz -dc "$file" >"$tree/m/$base" ;; *) cp "$file" "$tree/m/$base" ;; esac
            echo "$base" >>"$tree/modules"
        done
    done
    cp "$work/verity" "$tree/verity"
    find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && find . -print0 | sort -z | cpio --null -o -H newc --reproducible --quiet | zstd -19 -q -T1) >"$work/initrd"
}

root_image() {
    rm -rf "$stage"/var/lib/apt/lists/* "$stage"/var/cache/* "$stage"/var/log/* "$stage"/tmp/* "$stage"/boot-package
    find "$stage/usr/lib/$(python_of "$stage")" -depth -type d \( -name test -o -name tests -o -name idlelib -o -name tkinter -o -name ensurepip \) -exec rm -rf {} +
    rm -f "$into/root.img"
    # All of it the commit's time: a kept download has its own commit's. By options, which mksquashfs does not take beside the variable.
    env -u SOURCE_DATE_EPOCH mksquashfs "$stage" "$into/root.img" -mkfs-time "$SOURCE_DATE_EPOCH" -all-time "$SOURCE_DATE_EPOCH" -comp zstd -Xcompression-level "${LEVEL:-15}" -noappend -no-progress -quiet -no-exports -wildcards -e 'proc/*' 'sys/*' 'dev/*' 'run/*' >/dev/null
    local blocks size salt table
    size="$(stat -c %s "$into/root.img")"
    blocks=$(((size + 4095) / 4096))
    truncate -s $((blocks * 4096)) "$into/root.img"
    salt="$(uuid salt | tr -d -)"
    table="$(veritysetup format --salt="$salt" --uuid="$(uuid verity)" --hash-offset=$((blocks * 4096)) --no-superblock "$into/root.img" "$into/root.img")"
    # https://docs.kernel.org/admin-guide/device-mapper/verity.html: version, devices, block sizes, data blocks, first hash block, hash, root, salt
    printf '0 %d verity 1 DEVICE DEVICE 4096 4096 %d %d sha256 %s %s 1 restart_on_corruption\n' $((blocks * 8)) "$blocks" "$blocks" \
        "$(sed -n 's/^Root hash:[[:space:]]*//p' <<<"$table")" "$salt" >"$work/verity"
}

boot_image() {
    mkdir -p "$work/boot"
    cp "$(ls "$work"/kernel/boot/vmlinu[xz]-*)" "$work/boot/vmlinuz"
    mv "$work/initrd" "$work/boot/initrd"
    cp "$work/verity" "$work/boot/verity"  # for a change of all but the kernel
    printf '%s\n' "$version" >"$work/boot/version"
    find "$work/boot" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
    rm -f "$into/boot.img"
    E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" mke2fs -q -t ext4 -O ^has_journal,^metadata_csum,^metadata_csum_seed,^orphan_file -d "$work/boot" -m 0 \
        -U "$(uuid boot)" -E hash_seed="$(uuid seed)",root_owner=0:0 "$into/boot.img" 60M 2>/dev/null
    # Each file's ctime is that of its copy here, which nothing can set beforehand.
    (cd "$work/boot" && printf "set_inode_field /%s ctime @$SOURCE_DATE_EPOCH\n" *) |
        E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" debugfs -w -f - "$into/boot.img" >/dev/null 2>&1
    cp "$work/boot/vmlinuz" "$work/boot/initrd" "$into/"  # for QEMU's -kernel
}

keys() {  # who may sign updates: SCRUBJAY_KEYS, or a development authority that says what it is
    local place="${SCRUBJAY_KEYS:-$top/build/image/development-keys}"
    [ -n "${SCRUBJAY_KEYS:-}" ] || "$top/tools/signing-keys.sh" "$place" >&2
    echo "$place"
}

sbom() {
    python3 - "$stage" "$version" "$arch" "$SOURCE_DATE_EPOCH" >"$into/sbom.json" <<'PYTHON'
import datetime, email.parser, json, pathlib, sys
stage, version, arch, epoch = pathlib.Path(sys.argv[1]), *sys.argv[2:]
parts = []
for block in (stage / "var/lib/dpkg/status").read_text().split("\n\n"):
    row = email.parser.Parser().parsestr(block)
    if row.get("Package") and "installed" in (row.get("Status") or ""):
        name, at = row["Package"], row["Version"]
        parts.append({"type": "library", "name": name, "version": at, "purl": f"pkg:deb/debian/{name}@{at}?arch={row['Architecture']}"})
for file in stage.glob("usr/lib/scrubjay/venv/lib/*/site-packages/*.dist-info/METADATA"):
    row = email.parser.Parser().parsestr(file.read_text())
    name, at = row["Name"], row["Version"]
    licence = row.get("License-Expression") or row.get("License") or ""
    part = {"type": "library", "name": name, "version": at, "purl": f"pkg:pypi/{name}@{at}"}
    parts.append(part | ({"licenses": [{"license": {"name": licence.splitlines()[0][:80]}}]} if licence.strip() else {}))
when = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(datetime, "UTC") else ""
json.dump({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"timestamp": when, "component": {
    "type": "operating-system", "name": f"scrubjay-{arch}", "version": version}}, "components": sorted(parts, key=lambda p: p["purl"])}, sys.stdout, indent=1)
PYTHON
}

partitions() {
    local disk="$into/disk.img" esp="$work/esp" start
    truncate -s 32M "$esp"
    mkfs.vfat -n ESP -i "$(uuid esp | cut -c1-8)" --invariant "$esp" >/dev/null
    loader_esp "$esp"
    rm -f "$disk"
    truncate -s 1400M "$disk"
    sgdisk --clear -U "$(uuid disk)" -n1:2048:+32M -t1:ef00 -c1:esp -n2:0:+64M -t2:8300 -c2:boot-a -n3:0:+64M -t3:8300 -c3:boot-b \
        -n4:0:+320M -t4:8304 -c4:root-a -n5:0:+320M -t5:8304 -c5:root-b -n6:0:0 -t6:8300 -c6:data \
        -u1:"$(uuid p1)" -u2:"$(uuid p2)" -u3:"$(uuid p3)" -u4:"$(uuid p4)" -u5:"$(uuid p5)" -u6:"$(uuid p6)" "$disk" >/dev/null
    place() {  # partition, file
        start="$(sgdisk -i "$1" "$disk" | sed -n 's/First sector: \([0-9]*\).*/\1/p')"
        dd if="$2" of="$disk" bs=1M seek="$((start / 2048))" conv=notrunc,sparse status=none
    }
    place 1 "$esp"
    place 2 "$into/boot.img"
    place 4 "$into/root.img"
    local sectors
    sectors="$(sgdisk -i 6 "$disk" | sed -n 's/Partition size: \([0-9]*\).*/\1/p')"
    rm -f "$work/data"
    truncate -s "$((sectors * 512))" "$work/data"
    E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" mke2fs -q -t ext4 -L data -m 1 -U "$(uuid data)" -E hash_seed="$(uuid data-seed)",lazy_itable_init=1 "$work/data"
    place 6 "$work/data"
}

missing=""
for tool in mmdebstrap mksquashfs veritysetup sgdisk debugfs mcopy mkfs.vfat cpio zstd $loader_tools readelf "$machine-linux-gnu-gcc" depmod openssl; do
    command -v "$tool" >/dev/null || missing+=" $tool"
done
[ -z "$missing" ] || { echo "build: missing$missing; run tools/image-setup.sh $arch" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "build: needs root: a root file system is made of files that belong to root" >&2; exit 1; }

started=$SECONDS
mkdir -p "$work/wheels" "$work/stage"
stage="$work/stage"
own_wheel
debian base "$arch" "$PACKAGES" --customize-hook='mkdir "$1/boot-package"' \
    --customize-hook="chroot \"\$1\" sh -c 'cd /boot-package && apt-get download -q \$(apt-cache depends $kernel | sed -n \"s/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p\") busybox-static $loader_beside'"
tar -C "$stage" --exclude=./dev/* --exclude='./boot-package/linux-image*' -xf "$tarball"
dpkg-deb --fsys-tarfile "$stage"/boot-package/busybox-static*.deb | tar -xO ./usr/bin/busybox >"$cache/busybox" 2>/dev/null ||
    dpkg-deb --fsys-tarfile "$stage"/boot-package/busybox-static*.deb | tar -xO ./bin/busybox >"$cache/busybox"
chmod 755 "$cache/busybox"
locked_packages
libraries
overlay
leap_seconds
application
kernel_of
board_modules
root_image
initramfs
boot_image
sbom
partitions
say "$version for $arch in $((SECONDS - started)) s: root $(($(stat -c %s "$into/root.img") >> 20)) MiB, kernel and initramfs $(($(stat -c %s "$into/vmlinuz" "$into/initrd" | paste -sd+ | bc) >> 20)) MiB, $(wc -l <"$lock/lock.packages.$arch") Debian packages"
printf '%s\n' "$version" >"$into/version"
(cd "$into" && sha256sum root.img boot.img disk.img)
