"""Sessions, service calls, advice and rules on the page's interface, and who may do what; asked over HTTP of the real server."""

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.linux.board import LinuxBoard
from firmware.cli import main
from firmware.core.envelope import command_unpacked, order_unpacked
from firmware.core.errors import BadSettings
from firmware.core.topics import Topic
from firmware.hub import calls
from firmware.hub.people import People, Role
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.web import serve

from .keeper import Keeper

TAI = 1_795_342_537_000_000_000
PEOPLE = tuple(
    f"{name} {role} {hashlib.sha256(f'{name}-token'.encode()).hexdigest()}"
    for name, role in (("ada", "surgeon"), ("kim", "service"), ("root", "administrator"))
)


class Page:
    """A serving page with one box, and somebody who asks."""

    def __init__(self, directory: Path, people: tuple[str, ...] = ()) -> None:
        self.board = LinuxBoard(directory / "store", directory / "identity")
        self.keeper = self.board.supervisor = Keeper()
        settings = HubSettings(database=str(directory / "hub.sqlite"), page_port=0, people=people)
        self.repository = Repository(settings.database)
        with self.repository.transaction():
            self.repository.box_seen(Topic("site-1", "box-1", "state"), TAI)
            calls.open_call(self.repository, "wears", "box-1 arm-2", "box-1", "Fails often.", TAI)
        self.thread = threading.Thread(target=serve, args=(self.board, settings))
        self.thread.start()
        assert self.keeper.started.wait(10), "the page did not start"
        self.address = "127.0.0.1:" + self.keeper.status.rpartition(":")[2].strip("/")

    def ask(self, path: str, body: object = None, *, who: str = "", token: str | None = None) -> tuple[int, dict[str, object]]:
        """Status and answer; POST with a body."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        headers = {"Content-Type": "application/json"}
        if who:
            secret = f"{who}:{who + '-token' if token is None else token}"
            headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
        try:
            connection.request(
                "GET" if body is None else "POST", path, body=None if body is None else json.dumps(body), headers=headers
            )
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert isinstance(found, dict)
            return answer.status, found
        finally:
            connection.close()

    def orders(self) -> list[tuple[str, dict[str, int | str | None]]]:
        names = [name for name in self.board.disk.list("commands/outgoing") if not name.startswith(".")]
        found = [order_unpacked(command_unpacked(self.board.disk.read(f"commands/outgoing/{name}")).order) for name in names]
        return [(order.deed, dict(order.parameters)) for order in found]

    def end(self) -> None:
        self.keeper.stop = True
        self.board.disk.write("news/.latest", b"")
        self.board.disk.rename("news/.latest", "news/latest")
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.repository.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path)
    yield page
    page.end()


def test_orders_for_sessions_and_advice(page: Page) -> None:
    """What is asked becomes a signed order to that box; what makes no sense is refused, and no advice is a command. (S2-124, S2-130)"""
    assert 202 == page.ask("/api/sessions", {"box": "box-1", "do": "start", "kind": "exercise"})[0]
    advice = {"box": "box-1", "advice": "check-arm", "device": "arm-2", "reason": "it drifts", "expires_s": 60}
    assert 202 == page.ask("/api/feedback", advice)[0]
    assert [
        ("session", {"do": "start", "kind": "exercise"}), ("feedback", {"advice": "check-arm", "device": "arm-2", "reason": "it drifts"}),
    ] == page.orders()  # fmt: skip
    ((row,),) = [page.ask("/api/feedback")[1]["feedback"]]  # type: ignore[misc]
    assert ("waiting", "check-arm", "it drifts") == (row["state"], row["advice"], row["reason"])

    for path, wrong in (
        ("/api/sessions", {"box": "box-9", "do": "close"}), ("/api/sessions", {"box": "box-1", "do": "start", "kind": "party"}),
        ("/api/sessions", {"box": "box-1", "do": 3}), ("/api/feedback", {**advice, "advice": "stop"}),
        ("/api/feedback", {**advice, "reason": "a\nb"}), ("/api/feedback", {**advice, "expires_s": 5}), ("/api/sessions", [1]),
    ):  # fmt: skip
        status, answer = page.ask(path, wrong)
        assert (400, True) == (status, str(answer["error"]).startswith("expected")), (wrong, answer)
    assert 413 == page.ask("/api/sessions", {"box": "x" * 10_000})[0]
    assert 2 == len(page.orders())


def test_calls_are_handled(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    """Listed, acknowledged with a name and a note, closed; on the page's interface and by `scrubjay fleet`. (S2-123, S2-124)"""

    def fleet(*words: str) -> tuple[int, str]:
        status = main(["fleet", *words, f"--hub=http://{page.address}"])
        return status, "".join(capsys.readouterr())

    assert "1  open" in fleet("calls")[1]
    assert "acknowledged" in fleet("call", "1", "acknowledge", "--by=Kim", "--note=on my way")[1]
    ((row,),) = [page.ask("/api/calls")[1]["calls"]]  # type: ignore[misc]
    assert ("Kim", "on my way") == (row["by"], row["note"])
    assert (200, 404, 400) == tuple(
        page.ask(f"/api/calls/{number}", {"to": to, "by": "Kim"})[0]
        for number, to in ((1, "closed"), (7, "closed"), (1, "closed"))
    )
    assert (0, "no service call is open\n") == fleet("calls")
    assert "closed" in fleet("calls", "--all")[1]
    assert 2 == fleet("call", "1", "close", "--by=Kim")[0]


