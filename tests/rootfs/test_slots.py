"""What keeps the slots decides as written at its head. Around it stand words in place of rauc, systemctl and scrubjay: the programs
themselves are in tests/image, where a decision costs a start of the machine."""

import os
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

SLOTS = Path(__file__).parents[2] / "rootfs/usr/lib/scrubjay/slots"
RAUC = """#!/bin/sh
echo "rauc $*" >>"$SCRUBJAY_AT/done"
case "$1" in
    info) cat "$SCRUBJAY_AT/info"; exit "$(cat "$SCRUBJAY_AT/info-status")" ;;
    install) [ ! -e "$SCRUBJAY_AT/no-install" ] || { echo "LastError: Installation error: no room"; exit 1; } ;;
esac
"""
# The answers are those of a file, the last one for ever; each question takes ten seconds, that last one as long as the test says.
SCRUBJAY = """#!/bin/sh
up=$(cut -d. -f1 "$SCRUBJAY_AT/proc/uptime") answer=$(head -n 1 "$SCRUBJAY_AT/answers")
if [ "$(wc -l <"$SCRUBJAY_AT/answers")" -le 1 ]; then step=$(cat "$SCRUBJAY_AT/step"); else step=10; sed -i 1d "$SCRUBJAY_AT/answers"; fi
echo "$((up + step)).0 0" >"$SCRUBJAY_AT/proc/uptime"
[ "$answer" = kept ] || { echo "NOT KEPT  $answer"; exit 1; }
"""


EDITENV = """#!/bin/sh
case "$2" in list) cat "$1" ;; create) : >"$1" ;; set) file="$1"; shift 2; printf '%s\\n' "$@" >>"$file" ;; esac
"""
# A boot slot holds what a test laid into boot-a or boot-b; a root slot is not looked into.
MOUNT = """#!/bin/sh
for where; do from="$part" part="$where"; done
case "$from" in */boot-?) cp "$SCRUBJAY_AT/${from##*/}"/* "$where" ;; esac
"""
WHOLE = "ORDER=A B\nA_OK=1\nWHOLE=1\n"
UBOOT_BYTES = 0x4000  # as in rootfs/usr/lib/scrubjay/boot


def uboot(**values: str) -> bytes:
    """An environment as U-Boot reads it: CRC-32 of what follows, little-endian, then name=value, each ended by a zero byte."""
    data = b"".join(f"{name}={value}".encode() + b"\0" for name, value in values.items()).ljust(UBOOT_BYTES - 4, b"\0")
    return zlib.crc32(data).to_bytes(4, "little") + data


def read_uboot(image: bytes) -> dict[str, str]:
    assert UBOOT_BYTES == len(image)
    assert zlib.crc32(image[4:]) == int.from_bytes(image[:4], "little")
    return dict(line.decode().split("=", 1) for line in image[4:].split(b"\0\0")[0].split(b"\0"))  # an empty one ends it


