"""What people see of versions and roll-outs, and do about them: the page's side of rollouts.py.

GET  /api/updates                    editions, the latest roll-outs, and which version each box says it runs
GET  /api/updates/history  ?box=     every switch of every process of every box, with its cause; the latest first
PUT  /api/updates/files/<SHA-256>    a file that an edition is made of; the body is its bytes
POST /api/updates/editions           {"edition": base64}
POST /api/rollouts                   {"version", "board", "boxes" or "channel", "by", and of phases, soak_s, limit_s, success_percent, errors_percent}
GET  /api/rollouts                   the latest, without their boxes
GET  /api/rollouts/<number>          how far it has come, box by box
POST /api/rollouts/<number>          {"to": "halted", "running" or "back", "by"}
"""

import json
from collections.abc import Mapping, Sequence

from drivers.board import Board
from firmware.core.durable import make_directory, replace
from firmware.core.edition import Edition
from firmware.core.envelope import is_name
from firmware.core.errors import BadItem, BadSettings
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND, iso
from firmware.hub import editions
from firmware.hub.affairs import POLICY
from firmware.hub.calls import BY_MAX
from firmware.hub.repository import Repository
from firmware.hub.rollout import FAILED, OFFICIAL, STATES, Plan, shares_of
from firmware.hub.rollouts import (
    BACK,
    CONFIRMED,
    DONE,
    HALTED,
    RUNNING,
    order_back,
    plan_of,
    plan_stored,
    say,
    set_state,
    withdraw,
)
from firmware.hub.settings import HubSettings

KNOCK = "rollouts"  # a name in policy/, where the hub's process listens
SHOWN_MAX = 50
HISTORY_MAX = 500
BOXES_MAX = 100_000
Plain = dict[str, object]


def start(board: Board, repository: Repository, settings: HubSettings, wish: Mapping[str, object], *, by: str) -> Plain:
    """Begin one. Raises BadItem, RepositoryFailed, DiskFull, DiskFailed."""
    now = board.clock.now()
    stamp = now.timestamp.tai_ns
    plan, who = _plan(settings, wish), _who(by)
    with repository.transaction():
        identity, edition = _edition(repository, wish)
        if edition.until_tai_ns <= stamp:
            raise BadItem("expected an edition that has not expired")
        boxes = _boxes(repository, edition, wish)
        _refuse_overlap(repository, boxes)
        repository.change(
            "insert into rollouts (edition, plan, state, phase, by, started_tai_ns, changed_tai_ns) values (?, ?, ?, 0, ?, ?, ?)",
            identity, plan_stored(plan), RUNNING, who, stamp, stamp,
        )  # fmt: skip
        number = int(repository.rows("select max(number) as number from rollouts")[0]["number"])
        runs = (
            f"select box from systems where version = ? and state = '{CONFIRMED}'"
            if edition.kind == "system"
            else "select box from versions where official = ?"
        )
        here = {row["box"] for row in repository.rows(runs, edition.version)}
        for place, box in enumerate(boxes):
            # Who runs it already has only to show that it is well.
            state = OFFICIAL if box in here else STATES[0]
            repository.change(
                "insert into members (rollout, place, box, state, since_tai_ns) values (?, ?, ?, ?, ?)", number, place, box, state, stamp
            )  # fmt: skip
        text = f"roll-out {number} of version {edition.version} to {len(boxes)} boxes was begun by {who}"
        say(board, repository, text, number, now, priority=Priority.P3)
    _knock(board, number)
    return shown(repository, number, tai_offset_s=now.tai_offset_s) or {}