def test_the_operators_side(page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`scrubjay fleet session`, `advise` and `rules` do what the page does, and say what was expected. (S2-123, S2-130)"""

    def fleet(*words: str) -> tuple[int, str]:
        status = main(["fleet", *words, f"--hub=http://{page.address}"])
        return status, "".join(capsys.readouterr())

    assert 0 == fleet("session", "start", "procedure", "--box=box-1")[0]
    assert (2, True) == (
        fleet("session", "start", "--box=box-1")[0],
        "expected start with" in fleet("session", "start", "--box=box-1")[1],
    )
    assert 0 == fleet("advise", "--box=box-1", "--advice=consider-stopping")[0]
    assert "consider whether to go on" in fleet("advise")[1]
    assert "the hub has heard of no session" in fleet("sessions")[1]
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "mine"\nwhen = "event=x"\n')
    assert 'name = "patient-injury"' in fleet("rules")[1]
    assert 'name = "mine"' in fleet("rules", str(rules))[1]
    rules.write_text("[[rule]]\n")
    assert (2, True) == (fleet("rules", str(rules))[0], 'name = "mine"' in fleet("rules")[1])


def test_each_role_may_do_its_own(tmp_path: Path) -> None:
    """Where a site has set people: nobody else sees anything; surgeons look and say when a session begins, service staff handle calls
    and advise, administrators set the policy as well. (S2-123)"""
    page = Page(tmp_path, PEOPLE)
    try:
        deeds = {
            "look": ("/api/calls", None),
            "session": ("/api/sessions", {"box": "box-1", "do": "close"}),
            "advise": ("/api/feedback", {"box": "box-1", "advice": "check-arm"}),
            "call": ("/api/calls/1", {"to": "acknowledged", "by": "Sam"}),
            "rules": ("/api/rules", {"text": ""}),
        }
        may = {
            who: [name for name, (path, body) in deeds.items() if page.ask(path, body, who=who)[0] not in (401, 403)]
            for who in ("ada", "kim", "root")
        }
        assert {"ada": ["look", "session"], "kim": ["look", "session", "advise", "call"], "root": list(deeds)} == may
        assert {401} == {
            page.ask(path, body, who=who, token=token)[0]
            for path, body in deeds.values()
            for who, token in (("", None), ("ada", "x"), ("eve", "eve-token"))
        }
        assert 403 == page.ask("/api/rules", {"text": ""}, who="kim")[0]
        ((call,),) = [page.ask("/api/calls", who="ada")[1]["calls"]]  # type: ignore[misc]
        assert "kim" == call["by"]  # in the name of who asked, not in the one that was written
    finally:
        page.end()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !",
        "Bearer eA==",
        f"Basic {'A' * 5000}",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"kim").decode(),
    ],
)
def test_who_asks(header: str) -> None:
    """Whatever stands in the header: nobody, or somebody known with the right token."""
    people = People.of(PEOPLE)
    good = "Basic " + base64.b64encode(b"kim:kim-token").decode()

    assert people.who(header) is None
    assert ("kim", Role.SERVICE) == people.who(good)


@pytest.mark.parametrize("entry", ["kim", "kim nurse " + "0" * 64, "kim service abc", "kim service " + "0" * 63 + "g"])
def test_people_that_are_none(entry: str) -> None:
    """The entry is named by its number; what stands in it is not repeated."""
    with pytest.raises(BadSettings, match="entry 1") as refused:
        People.of((entry,))
    assert "0000" not in str(refused.value)