@dataclass(frozen=True)
class Box:
    """A root for `slots`: slot A runs 1.0, unless a test says otherwise."""

    root: Path

    def file(self, name: str, text: str | None = None) -> str:
        path = self.root / name
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return path.read_text() if path.exists() else ""

    def runs(self, *words: str, slot: str = "A", answers: str = "kept", step: int = 10) -> int:
        self.file("proc/cmdline", f"quiet scrubjay.slot={slot} rauc.slot={slot}\n")
        self.file("proc/uptime", "30.00 0\n")
        self.file("answers", answers.replace("|", "\n") + "\n")
        self.file("step", str(step))
        environment = {
            **os.environ,
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "SCRUBJAY_AT": str(self.root),
            "LC_ALL": "C",
        }
        return subprocess.run(
            ["sh", str(SLOTS), *words], env=environment, timeout=60, check=False, capture_output=True
        ).returncode

    @property
    def history(self) -> list[str]:
        return [line.split(" ", 1)[1] for line in self.file("var/lib/rauc/history").splitlines()]

    @property
    def done(self) -> list[str]:
        return self.file("done").splitlines()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(tmp_path)
    for name, text in (
        ("bin/rauc", RAUC),
        ("bin/scrubjay", SCRUBJAY),
        ("bin/grub-editenv", EDITENV),
        ("bin/systemctl", '#!/bin/sh\necho "systemctl $*" >>"$SCRUBJAY_AT/done"\n'),
        ("bin/sleep", "#!/bin/sh\n"),
        ("bin/chgrp", "#!/bin/sh\n"),
        ("bin/mount", MOUNT),
        ("bin/umount", '#!/bin/sh\nrm -f "$1"/*\n'),
        ("bin/dmsetup", '#!/bin/sh\necho "dmsetup $*" >>"$SCRUBJAY_AT/done"\n'),
    ):
        made.file(name, text)
        (tmp_path / name).chmod(0o755)
    for place in ("var/lib/rauc", "var/lib/scrubjay/state", "var/lib/scrubjay/updates/system", "efi", "run"):
        (tmp_path / place).mkdir(parents=True)
    made.file("efi/grubenv", WHOLE)
    made.file("usr/lib/scrubjay/version", "1.0\n")
    made.file("etc/rauc/system.conf", "[system]\ncompatible=scrubjay-amd64\nbootloader=grub\n")
    made.file("info-status", "0")
    for slot in "ab":
        made.file(f"boot-{slot}/vmlinuz", "the same kernel")
        made.file(f"boot-{slot}/verity", f"table of {slot}: DEVICE")
    return made


def bundle(box: Box, version: str, description: str = "update", *, board: str = "scrubjay-amd64") -> None:
    box.file("info", f"RAUC_MF_COMPATIBLE='{board}'\nRAUC_MF_VERSION='{version}'\nRAUC_MF_DESCRIPTION='{description}'\n")


def updated(box: Box) -> None:
    """Slot A is confirmed with 1.0 and has taken 2.0 into slot B, which now runs."""
    box.runs("watch", step=86_400)
    bundle(box, "2.0")
    assert 0 == box.runs("take", "update.raucb", "stick sda1")
    box.file("usr/lib/scrubjay/version", "2.0\n")
    box.file("done", "")


def test_a_first_start_is_confirmed_when_its_promises_were_seen_kept(box: Box) -> None:
    """Not before; and a copy of the boot loader's environment is laid aside then. (S1-16)"""
    box.runs("watch", answers="recording|sealed|kept", step=86_400)

    assert ["rauc status mark-good booted"] == box.done
    assert ["slot A: 1.0 is kept: every promise was seen kept 86450 s after the start"] == box.history
    assert WHOLE == box.file("efi/grubenv.good")
    assert "slot A runs 1.0, confirmed" == box.file("var/lib/scrubjay/state/system").splitlines()[0]


def test_a_key_for_encrypted_updates(box: Box) -> None:
    """Made at the first start and kept; the certificate, and not the key, lies where the console reads it. (S1-03)"""
    box.file("var/lib/scrubjay/identity/name", "or3-box")
    box.runs("watch", step=86_400)
    key, shown = box.file("var/lib/rauc/recipient.key"), box.file("var/lib/scrubjay/state/recipient.pem")
    box.runs("watch", step=86_400)

    assert key == box.file("var/lib/rauc/recipient.key")
    assert 0o600 == (box.root / "var/lib/rauc/recipient.key").stat().st_mode & 0o777
    assert shown == box.file("var/lib/rauc/recipient.pem") == box.file("var/lib/scrubjay/state/recipient.pem")
    said = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=shown, capture_output=True, text=True, check=True)
    assert "or3-box" in said.stdout
    assert "PRIVATE" not in shown


