"""A cold segment back to frames.pcapng.lz4, for tshark and for whoever wants the file that was sealed.

cold form ─▶ .frames.pcapng.lz4, compared with the seal ─▶ renamed ─▶ cold form removed (its seal first)
"""

from collections.abc import Iterator

from drivers.disk import Disk
from firmware.core.cold import Cold
from firmware.core.digest import of_file
from firmware.core.errors import Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.layout import COLD, COLD_SEAL, FRAMES
from firmware.core.segment import Segment


def restored(disk: Disk, path: str, name: str) -> Iterator[bytes]:
    """frames.pcapng.lz4 of a cold segment, piece by piece, as this machine packs it; its pcapng is proved, its packing is not.

    Raises Missing when the segment is not cold, Corrupt.
    """
    form = Cold(disk, f"{path}/{name}")
    for run in form.runs:
        for _, _, link in form.links(run):
            yield link


def thaw(disk: Disk, path: str, name: str) -> int:
    """Give the segment its hot form back; returns its bytes. Twice is as good as once.

    Raises Missing when there is neither form, Corrupt when what is stored is altered or this machine's LZ4 packs otherwise than the
    one that sealed (`restored` gives a file with the same frames then), DiskFull, DiskFailed. After these the cold form is as it was.
    """
    directory = f"{path}/{name}"
    if disk.exists(f"{directory}/{FRAMES}"):
        # Nothing cold beside it is touched: it is of who rewrites this segment, and may be all there is of it in the next moment.
        return disk.size(f"{directory}/{FRAMES}")
    try:
        _restore(disk, path, name)
    except BaseException:
        # Whatever ended it: the room of half a segment is given back. Nobody else would, for a cold segment is not rewritten.
        _remove(disk, f"{directory}/.{FRAMES}")
        raise
    for file_name in (COLD_SEAL, COLD):
        _remove(disk, f"{directory}/{file_name}")
    disk.sync_dir(directory)
    return disk.size(f"{directory}/{FRAMES}")


def _restore(disk: Disk, path: str, name: str) -> None:
    directory = f"{path}/{name}"
    form, made = Cold(disk, directory), Segment(disk, path, name).seal()
    digest = of_file(made.piece_bytes if made is not None else None)
    file = disk.create(f"{directory}/.{FRAMES}")
    try:
        for link in restored(disk, path, name):
            digest.update(link)
            file.append([link])
        file.sync()
    finally:
        file.close()
    if made is None or digest.digest() != made.frames_digest:
        raise Corrupt(f"segment {name}: expected the bytes that were sealed, packed by {form.seal.library}; got others")
    disk.rename(f"{directory}/.{FRAMES}", f"{directory}/{FRAMES}")
    disk.sync_dir(directory)


def _remove(disk: Disk, path: str) -> None:
    try:
        disk.remove(path)
    except (DiskFailed, DiskFull, Missing):
        return  # There is none; or it is a leftover, which counts for nothing beside a hot form.