def change(
    board: Board, repository: Repository, settings: HubSettings, number: int, wish: Mapping[str, object], *, by: str
) -> Plain | None:
    """Halt it, let it go on, or take it back; None where there is no such roll-out. Raises as above.

    Going on, those that failed are left out of the count: somebody has looked at them. Back is ordered to every box that runs the version,
    at once: whoever takes it back does not want it in phases.
    """
    now = board.clock.now()
    to, who = wish.get("to"), _who(by)
    with repository.transaction():
        rows = repository.rows("select * from rollouts where number = ?", number)
        if not rows:
            return None
        state, stamp = rows[0]["state"], now.timestamp.tai_ns
        allowed = {HALTED: (RUNNING,), RUNNING: (HALTED,), BACK: (RUNNING, HALTED, DONE)}.get(str(to))
        if allowed is None:
            raise BadItem(f"expected to as {HALTED}, {RUNNING} or {BACK}")
        if state not in allowed:
            raise BadItem(f"expected a roll-out that is {' or '.join(allowed)}, this one is {state}")
        word = {HALTED: "halted", RUNNING: "continued", BACK: "taken back"}[str(to)]
        set_state(repository, number, str(to), f"{word} by {who}", stamp)
        if to == RUNNING:
            repository.change("update members set left_out = 1 where rollout = ? and state = ?", number, FAILED)
        else:
            withdraw(repository, number, stamp)
        if to == BACK:
            order_back(board, repository, settings, number, now)
        found = editions.by_identity(repository, rows[0]["edition"])
        assert found is not None, "an edition is never removed"
        text = f"roll-out {number} of version {found[0].version} was {word} by {who}"
        say(board, repository, text, number, now, priority=Priority.P3)
    _knock(board, number)
    return shown(repository, number, tai_offset_s=now.tai_offset_s)


def overview(repository: Repository, *, tai_offset_s: int) -> Plain:
    """Editions, the latest roll-outs, and what each box says it runs."""
    boxes = [
        {
            "box": row["box"], "official": row["official"], "number": row["number"], "previous": row["previous"] or None,
            "phase": row["phase"], "board": row["board"], "channels": row["channels"].split(",") if row["channels"] else [],
            "said": iso(row["said_tai_ns"] - tai_offset_s * SECOND),
            "system": None if row["system"] is None else {
                "version": row["system"], "state": row["state"], "slot": row["slot"], "other": row["other"],
            },
        }
        for row in repository.rows(
            "select v.*, s.version as system, s.state, s.slot, s.other from versions v left join systems s using (box) order by box limit ?",
            BOXES_MAX,
        )
    ]  # fmt: skip
    return {
        "editions": editions.listed(repository, tai_offset_s=tai_offset_s),
        "rollouts": newest(repository, tai_offset_s=tai_offset_s),
        "boxes": boxes,
    }