def test_an_update_runs_from_the_next_start_on(box: Box) -> None:
    """It goes into the other slot, is on trial there, and is kept once it has kept its promises; the old one stays beside it. (S1-15)"""
    updated(box)
    box.runs("watch", slot="B", step=86_400)

    assert ["rauc status mark-good booted"] == box.done
    assert "slot A: 2.0 was written into slot B (update from stick sda1); it waits for the next start" == box.history[1]
    assert "slot B: 2.0 is kept: every promise was seen kept 86430 s after the start" == box.history[2]
    assert ["slot B runs 2.0, confirmed", "slot A holds 1.0, confirmed"] == box.file(
        "var/lib/scrubjay/state/system"
    ).splitlines()[:2]


def test_a_system_that_does_not_keep_its_promises_goes_back(box: Box) -> None:
    """Twenty minutes, then the slot is given up, with the cause, and the same update is not taken again. (S1-16)"""
    updated(box)
    box.runs("watch", slot="B", answers="sealed: no segment yet since this start", step=60)

    assert ["rauc status mark-bad booted", "systemctl reboot"] == box.done
    assert "slot B: 2.0 is given up: sealed: no segment yet since this start; going back to slot A (1.0)" == box.history[-1]

    box.file("usr/lib/scrubjay/version", "1.0\n")
    box.runs("watch", step=86_400)
    assert 1 == box.runs("take", "update.raucb", "stick sda1")
    assert "slot A: 2.0 is refused: update from stick sda1: it was tried here and did not keep its promises" == box.history[-1]
    assert not any("rauc install" in line for line in box.done)


def test_a_system_that_fails_after_it_was_confirmed_goes_back_within_a_day(box: Box) -> None:
    """Half an hour of broken promises in its first day: the cause came with the update. One bad moment is none. (S1-16)"""
    updated(box)
    box.runs("watch", slot="B", answers="kept|clock|kept|recording: says nothing", step=900)

    assert ["rauc status mark-good booted", "rauc status mark-bad booted", "systemctl reboot"] == box.done
    assert (
        "slot B: 2.0 is given up: after it had been confirmed: recording: says nothing; going back to slot A (1.0)"
        == box.history[-1]
    )


def test_a_system_that_never_came_up_is_noticed_by_the_one_that_did(box: Box) -> None:
    """The boot loader went back by itself: the history says so and which version it was, and that version is not tried again. (S1-16)"""
    updated(box)
    box.file("usr/lib/scrubjay/version", "1.0\n")
    box.runs("watch", slot="A", step=86_400)

    assert "slot A: 2.0 is given up: slot B was to start, and this one runs: that did not confirm itself" in box.history[-1]
    assert 1 == box.runs("take", "update.raucb", "stick sda1")


@pytest.mark.parametrize("confirmed", [True, False])
def test_there_is_no_loop(box: Box, confirmed: bool) -> None:
    """A confirmed system is not left however the box is, nor is one left for a system that never was confirmed: it goes on trying."""
    if confirmed:
        box.runs("watch", step=86_400)
        box.file("done", "")
    box.runs("watch", answers="|".join(["recording: the recorder says disk_failed"] * 130 + ["kept"]), step=86_400)

    assert ["rauc status mark-good booted"] == box.done
    assert 1 == sum("disk_failed" in line for line in box.history)


@pytest.mark.parametrize(
    ("version", "purpose", "status", "said"),
    [
        ("0.9", "update", 1, "0.9 is refused: update from stick sda1: it is older than 1.0 and is not signed as a downgrade"),
        ("0.9", "downgrade", 0, "0.9 was written into slot B"),
        ("1.0", "update", 0, None),
        ("1.0.1", "update", 0, "1.0.1 was written into slot B"),
    ],
)
def test_versions(box: Box, version: str, purpose: str, status: int, said: str | None) -> None:
    """An older version is taken when it was signed as going back, and only then; the one that runs costs nothing, however often it is offered."""
    bundle(box, version, purpose)

    assert status == box.runs("take", "update.raucb", "stick sda1")
    assert [said] == [next((said for line in box.history if said and said in line), None)]
    assert (status == 0 and version != "1.0") == ("rauc install update.raucb" in box.done)


