#!/usr/bin/env bash
# Make this checkout able to run its demo and its tests: Debian packages that are missing, then a virtual environment in .venv.
#
#   tools/setup.sh            everything
#   tools/setup.sh --check    only say what is missing; changes nothing
#
# Says what it installs and why. A second run finds everything there and ends within a second.
# Ends with 0 when the tests can start; a package of the test lab that cannot be had is a sentence, not a failure:
# the tests and the demo then say what they skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export DEBIAN_FRONTEND=noninteractive

check_only=no
[ "${1:-}" = --check ] && check_only=yes
say() { printf 'set-up: %s\n' "$*"; }

# package | what must be there, or it is missing: a command, or a file with a slash in it | why
# The first table is needed to build anything at all, the second is the room of the demo and the independent readers of the tests.
needed="
gcc             | cc                                   | compiles the block kernel of the recorder and pcapy-ng
libc6-dev       | /usr/include/stdio.h                 | headers for it
libpcap0.8-dev  | /usr/include/pcap/pcap.h             | pcapy-ng: the portable tap and the filter compiler
"
lab="
iproute2        | ip                                   | the room is network namespaces on a switch with a mirror port
ethtool         | ethtool                              | turns offloads off, so that frames look as they do on a wire
mosquitto       | mosquitto                            | the MQTT broker between box and hub, and another one inside the room
mosquitto-clients | mosquitto_pub                      | devices of the room that talk MQTT
linuxptp        | ptp4l                                | PTP grandmaster and slaves of the room
chrony          | chronyd                              | NTP: the source of the box's time, and a device that can be asked for its own
dcmtk           | storescu                             | DICOM peers of the room
bsdutils        | logger                               | syslog sender of the room
iputils-ping    | ping                                 | ICMP in the room
tcpdump         | tcpdump                              | peer of the benchmark, second recorder of the tests
wireshark-common | capinfos                            | capinfos and dumpcap: the independent count of frames, peer of the benchmark
tshark          | tshark                               | the independent reader of segments and evidence
netsniff-ng     | netsniff-ng                          | peer of the benchmark
stenographer    | stenotype                            | stenotype: the peer of the benchmark that indexes, too
stenographer-client | stenoread                        | asks it: the peer of find in the benchmark; curl and jq come with it
chromium        | chromium                             | shows the hub's page to its tests, and takes docs/hub.png
lz4             | lz4                                  | the independent reader of the LZ4 frame chain
libubootenv-tool | fw_setenv              | U-Boot's environment, as RAUC writes it on an arm64 box
btrfs-progs     | mkfs.btrfs                           | a file system that mirrors two disks, for the test of a disk that fails
gdisk           | sgdisk                               | disks with partitions, on loop devices: what flash.sh must refuse, and what it writes
"

