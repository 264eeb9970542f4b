"""Erasing: the receipt first, never what is pinned, and afterwards nothing."""

import os
import stat

import pytest

from firmware.cli.store import keep_outside
from firmware.core import receipt, seal
from firmware.core.errors import DiskFailed, VaultShut
from firmware.core.store import Store
from firmware.retention.pins import pin, unpin
from firmware.vault.erase import erase
from firmware.vault.page import erased, status
from simulator.board import SimulatedBoard
from simulator.vault import SimulatedVault
from simulator.written_store import frame, write_segment


@pytest.fixture
def box() -> tuple[SimulatedBoard, SimulatedVault]:
    board = SimulatedBoard()
    vault = SimulatedVault(board.disk)
    vault.open()
    for _ in range(3):
        write_segment(board, [[frame(board.clock.now().utc_ns)]])
    return board, vault


def test_receipt_then_key(box):
    """The receipt is kept while the store can still be read, names the newest seal, and is signed; then nothing is read. (S2-094)"""
    board, vault = box
    newest = Store(board.disk).names()[-1]
    sealed = seal.digest(board.disk.read(f"segments/{newest}/seal"))
    kept: list[bytes] = []

    def keep(data: bytes) -> None:
        assert board.disk.exists(f"segments/{newest}/seal"), "the key comes last"
        kept.append(data)

    done = erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=keep)
    row = receipt.unpacked(kept[0])
    page = erased(done, board.clock.now(), public_key=board.identity.public_key(), kept="/root/erased")

    assert (newest, sealed, "erased", True) == (
        row.segment,
        row.seal_digest,
        row.cause,
        row.signed_by(board.identity.public_key()),
    )
    assert (3, True, row) == (done.segments, done.is_complete, done.receipt)
    assert (sealed.hex(), "3") == (page["newest_seal"], page["segments"])
    assert "locked" == status(vault)["vault"]
    with pytest.raises(DiskFailed):
        board.disk.read(f"segments/{newest}/seal")


def test_a_receipt_that_is_not_given_back_is_no_reason_to_keep_everything(box):
    """One bad place in the newest receipt: the store is erased all the same, and the receipt says that it could not be read. (S2-094)"""
    board, vault = box
    board.disk.write("receipts/0000000001-20261122T101500Z-000001", bytes(100))
    board.disk.spoil("receipts/0000000001-20261122T101500Z-000001")
    done = erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=lambda data: None)

    assert (3, receipt.UNREAD) == (done.segments, done.receipt.previous)


def test_not_without_being_asked_by_name(box):
    """Another box's name, a plain store: nothing is changed, and it is said what was expected."""
    board, vault = box
    for name in ("", "box-2", "yes"):
        with pytest.raises(VaultShut, match="box-1"):
            erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed=name, keep=_never)
    plain = SimulatedVault(SimulatedBoard().disk)
    with pytest.raises(VaultShut, match="it is plain"):
        erase(board.disk, plain, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=_never)

    assert 3 == len(Store(board.disk).names())


def test_a_pin_holds_against_erasing(box):
    """What somebody holds is not erased until it is unpinned, by name. (S2-094)"""
    board, vault = box
    name = Store(board.disk).names()[1]
    pin(board.disk, [name], reason="case 12", now_utc_ns=board.clock.now().utc_ns)
    with pytest.raises(VaultShut, match=name):
        erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=_never)
    unpin(board.disk, name)

    assert erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=len).is_complete


def test_a_receipt_that_cannot_be_kept_erases_nothing(box):
    """Without its receipt no erasure: the store is as it was."""
    board, vault = box

    def keep(data: bytes) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=keep)

    assert "open" == status(vault)["vault"]
    assert 3 == len(Store(board.disk).names())


def test_open_files_are_said(box):
    """Somebody still has files open: the key is gone all the same, and it is said what ends the rest."""
    board, vault = box
    vault.is_busy = True
    done = erase(board.disk, vault, identity=board.identity, now=board.clock.now(), confirmed="box-1", keep=len)

    assert not done.is_complete
    assert "restart" in erased(done, board.clock.now(), public_key=bytes(32), kept="x")["state"]
    with pytest.raises(VaultShut):
        vault.open()


def _never(data: bytes) -> None:
    raise AssertionError("expected nothing to be kept")


def test_a_receipt_outside_is_durable_with_its_name(tmp_path, monkeypatch):
    """The key goes when the receipt is kept: its bytes and its place in the directory, and never over another. (S2-094)"""
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode)) or real(descriptor)
    )
    keep_outside(tmp_path / "receipt", b"word")

    assert [stat.S_IFREG, stat.S_IFDIR] == synced
    assert b"word" == (tmp_path / "receipt").read_bytes()
    with pytest.raises(FileExistsError):
        keep_outside(tmp_path / "receipt", b"another")