@pytest.mark.parametrize("purpose", ["update", "downgrade"])
def test_the_version_before_lies_there_still(box: Box, purpose: str) -> None:
    """Signed as going back, the former version is changed to as it lies in the other slot, without being written again; offered as an update
    it is there already. (S1-15)"""
    updated(box)
    box.runs("watch", slot="B", step=86_400)
    box.file(LAST, "a session")
    box.file("done", "")
    bundle(box, "1.0", purpose)

    assert 0 == box.runs("take", "update.raucb", "stick sda1", slot="B")
    assert (purpose == "downgrade") == ("systemctl soft-reboot" in box.done)
    assert not any("rauc install" in line for line in box.done)
    if purpose == "downgrade":
        assert "slot B: an update from stick sda1 wants to go back to slot A (1.0)" == box.history[-2]
        box.file("usr/lib/scrubjay/version", "1.0\n")
        box.runs("watch", slot="A", step=86_400)
        assert "slot B holds 2.0, confirmed" == box.file("var/lib/scrubjay/state/system").splitlines()[1]


@pytest.mark.parametrize("named", ["2.0", "1.9"])
def test_back_by_an_order(box: Box, named: str) -> None:
    """To the confirmed system in the other slot, from the version the order names and from no other; once, and not during a session. (S1-15)"""
    updated(box)
    box.runs("watch", slot="B", step=86_400)
    box.file("done", "")
    box.file(CURRENT, "a session")
    order = box.root / f"var/lib/scrubjay/updates/system/{named}.back"
    order.write_text("")
    box.runs("receive", slot="B")

    assert not order.exists()
    assert "systemctl soft-reboot" not in box.done
    assert (named == "2.0") == (
        "slot B: an order wants to go back to slot A (1.0); it waits for the end of the session" == box.history[-1]
    )
    (box.root / CURRENT).rename(box.root / LAST)
    box.runs("change", slot="B")
    assert (named == "2.0") == ("systemctl soft-reboot" in box.done)
    assert "" == box.file("var/lib/rauc/failed")


def test_there_is_nothing_to_go_back_to(box: Box) -> None:
    """An order to go back on a box that has had one system only is refused with the reason. (S1-15)"""
    (box.root / "var/lib/scrubjay/updates/system/1.0.back").write_text("")
    box.runs("receive")

    assert ["slot A: an order wants to go back: there is no confirmed system in slot B, so 1.0 stays"] == box.history
    assert not {BACK, ACTIVE, "systemctl reboot"} & set(box.done)


CURRENT, LAST = "var/lib/scrubjay/session/current", "var/lib/scrubjay/session/last"
ACTIVE, BACK = "rauc status mark-active other", "rauc status mark-active booted"


@pytest.mark.parametrize(("kernel", "how"), [("the same kernel", "systemctl soft-reboot"), ("another", "systemctl reboot")])
def test_an_update_waits_for_the_end_of_the_session(box: Box, kernel: str, how: str) -> None:
    """Written while somebody is operated on, and started by nothing: not by the update, nor by a start by chance. The console says what it
    waits for. When the session has ended the box changes, around its kernel where that is the same, and restarts where it is not. (S1-16)"""
    box.file("boot-b/vmlinuz", kernel)
    box.runs("watch", step=86_400)
    box.file("done", "")
    box.file(CURRENT, "a session")
    bundle(box, "2.0")
    box.runs("take", "update.raucb", "stick sda1")
    box.runs("change")
    box.runs("watch", step=86_400)

    assert "slot A: 2.0 was written into slot B (update from stick sda1); it waits for the end of the session" == box.history[-1]
    assert "slot B holds 2.0, and waits for the end of the session" == box.file("var/lib/scrubjay/state/system").splitlines()[1]
    assert not {ACTIVE, how} & set(box.done)

    (box.root / CURRENT).rename(box.root / LAST)
    box.runs("change")
    assert [ACTIVE, how] == [line for line in box.done if line in (ACTIVE, how)]
    assert 0 == box.runs("change")
    assert 1 == box.done.count(how)