def newest(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """The latest roll-outs, the latest first; counts, and no names of boxes but in a cause."""
    numbers = repository.rows("select number from rollouts order by number desc limit ?", SHOWN_MAX)
    return [_summary(repository, int(row["number"]), tai_offset_s) for row in numbers]


def shown(repository: Repository, number: int, *, tai_offset_s: int) -> Plain | None:
    """One roll-out, box by box; None where there is none of this number."""
    if not repository.rows("select 1 from rollouts where number = ?", number):
        return None
    members = [
        {
            "box": row["box"], "state": "left out" if row["left_out"] else row["state"], "cause": row["cause"],
            "since": iso(row["since_tai_ns"] - tai_offset_s * SECOND) if row["since_tai_ns"] else None,
        }
        for row in repository.rows("select * from members where rollout = ? order by place limit ?", number, BOXES_MAX)
    ]  # fmt: skip
    return _summary(repository, number, tai_offset_s) | {"boxes": members}


def history(repository: Repository, *, box: str | None, tai_offset_s: int) -> list[Plain]:
    """What boxes and the hub said of versions, the latest first. from, to: of a process; none where it is about the whole box."""
    rows = repository.rows(
        "select box, kind, origin_tai_ns, text, fields from messages where kind in ('update', 'rollout') and (?1 is null or box = ?1)"
        " order by origin_tai_ns desc, number desc limit ?2",
        box, HISTORY_MAX,
    )  # fmt: skip
    found: list[Plain] = []
    for row in rows:
        fields = json.loads(row["fields"] or "{}")
        found.append(
            {
                "at": iso(row["origin_tai_ns"] - tai_offset_s * SECOND), "box": row["box"], "text": row["text"],
                "process": fields.get("process"), "from": fields.get("from"), "to": fields.get("to"), "cause": fields.get("cause"),
            }
        )  # fmt: skip
    return found


def _summary(repository: Repository, number: int, tai_offset_s: int) -> Plain:
    (row,) = repository.rows("select r.*, e.version, e.channel from rollouts r join editions e on e.identity = r.edition where r.number = ?", number)  # fmt: skip
    counts = repository.rows(
        "select state, count(*) as boxes from members where rollout = ? and not left_out group by state", number
    )
    by_state = {str(count["state"]): int(count["boxes"]) for count in counts}
    sizes = plan_of(row["plan"]).sizes(sum(by_state.values()))
    return {
        "number": row["number"], "version": row["version"], "channel": row["channel"], "state": row["state"], "cause": row["cause"],
        "by": row["by"], "phase": min(row["phase"], len(sizes) - 1) + 1, "phases": sizes, "counts": by_state,
        "started": iso(row["started_tai_ns"] - tai_offset_s * SECOND), "changed": iso(row["changed_tai_ns"] - tai_offset_s * SECOND),
    }  # fmt: skip


def _plan(settings: HubSettings, wish: Mapping[str, object]) -> Plan:
    """What is asked for, and for the rest what the settings say."""
    phases = wish.get("phases", settings.rollout_phases)
    if not isinstance(phases, Sequence) or isinstance(phases, str) or not all(isinstance(word, str) for word in phases):
        raise BadItem('expected phases as a list of "3", "10%" or "all"')
    try:
        shares = shares_of(phases)
    except BadSettings as problem:
        raise BadItem(str(problem)) from None
    numbers = []
    for name, usual, low, high in (
        ("soak_s", settings.rollout_soak_s, 0, 2_592_000), ("limit_s", settings.rollout_limit_s, 10, 31_536_000),
        ("success_percent", settings.rollout_success_percent, 1, 100), ("errors_percent", settings.rollout_errors_percent, 0, 100),
    ):  # fmt: skip
        value = wish.get(name, usual)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadItem(f"expected {name} from {low} to {high}")
        numbers.append(value)
    return Plan(shares, *numbers)


def _edition(repository: Repository, wish: Mapping[str, object]) -> tuple[bytes, Edition]:
    """By version; by board and channel, too, where there are several of it."""
    found = []
    for row in editions.of_version(repository, str(wish.get("version", ""))):
        known = editions.by_identity(repository, row["identity"])
        assert known is not None, "just read"
        if all(wish.get(name) in (None, getattr(known[0], name)) for name in ("board", "channel")):
            found.append((row["identity"], known[0]))
    if not found:
        raise BadItem("expected the version of a published edition (and its board and channel, where they are said)")
    if len({(edition.board, edition.channel) for _, edition in found}) > 1:
        rows = ", ".join(sorted(f"{edition.board} {edition.channel}" for _, edition in found))
        raise BadItem(f"expected board or channel as well, there are: {rows}")
    return found[0]  # The latest.


def _boxes(repository: Repository, edition: Edition, wish: Mapping[str, object]) -> list[str]:
    """In the order in which they have their turn: as named, or as the digest of version and name falls, so that not always the same begins."""
    known = {row["box"]: row for row in repository.rows("select * from versions")}
    named = wish.get("boxes")
    if named is not None:
        if not isinstance(named, list) or not 0 < len(named) <= BOXES_MAX or not all(isinstance(box, str) for box in named):
            raise BadItem("expected boxes as a list of names")
        boxes = list(dict.fromkeys(named))
        for box in boxes:
            if not is_name(box) or box not in known:
                raise BadItem("expected boxes that have said which version they run")
            if known[box]["board"] != edition.board:
                raise BadItem(f"expected boxes for {edition.board}, {box} is {known[box]['board']}")
        return boxes
    fitting = [
        box for box, row in known.items() if edition.channel in row["channels"].split(",") and row["board"] == edition.board
    ]
    if not fitting:
        raise BadItem(f"expected boxes of the channel {edition.channel} for {edition.board}, none has said so")
    return sorted(fitting, key=lambda box: editions.identity_of(f"{edition.version} {box}".encode()))


def _refuse_overlap(repository: Repository, boxes: Sequence[str]) -> None:
    """Two at once would each make the other's boxes look wrong. A halted one counts, too: it may go on."""
    busy = repository.rows(
        "select m.box, m.rollout from members m join rollouts r on r.number = m.rollout where r.state in (?, ?)", RUNNING, HALTED
    )
    taken = {row["box"]: row["rollout"] for row in busy}
    for box in boxes:
        if box in taken:
            raise BadItem(
                f"expected boxes that are in no other roll-out, {box} is in {taken[box]}; take that one back, or let it end"
            )


def _who(by: str) -> str:
    if not 0 < len(by) <= BY_MAX or not by.isprintable():
        raise BadItem("expected by: the name of who wants it")
    return by


def _knock(board: Board, number: int) -> None:
    make_directory(board.disk, POLICY)
    replace(board.disk, POLICY, KNOCK, str(number).encode())