there() {
    case "$1" in
        */*) [ -e "$1" ] ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
    esac
}

missing_of() {  # rows of a table whose third thing is not there
    local package probe why
    while IFS='|' read -r package probe why; do
        package="${package//[[:space:]]/}" probe="${probe//[[:space:]]/}"
        [ -z "$package" ] || there "$probe" || echo "$package|${why# }"
    done <<<"$1"
}

python_fits() {  # a Python that is new enough
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if there "$candidate" && python_fits "$candidate"; then echo "$candidate"; return; fi
    done
}

python="$(find_python)"
if [ -z "$python" ]; then
    say "expected Python 3.11 or newer (python3, or PYTHON=/path/to/python); found $(python3 --version 2>&1 || true). Install one and run this again."
    exit 1
fi
where_python_keeps() { "$python" -c "import sysconfig; print(sysconfig.get_paths()['$1'])"; }
needed+="python3-venv | $(where_python_keeps stdlib)/ensurepip/__init__.py | makes the virtual environment"$'\n'
needed+="python3-dev | $(where_python_keeps include)/Python.h | headers for the C extensions"$'\n'

missing_needed="$(missing_of "$needed")"
missing_lab="$(missing_of "$lab")"

as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
    [ -t 0 ] || as_root=(sudo -n)  # nobody there to type a password
fi

# A package that brings a service starts it on the default port as soon as it is unpacked. The room starts its own where it
# wants them; a broker that nobody asked for has no place on somebody's machine. policy-rc.d is Debian's own way to say so.
policy=/usr/sbin/policy-rc.d
keep_services_down() {
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
    fi
}

install_packages() {  # all at once, or else one by one, so that one that is missing does not cost the others
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null >>build/setup-apt.log 2>&1
}

if [ -n "$missing_needed$missing_lab" ]; then
    names=()
    while IFS='|' read -r package why; do
        [ -n "$package" ] || continue
        names+=("$package")
        say "missing $package: $why"
    done <<<"$missing_needed"$'\n'"$missing_lab"
    if [ "$check_only" = yes ]; then
        exit 1
    elif ! there apt-get; then
        say "this is no Debian or Ubuntu (no apt-get): install the above in its own way."
    elif [ "$(id -u)" != 0 ] && ! there sudo; then
        say "not root, and there is no sudo: install the above by hand: apt-get install ${names[*]}"
    else
        mkdir -p build
        : >build/setup-apt.log
        services=()
        for service in mosquitto chrony stenographer; do
            [ -e "/lib/systemd/system/$service.service" ] || services+=("$service")
        done
        keep_services_down
        say "installing with apt-get (log: build/setup-apt.log) …"
        if ! install_packages "${names[@]}"; then
            say "refreshing the package lists first …"
            "${as_root[@]}" apt-get update -q </dev/null >>build/setup-apt.log 2>&1 || say "the package lists could not be refreshed"
            if ! install_packages "${names[@]}"; then
                for name in "${names[@]}"; do
                    install_packages "$name" || say "could not install $name; what needs it will say so and be skipped"
                done
            fi
        fi
        # Not only now: a service that came with a package of ours stays off after the next start of the machine too.
        for service in "${services[@]}"; do
            if [ -e "/lib/systemd/system/$service.service" ] && there systemctl; then
                "${as_root[@]}" systemctl disable -q "$service" >>build/setup-apt.log 2>&1 || true
                say "the $service service that came with the package stays off: room and benchmark start their own, and whoever keeps this machine's time goes on doing so"
            fi
        done
    fi
    if [ -n "$(missing_of "$needed")" ]; then
        say "cannot go on without: $(missing_of "$needed" | cut -d'|' -f1 | tr '\n' ' ')"
        exit 1
    fi
fi

# The virtual environment is as good as what it was made from: this stamp names it.
stamp="$({ "$python" -c 'import sys; print(sys.version)'; cat pyproject.toml setup.py 2>/dev/null || true
    find firmware drivers simulator -name '*.c' -print0 2>/dev/null | sort -z | xargs -0r cat; pwd; } | sha256sum | cut -d' ' -f1)"
if [ "$(cat .venv/set-up-from 2>/dev/null || true)" = "$stamp" ] && [ -x .venv/bin/scrubjay ]; then
    say "nothing to do (.venv is up to date)"
    exit 0
fi
[ "$check_only" = no ] || { say "missing .venv, or it is out of date"; exit 1; }
rm -f .venv/set-up-from

# One whose making was interrupted, or whose Python is another by now, has no pip and never gets one; the scripts of one that was moved
# name the place where it was.
venv_fits() {
    local made_for
    made_for="$(sed -n 's/^command = //p' .venv/pyvenv.cfg 2>/dev/null || true)"
    [[ -z "$made_for" || "$made_for" == *" $(pwd -P)/.venv" ]] && .venv/bin/python -m pip --version >/dev/null 2>&1
}
if ! venv_fits; then
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
say "installing Scrubjay, editable, with its simulator and its tests into .venv (compiles its C) …"
if ! .venv/bin/python -m pip install -qq --disable-pip-version-check -e '.[dev,simulator,sdc]'; then
    say "cannot go on: pip says above what it could not get or build. It needs PyPI, or an index that PIP_INDEX_URL names, and the right to write here. Then run this again."
    exit 1
fi
printf '%s\n' "$stamp" >.venv/set-up-from
say "done: .venv/bin/scrubjay"