def test_what_was_signed_for_it_changes_during_a_session(box: Box) -> None:
    """Somebody with the key said so; nothing else does. (S1-16)"""
    box.file(CURRENT, "a session")
    bundle(box, "0.9", "update downgrade during-session")
    box.runs("take", "update.raucb", "stick sda1")

    assert [ACTIVE, "systemctl soft-reboot"] == [line for line in box.done if line in (ACTIVE, "systemctl soft-reboot")]
    assert "table of b: DEVICE" == box.file("run/scrubjay-verity")


def test_between_sessions_an_update_is_changed_to_at_once(box: Box) -> None:
    """A box that has seen a session end is told when its room is in use. (S1-08)"""
    box.file(LAST, "a session")
    bundle(box, "2.0")
    box.runs("take", "update.raucb", "stick sda1")

    assert "slot A: changing to slot B while the kernel goes on" == box.history[-1]


def test_a_session_that_begins_holds_an_update_that_waited_for_a_start(box: Box) -> None:
    """The first session this box is told of: a power cut during it starts the system that was there. (S1-16)"""
    bundle(box, "2.0")
    box.runs("take", "update.raucb", "stick sda1")
    assert ACTIVE == box.done[-1]
    box.file(CURRENT, "a session")
    box.runs("change")

    assert BACK == box.done[-1]
    assert "A" == box.file("var/lib/rauc/expected").strip()


def test_what_came_over_the_network_is_dealt_with_and_removed(box: Box) -> None:
    """The same checks as of a stick; hidden files are not whole yet. What did not fit is not tried again and again. (S1-03)"""
    place = "var/lib/scrubjay/updates/system"
    bundle(box, "2.0")
    box.file(f"{place}/2.0.raucb", "whole")
    box.file(f"{place}/.3.0.raucb", "half")
    box.file("info-status", "1")
    box.runs("receive")
    assert "slot A: 2.0 is refused: update from the network: " in box.history[-1]
    box.file("info-status", "0")
    box.file(f"{place}/2.0.raucb", "whole")
    box.runs("receive")

    assert "slot A: 2.0 was written into slot B (update from the network); it waits for the next start" == box.history[-1]
    assert [".3.0.raucb"] == [path.name for path in (box.root / place).iterdir()]


def test_nothing_is_written_into_a_slot_that_is_being_changed_to(box: Box) -> None:
    """Two updates at once: the second is there for the next system to judge."""
    box.file(LAST, "a session")
    place = "var/lib/scrubjay/updates/system"
    for name in ("a", "b"):
        box.file(f"{place}/{name}.raucb", "whole")
    bundle(box, "2.0")
    box.runs("receive")
    bundle(box, "3.0")
    assert 1 == box.runs("take", "update.raucb", "stick sda1")

    assert 1 == sum("rauc install" in line for line in box.done)
    assert {"a.raucb", "b.raucb"} == {path.name for path in (box.root / place).iterdir()}


@pytest.mark.parametrize("slot", ["A", "B"])
def test_power_lost_while_the_boot_loader_is_told(box: Box, slot: str) -> None:
    """Whichever starts then, no version is blamed for it. (S1-16)"""
    bundle(box, "2.0")
    box.file("bin/rauc", RAUC + '[ "$2" != mark-active ] || kill -9 $PPID\n')
    box.runs("take", "update.raucb", "stick sda1")
    box.file("bin/rauc", RAUC)
    box.file("usr/lib/scrubjay/version", "1.0\n" if slot == "A" else "2.0\n")
    box.runs("watch", slot=slot, step=86_400)

    assert "" == box.file("var/lib/rauc/failed")
    assert not any("did not confirm itself" in line for line in box.history)


