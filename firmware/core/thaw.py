"""A cold segment back to frames.pcapng.lz4, for tshark and for whoever wants the file that was sealed.

cold form ─▶ .frames.pcapng.lz4, compared with the seal ─▶ renamed ─▶ cold form removed (its seal first)
"""

from collections.abc import Iterator

from drivers.disk import Disk
from firmware.core.cold import COLD, COLD_SEAL, Cold
from firmware.core.digest import of_file
from firmware.core.errors import Corrupt
from firmware.core.segment import FRAMES, Segment


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
    if not disk.exists(f"{directory}/{FRAMES}"):
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
            disk.remove(f"{directory}/.{FRAMES}")
            raise Corrupt(f"segment {name}: expected the bytes that were sealed, packed by {form.seal.library}; got others")
        disk.rename(f"{directory}/.{FRAMES}", f"{directory}/{FRAMES}")
        disk.sync_dir(directory)
    for file_name in (COLD_SEAL, COLD):
        if disk.exists(f"{directory}/{file_name}"):
            disk.remove(f"{directory}/{file_name}")
    disk.sync_dir(directory)
    return disk.size(f"{directory}/{FRAMES}")
