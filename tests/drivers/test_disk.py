"""The disk's contract, on the real one and the simulated one; and what only a simulated disk can show: a power cut."""

import errno
import gc
import mmap
import os
import resource
import subprocess
import threading
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from drivers.disk import Disk
from drivers.errors import DiskFailed, DiskFull, Missing
from drivers.linux.disk import DIRECT_BYTES_MIN, SLOW_APPENDS, SLOW_S, LinuxDisk
from firmware.core.durable import make_directory, replace
from simulator.disk import NAMES_A_BLOCK, Failing, PowerCut, SimulatedDisk

NOBODY = 65_534


@pytest.fixture(params=["linux", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return LinuxDisk(tmp_path / "store") if request.param == "linux" else SimulatedDisk()


def test_what_was_written_is_read(disk: Disk) -> None:
    """A file reads as written, whole and in stretches, short at its end."""
    disk.mkdir("a/b")
    disk.write("a/b/file", b"0123456789")

    assert b"0123456789" == disk.read("a/b/file")
    assert b"345" == disk.read("a/b/file", offset=3, size=3)
    assert b"89" == disk.read("a/b/file", offset=8, size=100)
    assert b"" == disk.read("a/b/file", offset=100)
    assert [b"", b""] == [disk.read("a/b/file", offset=offset, size=100) for offset in ((1 << 63) - 50, (1 << 64) - 1)]
    assert 10 == disk.size("a/b/file")


def test_a_written_file_replaces_its_name_only(disk: Disk) -> None:
    """Writing a name again leaves the former bytes under every other name they have."""
    disk.write("first", b"old")
    disk.link("first", "second")
    disk.write("first", b"new")

    assert (b"new", b"old") == (disk.read("first"), disk.read("second"))


def test_appending(disk: Disk) -> None:
    """Parts arrive in order and in one piece, more of them than one vectored write takes; size counts what was accepted."""
    file = disk.create("file")
    file.append([b"ab", memoryview(b"cd"), b"", bytearray(b"ef")])
    file.append([b"x"] * 3000)
    file.sync()

    assert 3006 == file.size
    assert b"abcdef" + b"x" * 3000 == disk.read("file")
    file.close()
    file.close()


def test_large_appends(disk: Disk) -> None:
    """Sizes around blocks and pages, small ones between, from memory that lies as the file does and from memory that does not."""
    file, expected, random = disk.create("file"), b"", Random(1)
    for size in (1, 200_000, 4095, 131_072, 300_001, 3, 2_500_000, 140_000, 0, 4096):
        data = random.randbytes(size)
        file.append([data])
        expected += data

        assert (len(expected), expected[-9000:]) == (file.size, disk.read("file", offset=max(0, len(expected) - 9000)))
    file.sync()
    file.close()
    again = disk.reopen("file", size=200_002)
    data = random.randbytes(260_000)
    again.append([data])
    again.close()

    assert expected[:200_002] + data == disk.read("file")


def test_reopening_cuts(disk: Disk) -> None:
    """A file reopened at a size goes on from there; a file shorter than that is a failed disk, not a hole."""
    disk.write("file", b"0123456789")
    file = disk.reopen("file", size=4)
    file.append([b"ab"])
    file.close()

    assert b"0123ab" == disk.read("file")
    with pytest.raises(DiskFailed):
        disk.reopen("file", size=7)


def test_listing(disk: Disk) -> None:
    """Names are sorted, hidden ones among them; no directory is an empty one."""
    disk.mkdir("d/sub")
    disk.mkdir("d/sub")
    for name in ("b", ".hidden", "a"):
        disk.write(f"d/{name}", b"")

    assert [".hidden", "a", "b", "sub"] == disk.list("d")
    assert ["d"] == disk.list("")
    assert [] == disk.list("nowhere")
    assert [] == disk.list("d/a")


def test_renaming(disk: Disk) -> None:
    """A file replaces one of the new name; a directory moves with all in it, to a free name only."""
    disk.mkdir("d/inner")
    disk.mkdir("e/full")
    disk.write("d/inner/file", b"1")
    disk.write("one", b"1")
    disk.write("two", b"2")
    disk.write("e/full/file", b"")
    disk.rename("one", "two")
    disk.rename("d/inner", "e/moved")

    assert b"1" == disk.read("two")
    assert b"1" == disk.read("e/moved/file")
    assert not disk.exists("one")
    assert not disk.exists("d/inner")
    with pytest.raises(DiskFailed):
        disk.rename("e/moved", "e/full")


def test_linking_leaves_the_taken_name(disk: Disk) -> None:
    """A second name shares the bytes; a name already taken stays as it is."""
    disk.write("one", b"1")
    disk.write("two", b"2")
    disk.link("one", "two")
    disk.link("one", "three")
    disk.remove("one")

    assert (b"2", b"1") == (disk.read("two"), disk.read("three"))


def test_removing(disk: Disk) -> None:
    """A file goes, a directory goes with all in it, and what is not there is Missing."""
    disk.mkdir("d/sub")
    disk.write("d/sub/file", b"")
    disk.write("file", b"")
    disk.remove("file")
    disk.remove("d")

    assert [] == disk.list("")
    with pytest.raises(Missing):
        disk.remove("d")


@pytest.mark.parametrize("deed", ["read", "size", "sync", "sync_dir", "remove"])
def test_what_is_not_there_is_missing(disk: Disk, deed: str) -> None:
    """Every operation on a name that is not there says Missing, in a directory that is there and in one that is not."""
    for path in ("nothing", "nowhere/nothing"):
        with pytest.raises(Missing):
            getattr(disk, deed)(path)


def test_nothing_is_made_in_a_missing_directory(disk: Disk) -> None:
    """Writing, creating, renaming and linking into a directory that is not there are Missing, and change nothing."""
    disk.write("file", b"1")
    for attempt in (
        lambda: disk.write("nowhere/file", b""),
        lambda: disk.create("nowhere/file"),
        lambda: disk.rename("file", "nowhere/file"),
        lambda: disk.rename("nothing", "new"),
        lambda: disk.link("file", "nowhere/file"),
        lambda: disk.link("nothing", "new"),
        lambda: disk.reopen("nothing", size=0),
    ):
        with pytest.raises(Missing):
            attempt()

    assert ["file"] == disk.list("")


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b", "a//b", "a/./b", "nul\0byte", "x" * 256])
def test_paths_stay_inside(disk: Disk, path: str) -> None:
    """A path that is absolute, climbs or cannot be a name is a mistake of ours, refused before the disk is touched."""
    with pytest.raises(ValueError):
        disk.write(path, b"")
    with pytest.raises(ValueError):
        disk.exists(path)


def test_a_directory_is_not_a_file(disk: Disk) -> None:
    """Size and removal tell them apart; a directory cannot take a file's name."""
    disk.write("file", b"")
    disk.mkdir("d")

    with pytest.raises(Missing):
        disk.size("d")
    with pytest.raises(DiskFailed):
        disk.mkdir("file")


def test_syncs_return(disk: Disk) -> None:
    """Files, directories and the root can be synced, and there is some room."""
    disk.mkdir("d")
    disk.write("d/file", b"1")
    disk.sync("d/file")
    disk.sync_dir("d")
    disk.sync_dir("")

    assert 0 < disk.free_bytes() <= disk.total_bytes()


def test_full_disk_takes_nothing_back_of_what_it_had() -> None:
    """On a full disk a write leaves no file and an append leaves the file as it was; the same works again when there is room."""
    disk = SimulatedDisk()
    file = disk.create("file")
    file.append([b"1234"])
    disk.fill(leave_bytes=3)
    with pytest.raises(DiskFull):
        disk.write("other", b"1234")
    with pytest.raises(DiskFull):
        file.append([b"12", b"34"])

    assert (["file"], 4, b"1234") == (disk.list(""), file.size, disk.read("file"))
    disk.capacity_bytes += 1
    file.append([b"12", b"34"])
    assert 0 == disk.free_bytes()


def test_full_linux_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's ENOSPC in the middle of a vectored write: what it took is cut back, the trouble is DiskFull."""
    disk = LinuxDisk(tmp_path)
    file = disk.create("file")
    file.append([b"before"])
    real = os.pwritev
    calls = Counter[str]()

    def full(descriptor: int, parts: list[memoryview], place: int) -> int:
        calls["pwritev"] += 1
        if calls["pwritev"] > 1:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(descriptor, [parts[0][:2]], place)

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(DiskFull):
        file.append([b"long", b"er"])
    calls.clear()
    with pytest.raises(DiskFull):
        file.append([b"longer"])
    calls.clear()
    with pytest.raises(DiskFull):
        disk.write("other", b"data")
    monkeypatch.undo()
    file.append([b" and after"])

    assert b"before and after" == disk.read("file")
    assert ["file"] == disk.list("")


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(bytes, place) of each write past the page cache that the kernel took."""
    calls: list[tuple[int, int]] = []
    real = os.pwrite

    def noted(descriptor: int, data: memoryview, place: int) -> int:
        taken = real(descriptor, data, place)
        calls.append((taken, place))
        return taken

    monkeypatch.setattr(os, "pwrite", noted)
    return calls


def has_direct(place: Path) -> bool:
    """Whether the file system below has O_DIRECT at all; tmpfs has not."""
    try:
        os.close(os.open(place / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def test_a_file_that_may_not_grow_further(tmp_path: Path) -> None:
    """As on FAT32 at 4 GiB: it is said that it is the file's length, for neither room nor another cable helps; what was there stays."""
    file = LinuxDisk(tmp_path / "store").create("file")
    file.append([bytes(1000)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskFailed, match=r"takes a file this long.*FAT32"):
            file.append([bytes(5000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert 1000 == file.size == (tmp_path / "store" / "file").stat().st_size
    file.close()


def test_large_appends_go_past_the_page_cache(tmp_path: Path, straight: list[tuple[int, int]]) -> None:
    """S2-090: whole blocks of a large append go straight to the device, at whole blocks of the file; a small one is not worth it."""
    if not has_direct(tmp_path):
        pytest.skip("this file system writes through the page cache only")
    disk = LinuxDisk(tmp_path)
    file = disk.create("file")
    file.append([b"small"])
    file.append([bytes(range(256)) * 2048])

    assert [(520_192, 4096)] == straight
    assert b"small" + bytes(range(256)) * 2048 == disk.read("file")
    assert not file.is_cached_only


def test_memory_that_lies_right_is_not_copied(tmp_path: Path, straight: list[tuple[int, int]]) -> None:
    """S2-090: at an address that is the file's size modulo a page, no buffer is needed; at any other there is one, and the same bytes."""
    if not has_direct(tmp_path):
        pytest.skip("this file system writes through the page cache only")
    with mmap.mmap(-1, 1 << 20) as room, memoryview(room) as pages:
        pages[:] = Random(2).randbytes(1 << 20)
        disk = LinuxDisk(tmp_path)
        right, wrong = disk.create("right"), disk.create("wrong")
        right.append([pages[100:300]])
        right.append([pages[200:400_200]])
        wrong.append([pages[100:300]])
        wrong.append([pages[203:400_203]])

        assert (None, True) == (right._buffer, wrong._buffer is not None)
        assert bytes(pages[100:300]) + bytes(pages[200:400_200]) == disk.read("right")
        assert bytes(pages[100:300]) + bytes(pages[203:400_203]) == disk.read("wrong")
    assert 2 == len(straight)


def test_a_file_system_without_direct_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2-090: refused at opening or at the first write, large appends go through the page cache for good, and the file says so."""
    at_opening, at_writing = LinuxDisk(tmp_path / "a"), LinuxDisk(tmp_path / "b")
    data, real = Random(3).randbytes(400_000), os.open

    def refused(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "")
        return real(path, flags, *rest, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        for _ in range(2):
            file = at_opening.create("file")
            assert not file.is_cached_only
            file.append([data])
            file.append([data])
            assert file.is_cached_only
            file.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda path, flags, *rest, dir_fd=None: real(path, flags & ~os.O_DIRECT, *rest, dir_fd=dir_fd))
        patch.setattr(os, "pwrite", lambda *call: (_ for _ in ()).throw(OSError(errno.EINVAL, "")))
        file = at_writing.create("file")
        file.append([data])
        file.append([data])
        assert file.is_cached_only
        file.close()

    assert [data * 2] * 2 == [at_opening.read("file"), at_writing.read("file")]


def test_a_full_disk_past_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2-090: the device is full in the middle of a large append: what it took is cut off again, and there the next one begins."""
    if not has_direct(tmp_path):
        pytest.skip("this file system writes through the page cache only")
    disk, data, real = LinuxDisk(tmp_path), Random(4).randbytes(2_000_000), os.pwrite
    file = disk.create("file")
    file.append([b"before"])

    def full(descriptor: int, part: memoryview, place: int) -> int:
        if place > 1 << 20:
            raise OSError(errno.ENOSPC, "")
        return real(descriptor, part[: 1 << 19], place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFull):
            file.append([data])

    assert (6, b"before") == (file.size, disk.read("file"))
    file.append([data])
    assert b"before" + data == disk.read("file")


def test_a_slow_disk_is_met_through_the_page_cache(tmp_path: Path, straight: list[tuple[int, int]]) -> None:
    """S2-090: after an append that took long, the page cache takes the next ones; the ring is too short to wait for a busy disk."""
    if not has_direct(tmp_path):
        pytest.skip("this file system writes through the page cache only")
    seconds = iter([0.0, SLOW_S * 2, 10.0, 10.0 + SLOW_S * 2, 20.0, 20.0])
    disk = LinuxDisk(tmp_path, monotonic=lambda: next(seconds))
    file, data, went = disk.create("file"), bytes(DIRECT_BYTES_MIN), []
    for _ in range(3 * SLOW_APPENDS + 3):
        before = len(straight)
        file.append([data])
        went.append(len(straight) > before)

    # Slow, slow again, and then as it should be.
    assert [0, SLOW_APPENDS + 1, 3 * SLOW_APPENDS + 2] == [number for number, straightly in enumerate(went) if straightly]
    assert len(went) * len(data) == file.size == disk.size("file")


def test_nothing_waits_behind_a_sync(tmp_path: Path, straight: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """S2-090: while a sync is under way the page cache takes large appends, for a device that empties its cache lets others wait."""
    if not has_direct(tmp_path):
        pytest.skip("this file system writes through the page cache only")
    may_end, data = threading.Event(), bytes(DIRECT_BYTES_MIN)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: may_end.wait(20))
    file = LinuxDisk(tmp_path).create("file")
    file.append([data])
    file.start_sync()
    file.append([data])
    during = len(straight)
    may_end.set()
    file.sync()
    file.append([data])

    assert (1, 2) == (during, len(straight))


def test_modes_of_a_linux_store(tmp_path: Path) -> None:
    """Nobody outside the group reads a store."""
    disk = LinuxDisk(tmp_path / "store")
    disk.mkdir("d")
    disk.write("d/file", b"")

    assert 0 == (tmp_path / "store" / "d").stat().st_mode & 0o027
    assert 0 == (tmp_path / "store" / "d" / "file").stat().st_mode & 0o137


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_root_that_may_be_walked_through_and_not_listed() -> None:
    """As on the box: the root of the store is another user's, 0751, and one directory in it is ours. That is enough to work there."""
    with TemporaryDirectory() as place:  # tmp_path is below a directory that nobody else may walk through
        root = Path(place) / "store"
        (root / "ours").mkdir(parents=True)
        os.chown(root / "ours", NOBODY, NOBODY)
        for path in (Path(place), root):
            path.chmod(0o751)
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                disk = LinuxDisk(root)
                make_directory(disk, "ours")
                make_directory(disk, "ours/within")
                replace(disk, "ours", "file", b"12")
                os._exit(0 if disk.read("ours/file") == b"12" and 0 < disk.free_bytes() else 3)
            except (DiskFailed, Missing):
                os._exit(4)
        status = os.waitpid(child, 0)[1]

        assert 0 == os.waitstatus_to_exitcode(status)
        assert b"12" == (root / "ours/file").read_bytes()


def test_a_right_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not its owner is told who may: it is not the disk that fails."""
    disk = LinuxDisk(tmp_path / "store")

    def refused(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)

    with pytest.raises(
        DiskFailed, match="expected the right to this store, the kernel answered EACCES; its owner and root have it"
    ):
        disk.read("state/clock")


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """A link somebody put into the store leads nowhere: neither read through nor written through."""
    (tmp_path / "outside").write_bytes(b"secret")
    disk = LinuxDisk(tmp_path / "store")
    (tmp_path / "store" / "trap").symlink_to(tmp_path / "outside")
    with pytest.raises(DiskFailed):
        disk.read("trap")
    disk.write("trap", b"mine")

    assert (b"secret", b"mine") == ((tmp_path / "outside").read_bytes(), disk.read("trap"))


def test_failing_disk() -> None:
    """A read-only disk still reads, a dead one does not even list; both say DiskFailed."""
    disk = SimulatedDisk()
    disk.write("file", b"1")
    disk.failing = Failing.READ_ONLY
    with pytest.raises(DiskFailed):
        disk.write("file", b"2")

    assert b"1" == disk.read("file")
    disk.failing = Failing.GONE
    with pytest.raises(DiskFailed):
        disk.list("")


def test_synced_things_survive_every_power_cut() -> None:
    """File synced and directory synced: there, whatever the seed; file synced alone: whole or not there; neither: anything."""
    outcomes = Counter[str]()
    for seed in range(200):
        disk = SimulatedDisk()
        disk.mkdir("d")
        disk.sync_dir("")
        disk.write("d/safe", b"0123456789")
        disk.sync("d/safe")
        disk.sync_dir("d")
        disk.write("d/file_only", b"0123456789")
        disk.sync("d/file_only")
        disk.write("d/nothing", b"0123456789")
        disk.power_cut(Random(seed))

        assert b"0123456789" == disk.read("d/safe")
        if disk.exists("d/file_only"):
            assert b"0123456789" == disk.read("d/file_only")
        outcomes["file_only", disk.exists("d/file_only")] += 1  # type: ignore[index]
        outcomes["nothing", disk.read("d/nothing") if disk.exists("d/nothing") else None] += 1  # type: ignore[index]
    # It bites: each allowed outcome occurs, an empty file, a part, garbage and the whole among them.
    assert outcomes["file_only", True] > 20 and outcomes["file_only", False] > 20  # type: ignore[index]
    assert {None, b"", b"0123456789"} <= {what for name, what in outcomes if name == "nothing"}  # type: ignore[misc]
    assert len(outcomes) > 10


def test_a_renamed_thing_has_the_old_name_or_the_new_or_both_but_never_none() -> None:
    """Across directories too, and after either directory's sync."""
    seen = set()
    for seed in range(200):
        for synced in (None, "a", "b"):
            disk = SimulatedDisk()
            disk.mkdir("a")
            disk.mkdir("b")
            disk.write("a/file", b"1")
            disk.sync("a/file")
            for directory in ("", "a", "b"):
                disk.sync_dir(directory)
            disk.rename("a/file", "b/file")
            if synced is not None:
                disk.sync_dir(synced)
            disk.power_cut(Random(seed))
            found = (disk.exists("a/file"), disk.exists("b/file"))
            seen.add((synced, found))

            assert any(found)
    assert {(True, False), (False, True), (True, True)} == {found for synced, found in seen if synced is None}
    assert {(False, True)} == {found for synced, found in seen if synced == "a"}
    assert {(False, True), (True, True)} == {found for synced, found in seen if synced == "b"}


def test_an_unsynced_tail_after_a_cut() -> None:
    """What was synced of a growing file stays; what follows may be there, cut short, or garbage."""
    seen = set()
    for seed in range(200):
        disk = SimulatedDisk()
        file = disk.create("file")
        file.append([b"synced"])
        file.sync()
        disk.sync_dir("")
        file.append([b"tail"])
        disk.power_cut(Random(seed))
        data = disk.read("file")
        seen.add(data)

        assert data.startswith(b"synced")
        assert len(data) <= 10
        with pytest.raises(AssertionError):
            file.append([b"x"])
    assert {b"synced", b"syncedtail", b"syncedta", b"synced\0\0\0\0"} <= seen


def test_a_page_may_be_missing_in_the_middle_after_a_cut() -> None:
    """What went past the page cache may have outlived a page before it that had not."""
    holes = 0
    for seed in range(200):
        disk = SimulatedDisk()
        file = disk.create("file")
        disk.sync_dir("")
        file.append([b"x" * 20_000])
        disk.power_cut(Random(seed))
        data = disk.read("file")
        holes += data.endswith(b"x") and bytes(4096) in data

    assert holes > 5


def test_the_power_can_be_cut_before_any_operation() -> None:
    """The hook sees each changing operation before it happens, and may end the world there."""
    disk = SimulatedDisk()

    def cut(number: int, what: str, path: str) -> None:
        if number == 1:
            raise PowerCut

    disk.before = cut
    disk.write("first", b"")
    with pytest.raises(PowerCut):
        disk.write("second", b"")

    assert ["first"] == disk.list("")
    assert not issubclass(PowerCut, Exception)


def test_a_directory_goes_file_by_file() -> None:
    """The end may come in the middle of its removal; what is left lacks any of its files, and a second removal takes the rest."""
    left = []
    for operations in range(4):
        disk = SimulatedDisk()
        disk.mkdir("a/b")
        for name in ("a/one", "a/b/two"):
            disk.write(name, b"x")
        first = disk.operations

        def cut(number: int, _what: str, _path: str, at: int = first + operations) -> None:
            if number == at:
                raise PowerCut

        disk.before = cut
        with pytest.raises(PowerCut):
            disk.remove("a")
        disk.before = None
        left.append(disk.list("a"))
        disk.remove("a")
        assert [] == disk.list("")

    assert [["b", "one"], ["b"], ["b"], []] == [sorted(names) for names in left]


def test_names_take_room_as_well() -> None:
    """On a disk without any a directory is not made, and a name finds its place only where the directory's last block has one."""
    disk = SimulatedDisk()
    disk.mkdir("a")
    for number in range(NAMES_A_BLOCK):
        disk.write(f"a/{number}", b"")
    disk.mkdir("b")
    disk.fill(leave_bytes=0)
    for deed in (
        lambda: disk.mkdir("c"),
        lambda: disk.create("a/new"),
        lambda: disk.link("a/0", "a/new"),
        lambda: disk.rename("a/0", "a/new"),
        lambda: disk.write("a/new", b""),
    ):
        with pytest.raises(DiskFull):
            deed()
    disk.rename("a/0", "b/0")
    disk.rename("a/2", "a/1")
    disk.write("a/3", b"")

    assert (["0"], NAMES_A_BLOCK - 2) == (disk.list("b"), len(disk.list("a")))


def test_room_is_accounted_for() -> None:
    """Replacing, removing and renaming over give the room back, links count once."""
    disk = SimulatedDisk(capacity_bytes=10_000)
    disk.mkdir("d")
    disk.write("d/a", b"x" * 10)
    disk.link("d/a", "d/b")
    disk.write("c", b"y" * 20)
    disk.rename("c", "d/a")

    assert 9_970 == disk.free_bytes()
    disk.remove("d")
    assert 10_000 == disk.free_bytes()


def test_sync_without_waiting(disk: Disk) -> None:
    """A sync can be begun and looked after; what is appended meanwhile is accepted. Nothing is under way in the end."""
    file = disk.create("file")
    file.append([b"first"])
    file.start_sync()
    file.append([b"second"])
    file.start_sync()
    file.sync()

    assert not file.is_syncing()
    assert b"firstsecond" == disk.read("file")
    file.start_sync()
    file.close()


def test_a_sync_under_way_promises_nothing() -> None:
    """Between its beginning and its end the power may go with all of it; ended, it holds what was appended before it began."""
    kept: list[Counter[bytes]] = [Counter(), Counter()]
    for seed in range(200):
        for looks in range(2):
            disk = SimulatedDisk()
            file = disk.create("file")
            disk.sync_dir("")
            file.append([b"ab"])
            file.start_sync()
            file.append([b"cd"])
            if looks:
                assert not file.is_syncing()
            disk.power_cut(Random(seed))
            kept[looks][disk.read("file")[:2]] += 1

    assert {b"ab"} == set(kept[1])
    assert {b"", b"ab"} <= set(kept[0])


def test_a_sync_that_failed_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of lost bytes once; the file goes on saying so, to whoever looks and to every later sync."""
    real, simulated = LinuxDisk(tmp_path / "store"), SimulatedDisk()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "")))
        sick = real.create("file")
        sick.append([b"1"])
        sick.start_sync()
        with pytest.raises(DiskFailed):
            while sick.is_syncing():
                pass
    ill = simulated.create("file")
    ill.append([b"1"])
    ill.start_sync()
    simulated.failing = Failing.READ_ONLY
    with pytest.raises(DiskFailed):
        ill.is_syncing()
    simulated.failing = Failing.NOT

    for file in (sick, ill):
        with pytest.raises(DiskFailed):
            file.sync()
        with pytest.raises(DiskFailed):
            file.start_sync()
        file.close()


def test_a_file_that_cannot_be_cut_costs_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery tries again every second for as long as the disk refuses: nothing may be left open each time."""
    disk = LinuxDisk(tmp_path)
    disk.write("file", b"abc")

    def refuses(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "ftruncate", refuses)
    gc.collect()  # What other tests left open may be closed at any moment, and would be counted.
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(DiskFull):
            disk.reopen("file", size=1)

    assert before >= len(list(Path("/proc/self/fd").iterdir()))
    disk.close()


def test_a_sync_where_no_thread_is_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit of tasks a process syncs and waits; it does not end, and the file can be closed."""

    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    synced: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", refuses)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    file = LinuxDisk(tmp_path).create("file")
    file.append([b"abc"])
    file.start_sync()

    assert (1, False) == (len(synced), file.is_syncing())
    file.close()


def test_names_that_run_out_are_room_that_runs_out(tmp_path: Path) -> None:
    """On a file system full of small files there is no more room than there are inodes, however many bytes are free."""
    words = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "none", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("expected the privilege to mount a file system, there is none")
    try:
        disk = LinuxDisk(tmp_path / "store")
        before = disk.free_bytes()
        for number in range(188):
            disk.write(str(number), b"")
        few = disk.free_bytes()
        with pytest.raises(DiskFull):
            for number in range(188, 300):
                disk.write(str(number), b"")
        none = disk.free_bytes()
        disk.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)

    assert 60 << 20 < before
    assert 0 < few < (64 << 20) * 12 // 200
    assert 0 == none