def test_power_lost_while_an_update_is_written(box: Box) -> None:
    """The next start says so, once, whoever comes to it first; the same update is taken when it comes again, and no version is blamed. (S1-16)"""
    bundle(box, "2.0")
    box.file("bin/rauc", RAUC + '[ "$1" != install ] || kill -9 $PPID\n')
    box.runs("take", "update.raucb", "stick sda1")
    box.file("bin/rauc", RAUC)
    (box.root / "run/scrubjay-writing").unlink()  # another start
    box.runs("watch", step=86_400)
    box.runs("watch", step=86_400)
    assert 0 == box.runs("take", "update.raucb", "stick sdb1")

    (said,) = [line for line in box.history if "cut off" in line]
    assert re.fullmatch(
        r"slot A: the update to 2\.0 \(from stick sda1, begun \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\) was cut off while it was written into slot B:"
        r" that slot is not started, and the update is taken anew when it comes again",
        said,
    )
    assert "slot A: 2.0 was written into slot B (update from stick sdb1); it waits for the next start" == box.history[-1]
    assert "" == box.file("var/lib/rauc/failed") == box.file("var/lib/rauc/writing")


@pytest.mark.parametrize("moment", ["*/.history", "*/rauc"])
def test_power_lost_while_that_is_written_down(box: Box, moment: str) -> None:
    """Again in the start behind it, before and after the history has it: it is in the history all the same, and once. (S1-16)"""
    bundle(box, "2.0")
    box.file("bin/rauc", RAUC + '[ "$1" != install ] || kill -9 $PPID\n')
    box.runs("take", "update.raucb", "stick sda1")
    (box.root / "run/scrubjay-writing").unlink()
    box.file("bin/sync", f'#!/bin/sh\ncase "$1" in {moment}) kill -9 $PPID ;; esac\n')
    (box.root / "bin/sync").chmod(0o755)
    assert -9 == box.runs("watch", step=86_400)
    (box.root / "bin/sync").unlink()
    box.runs("watch", step=86_400)

    assert 1 == len([line for line in box.history if "was cut off while it was written into slot B" in line])


def test_a_start_that_was_cut_off_is_in_the_history(box: Box) -> None:
    """The boot loader counted it; a start after a confirmed one is nothing to say. (S1-16)"""
    box.file("efi/grubenv", WHOLE + "A_TRY=1\nB_TRY=3\n")
    box.runs("watch", step=86_400)
    assert 1 == len(box.history)
    box.file("efi/grubenv", WHOLE + "A_TRY=2\n")
    (box.root / "run/scrubjay-tries").unlink()  # another start
    box.runs("watch", step=86_400)
    box.runs("watch", step=86_400)

    assert [
        "slot A: 1.0: start 2 in a row, the last one lost its power, hung, or was ended before it was confirmed"
    ] == box.history[1:]


def test_what_rauc_refuses_is_in_the_history(box: Box) -> None:
    """A bundle nobody of ours signed is not even asked for its version; one that cannot be written says why. Nothing is expected then."""
    box.file("info", "signature verification failed: Verify error: self-signed certificate\n")
    box.file("info-status", "1")
    assert 1 == box.runs("take", "update.raucb", "stick sda1")
    box.file("info-status", "0")
    bundle(box, "3.0", board="scrubjay-arm64")
    assert 1 == box.runs("take", "update.raucb", "stick sda1")
    bundle(box, "3.0")
    box.file("no-install", "")
    assert 1 == box.runs("take", "update.raucb", "stick sda1")

    assert [
        "slot A: something is refused: update from stick sda1: signature verification failed: Verify error: self-signed certificate",
        "slot A: 3.0 is refused: update from stick sda1: it is for scrubjay-arm64, this is scrubjay-amd64",
        "slot A: 3.0 is refused: update from stick sda1: LastError: Installation error: no room",
    ] == box.history
    assert "A" == box.file("var/lib/rauc/expected").strip()


