"""Where the page may listen, and that it is TLS where others reach it."""

import hashlib
import http.client
import subprocess
import threading
from pathlib import Path

import pytest

from drivers.linux.board import LinuxBoard
from firmware.cli import main
from firmware.core.errors import BadSettings
from firmware.hub.fleet import Fleet, HubFailed
from firmware.hub.reach import check_certificate, check_page, is_loopback
from firmware.hub.settings import HubSettings
from firmware.hub.web import serve

from .keeper import Keeper

TOKEN = "a-long-random-one"
PEOPLE = (f"kim service {hashlib.sha256(TOKEN.encode()).hexdigest()}",)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """page.pem and page.key, by openssl, for 127.0.0.1; certified by itself."""
    place = tmp_path_factory.mktemp("page")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "page.key",
         "-out", "page.pem", "-days", "2", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    return place


@pytest.mark.parametrize(
    ("host", "is_so"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("LOCALHOST", True),
        ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("hub", False), ("localhost.example", False), ("127.0.0.1.example", False),
    ],
)  # fmt: skip
def test_loopback(host: str, is_so: bool) -> None:
    """What only this machine reaches. Every address at once is not."""
    assert is_so == is_loopback(host)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"page_host": "0.0.0.0"}, "page_host: expected a loopback address .* no page_certificate"),
        ({"page_host": "0.0.0.0", "people": PEOPLE}, "page_host: expected a loopback address .* no page_certificate"),
        ({"page_host": "0.0.0.0", "page_certificate": "a", "page_key": "b"}, "while people is empty"),
        ({"page_certificate": "a"}, "expected both or neither"),
        ({"page_key": "a"}, "expected both or neither"),
        ({"people": ("kim",)}, "people: entry 1"),
    ],
)
def test_refused_before_it_listens(changes: dict[str, object], expected: str) -> None:
    """Without TLS, or without people, nobody but this machine reaches it; what is missing is said. (S2-123)"""
    settings = HubSettings(**changes)  # type: ignore[arg-type]
    with pytest.raises(BadSettings, match=rf"\[hub\] .*{expected}|\[hub\] {expected}"):
        check_page(settings)


def test_a_certificate_that_cannot_be_used(certificate: Path, tmp_path: Path) -> None:
    """Missing, not one at all, or of another key: refused when the hub starts, with the settings' names."""
    (tmp_path / "noise.pem").write_bytes(b"noise")
    for pem, key in (("gone.pem", "page.key"), ("page.pem", "page.pem"), (str(tmp_path / "noise.pem"), "page.key")):
        settings = HubSettings(page_certificate=str(certificate / pem), page_key=str(certificate / key))
        with pytest.raises(BadSettings, match=r"\[hub\] page_certificate, page_key: expected a certificate and its key"):
            check_certificate(settings)
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", certificate / "page.key", "-out", locked],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(BadSettings, match="the key has a pass phrase"):  # OpenSSL alone asks whoever has the terminal, and waits.
        check_certificate(HubSettings(page_certificate=str(certificate / "page.pem"), page_key=str(locked)))
    check_certificate(HubSettings(page_certificate=str(certificate / "page.pem"), page_key=str(certificate / "page.key")))


def test_the_role_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`scrubjay run hub` says it once, and starts nothing."""
    assert 2 == main(["run", "hub", f"--root={tmp_path}", "--set=hub.page_host=0.0.0.0"])

    assert (
        "[hub] page_host: expected a loopback address (127.0.0.1) while there is no page_certificate" in capsys.readouterr().err
    )


def test_over_tls_where_others_reach_it(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every address: a browser and the command line that know who certified it are let in by name and token; who speaks plain
    HTTP, or does not know the certificate, gets nothing. (S2-123)"""
    settings = HubSettings(
        database=str(tmp_path / "hub.sqlite"), page_host="0.0.0.0", page_port=0, people=PEOPLE,
        page_certificate=str(certificate / "page.pem"), page_key=str(certificate / "page.key"),
    )  # fmt: skip
    board = LinuxBoard(tmp_path / "store", tmp_path / "identity")
    keeper = board.supervisor = Keeper()
    thread = threading.Thread(target=serve, args=(board, settings))
    thread.start()
    try:
        assert keeper.started.wait(20), "the page did not start"
        assert keeper.status.startswith("page https://0.0.0.0:")
        port = int(keeper.status.rpartition(":")[2].strip("/"))
        address = f"https://kim:{TOKEN}@127.0.0.1:{port}"
        with pytest.raises(HubFailed):
            Fleet(address).boxes()  # who certified it is not known here
        with pytest.raises((http.client.HTTPException, OSError)):
            plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            plain.request("GET", "/api/boxes")
            plain.getresponse()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "page.pem"))
        assert ([], "") == Fleet(address).boxes()
        with pytest.raises(HubFailed, match="401"):
            Fleet(f"https://127.0.0.1:{port}").boxes()
    finally:
        keeper.stop = True
        thread.join(20)
