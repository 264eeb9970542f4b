"""What the writer of an open segment knows to be lost, in a file beside its frames until the seal says it.

Who is killed takes its memory along, and who goes on with its rings would say that nothing is missing (storm seed 6070). Not synced:
after a power cut nobody says that, and what is then left of the file is believed if it makes sense.
As stored: deterministic CBOR, [drops, gaps] as under the keys 11 and 12 of a seal (segment.cddl).
"""

import cbor2

from drivers.disk import Disk
from firmware.core.cbor import decoded_record
from firmware.core.errors import BadItem, Missing
from firmware.core.glance import SEAL_BYTES_MAX
from firmware.core.layout import NOTED
from firmware.core.seal import drops_from, gaps_as_list, gaps_from
from firmware.core.segment_writer import Losses


def note(disk: Disk, hidden: str, losses: Losses) -> None:
    """From now on a recovery says these. hidden: the open segment's directory. Raises DiskFull, DiskFailed, Missing."""
    disk.write(f"{hidden}/.{NOTED}", packed(losses))
    disk.rename(f"{hidden}/.{NOTED}", f"{hidden}/{NOTED}")


def noted(disk: Disk, hidden: str) -> Losses:
    """What was noted last; nothing where there is no file, or none that makes sense. Raises DiskFailed."""
    try:
        return unpacked(disk.read(f"{hidden}/{NOTED}", size=SEAL_BYTES_MAX + 1))
    except (BadItem, Missing):
        return Losses({})


def packed(losses: Losses) -> bytes:
    """As stored."""
    return cbor2.dumps([dict(losses.drops), gaps_as_list(losses.gaps)], canonical=True)


def unpacked(data: bytes) -> Losses:
    """Raises BadItem for anything `packed` would not have written."""
    if len(data) > SEAL_BYTES_MAX:
        raise BadItem(f"expected noted losses of at most {SEAL_BYTES_MAX} bytes, got {len(data)}")
    match decoded_record(data):
        case [dict(drops), list(gaps)]:
            losses = Losses(drops_from(drops), gaps_from(gaps))
            if all(count > 0 for count in losses.drops.values()):
                return losses
    raise BadItem("expected noted losses as [drops, gaps]")