@pytest.mark.parametrize("was_confirmed", [True, False])
def test_a_damaged_environment_of_the_boot_loader_is_mended(box: Box, was_confirmed: bool) -> None:
    """The power went while it was written: it is put back as it was at the last confirmation, or made anew, and the start is confirmed."""
    if was_confirmed:
        box.runs("watch", step=86_400)
    box.file("efi/grubenv", "ORDER=")
    box.runs("watch", step=86_400)

    anew = "ORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\nWHOLE=1\n"
    assert (WHOLE if was_confirmed else anew) == box.file("efi/grubenv")
    assert "slot A: the boot loader's environment was damaged, and is mended" in box.history
    assert "rauc status mark-good booted" == box.done[-1]


@pytest.mark.skipif(shutil.which("fw_setenv") is None, reason="needs libubootenv-tool (tools/setup.sh): U-Boot's environment")
@pytest.mark.parametrize("damage", [b"", bytes(UBOOT_BYTES), uboot(BOOT_ORDER="B A")[:-1], b"\1" + uboot(BOOT_ORDER="B A")[1:]])
@pytest.mark.parametrize("was_confirmed", [True, False])
def test_a_damaged_environment_of_u_boot_is_mended(box: Box, was_confirmed: bool, damage: bytes) -> None:
    """As GRUB's is, by its checksum, with the program that RAUC calls; one that is whole is left alone. (S1-16)"""
    where = box.root / "efi/uboot.env"
    box.file("etc/rauc/system.conf", "[system]\ncompatible=scrubjay-arm64\nbootloader=uboot\n")
    box.file("etc/fw_env.config", f"{where} 0x0 {UBOOT_BYTES:#x}\n")
    whole = uboot(BOOT_ORDER="B A", BOOT_A_LEFT="3", BOOT_B_LEFT="2")
    where.write_bytes(whole)
    if was_confirmed:
        box.runs("watch", slot="B", step=86_400)
        assert whole == where.read_bytes() == where.with_name("uboot.env.good").read_bytes()
    where.write_bytes(damage)
    box.runs("watch", slot="B", step=86_400)

    anew = {"BOOT_ORDER": "B", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "3"}
    assert (read_uboot(whole) if was_confirmed else anew) == read_uboot(where.read_bytes())
    assert "slot B: the boot loader's environment was damaged, and is mended" in box.history
    assert "rauc status mark-good booted" == box.done[-1]


def test_two_at_once_lose_nothing(box: Box) -> None:
    """A stick comes while another is looked at: both are in the history."""
    box.file("info-status", "1")
    box.file("info", "no signature\n")
    box.runs("take", "update.raucb", "stick first")
    environment = {**os.environ, "PATH": f"{box.root}/bin:{os.environ['PATH']}", "SCRUBJAY_AT": str(box.root)}
    names = [f"stick sd{letter}" for letter in "abcdefgh"]
    takers = [
        subprocess.Popen(["sh", str(SLOTS), "take", "update.raucb", name], env=environment, stdout=subprocess.DEVNULL)
        for name in names
    ]

    assert [1] * len(names) == [taker.wait(timeout=60) for taker in takers]
    assert {"stick first", *names} == {line.split("from ")[1].split(":")[0] for line in box.history}


def test_the_history_is_bounded_and_harmless(box: Box) -> None:
    """Two hundred lines, printable, whatever a bundle says about itself."""
    box.file("info-status", "1")
    for turn in range(3):
        box.file("info", f"\x1b[2J{'x' * 1000} {turn}\n")
        box.runs("take", "update.raucb", "a\x07stick")
    box.file("var/lib/rauc/history", "2026-01-01T00:00:00Z slot A: old\n" * 500)
    box.runs("take", "update.raucb", "stick")

    lines = box.file("var/lib/rauc/history").splitlines()
    assert 200 == len(lines)
    assert all(len(line) <= 300 and line.isprintable() for line in lines)
