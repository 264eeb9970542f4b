"""The retrieval station: orders wait for their time, are searched in turn, and leave parts in release/."""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.durable import make_directory
from firmware.core.envelope import COMMAND_BYTES_MAX, Order, order_unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.release import Release, name_of, packed
from firmware.core.report import Report
from firmware.core.request import from_parameters
from firmware.core.spool import Item, Spool
from firmware.core.streams.unrelated import Unrelated
from firmware.core.timestamp import MS, SECOND
from firmware.retrieval.coverage import sentence
from firmware.retrieval.parts import Part
from firmware.retrieval.search import Plan, Search
from firmware.retrieval.settings import RetrievalSettings

ORDERS = "commands/verified/retrieval"
RELEASE = "release"
AGAIN_NS = 2 * SECOND  # After a full or failed disk, and while the parts made so far have not moved on.


@dataclass(slots=True)
class _Active:
    """An order taken, its search, and the parts found but not yet on the disk."""

    item: Item
    search: Search
    ready: deque[tuple[Part, bool]] = field(default_factory=deque)
    parts: int = 0


@dataclass(slots=True)
class _Waiting:
    """An order understood. is_awaited: it was here before the end it asks for. settled: when to begin, once that end has come."""

    plan: Plan
    is_awaited: bool = False
    settled: Monotonic | None = None


class RetrievalStation:
    """Carries out retrieval orders."""

    name = "retrieval"

    def __init__(self, board: Board, settings: RetrievalSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._orders = Spool(board.disk, ORDERS)
        self._release = Spool(board.disk, RELEASE)
        self._notices = Notices(board, self.name)
        self._unrelated = Unrelated(
            frozenset(settings.request_ports), frozenset(settings.request_ethertypes), frozenset(settings.message_ports)
        )
        self._plans: dict[str, _Waiting] = {}  # by the item's name
        self._active: deque[_Active] = deque()
        self._again = Monotonic(0)

    def start(self, now: Now) -> None:
        self._plans.clear()
        self._active.clear()
        self._orders.start()
        make_directory(self._board.disk, RELEASE)
        self._notices.start()

    def step(self, now: Now) -> Monotonic | None:
        if now.monotonic < self._again:
            return self._again  # Others in this process wake often; a part of 4 MiB is not tried each time.
        try:
            self._plan_new(now)
            due = self._activate(now)
            self.report.gauge("waiting", len(self._plans))
            self.report.gauge("active", len(self._active))
            if not self._active:
                return due
            return self._work(now)
        except DiskFull:
            self.report.drop("disk_full")
        except DiskFailed:
            self.report.drop("disk_failed")
        self._again = now.monotonic.after(AGAIN_NS)
        return self._again

    def directories(self) -> Sequence[str]:
        return (ORDERS,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        for active in self._active:
            self._orders.put_back(active.item)  # An orderly stop is no fault of the order's.
        self._active.clear()

    # Orders: understood, waiting, taken.

    def _plan_new(self, now: Now) -> None:
        taken = {active.item.name for active in self._active}
        names = [name for name in self._orders.names() if name not in taken]
        self._plans = {name: plan for name, plan in self._plans.items() if name in names}
        for name in names:
            if name not in self._plans:
                # Looked at without counting an attempt: an order may wait for its time through any number of restarts.
                data = self._orders.peek(name, size=COMMAND_BYTES_MAX + 1)
                if data is not None:
                    self._plan(name, data, now)

    def _plan(self, name: str, data: bytes, now: Now) -> None:
        order: Order | None = None
        try:
            order = order_unpacked(data)
            self._plans[name] = _Waiting(self._understood(order, now))
        except BadItem as problem:
            if order is not None:
                self._say_refused(now, order, f"order refused: {problem}", "bad_parameters")
                self._orders.settle_named(name)
                self.report.drop("bad_parameters")
                return
            self.report.drop("not_an_order")
            item = self._orders.take_named(name)  # Not even an order, though command let it pass: for a person to look at.
            if item is not None:
                self._orders.reject(item, str(problem))

    def _understood(self, order: Order, now: Now) -> Plan:
        request = from_parameters(order.parameters)
        query = request.query
        assert query.since_utc_ns is not None, "from_parameters sees to it"
        made_utc_ns = order.made_tai_ns - now.tai_offset_s * SECOND
        until_ns = query.until_utc_ns if query.until_utc_ns is not None else max(made_utc_ns, query.since_utc_ns)
        if until_ns - query.since_utc_ns > self._settings.span_s_max * SECOND:
            raise BadItem(f"expected an interval of at most {self._settings.span_s_max} s")
        if until_ns - now.utc_ns > self._settings.wait_s_max * SECOND:
            raise BadItem(f"expected an end at most {self._settings.wait_s_max} s from now")
        return Plan(order, request, query.since_utc_ns, until_ns)

    def _activate(self, now: Now) -> Monotonic | None:
        """Take the orders whose time has come, as many as may be worked on; returns when the next one's time comes."""
        next_due: Monotonic | None = None
        for name, waiting in sorted(self._plans.items(), key=lambda row: (row[1].plan.until_ns, row[0])):
            due = self._due(waiting, now)
            if due > now.monotonic:
                next_due = due if next_due is None else min(next_due, due)
            elif len(self._active) < self._settings.searches_max:
                del self._plans[name]
                self._take(name, waiting.plan, now)
        return next_due

    def _due(self, waiting: _Waiting, now: Now) -> Monotonic:
        """When to look at it again, or to begin: the end asked for by UTC, because that is how it was asked for, then the time the
        recorder's last stretch needs, by the monotonic clock: a clock set forward makes no recorder quicker (storm seed 1029).
        """
        ahead_ns, settle_ns = waiting.plan.until_ns - now.utc_ns, self._settings.settle_ms * MS
        if ahead_ns > 0:
            waiting.settled, waiting.is_awaited = None, True
            return now.monotonic.after(min(ahead_ns, 60 * SECOND))  # at least each minute, because clocks are set
        if waiting.settled is None:
            waiting.settled = now.monotonic.after(settle_ns if waiting.is_awaited else max(0, settle_ns + ahead_ns))
        return waiting.settled

    def _take(self, name: str, plan: Plan, now: Now) -> None:
        gone_bad = self._orders.quarantined_count
        item = self._orders.take_named(name)
        if item is not None:
            search = Search(
                plan, self._board.disk, interface=self._board.identity.name,
                evidence_bytes_max=self._settings.evidence_bytes_max, unrelated=self._unrelated,
            )  # fmt: skip
            self._active.append(_Active(item, search))
            self.report.count("orders_taken")
        elif self._orders.quarantined_count > gone_bad:
            self.report.drop("too_many_attempts")
            self._say_refused(now, plan.order, "order given up: this process ended at it again and again", "too_many_attempts")

    # Work: one piece of one order, then the next order's turn.

    def _work(self, now: Now) -> Monotonic:
        active = self._active[0]
        self._active.rotate(-1)
        if not active.ready and active.search.found is None:
            active.ready.extend(active.search.work())
        if active.ready:
            if self._parts_waiting() >= self._settings.parts_waiting_max:
                # What was found has to move on before more is read. Alone, wait; beside others, it is their turn.
                return now.monotonic.after(AGAIN_NS)
            self._publish(active, *active.ready[0], now)
            active.ready.popleft()
        if active.search.found is not None and not active.ready:
            self._finish(active, now)
        return now.monotonic

    def _publish(self, active: _Active, part: Part, is_last: bool, now: Now) -> None:
        plan = active.search.plan
        offset_ns = now.tai_offset_s * SECOND
        facts: dict[str, int | str] = {
            "part": part.number, "last": int(is_last), "frames": part.frames,
            "from_utc_ns": plan.from_ns, "until_utc_ns": plan.until_ns,
        }  # fmt: skip
        if is_last:
            found = active.search.found
            assert found is not None, "the last part comes with the sum"
            facts |= {"segments": found.segments, "frames_total": found.frames, "truncated": int(found.truncated)}
            facts |= {f"left_out_{rule}": count for rule, count in found.left_out.items()}
        if plan.request.less.mode != "none":
            facts["reduce"] = plan.request.less.mode
        release = Release(
            kind="evidence", priority=self._priority(plan),
            first_tai_ns=(plan.from_ns if part.first_utc_ns is None else part.first_utc_ns) + offset_ns,
            last_tai_ns=(plan.until_ns if part.last_utc_ns is None else part.last_utc_ns) + offset_ns,
            body=part.body, asked_by=plan.order.identity, facts=facts,
        )  # fmt: skip
        # Named by what was asked and what was found: done a second time, it replaces the first, unless something else was found.
        # Then it is an item of its own: the first may be on the wire under its name (storm seed 445). The hub takes one of the two.
        data = packed(release)
        digest = hashlib.sha256(data).hexdigest()[:8]
        name = name_of(release.priority, plan.from_ns + offset_ns, f"cmd-{plan.order.identity.hex()}-{part.number:05d}-{digest}")
        self._release.publish(name, data)
        active.parts += 1
        self.report.count("parts")
        self.report.count("frames", part.frames)

    def _finish(self, active: _Active, now: Now) -> None:
        plan, found = active.search.plan, active.search.found
        assert found is not None
        missing = sentence(found.holes)
        fields: dict[str, Field] = {
            "command": plan.order.identity.hex(), "result": "done", "frames": found.frames, "bytes": found.size,
            "parts": active.parts, "segments": found.segments, "truncated": found.truncated,
            "from_utc_ns": plan.from_ns, "until_utc_ns": plan.until_ns, "holes": len(found.holes), "not_held": missing,
        }  # fmt: skip
        text = f"{found.frames} frames in {active.parts} parts"
        left_out = sum(found.left_out.values())
        if plan.request.less.mode != "none":
            fields |= {"reduce": plan.request.less.mode, "left_out": left_out, "left_out_bytes": found.left_out_bytes}
            fields |= {f"left_out_{rule}": count for rule, count in found.left_out.items()}
            text += f", {left_out} left out ({plan.request.less.mode})"
        if found.truncated:
            text += f", cut off at {self._settings.evidence_bytes_max} bytes"
        if missing:
            text += f"; not held: {missing}"
        self._say(now, plan.order, "evidence-result", Severity.NOTICE, text, fields)
        self._orders.settle(active.item)
        self._active.remove(active)
        self.report.count("orders_done")

    def _priority(self, plan: Plan) -> Priority:
        return plan.request.priority or Priority(self._settings.priority)

    def _parts_waiting(self) -> int:
        return sum("-cmd-" in name for name in self._release.names())

    def _say_refused(self, now: Now, order: Order, text: str, cause: str) -> None:
        fields: dict[str, Field] = {"command": order.identity.hex(), "result": "refused", "cause": cause}
        self._say(now, order, "command-result", Severity.WARNING, text, fields)

    def _say(self, now: Now, order: Order, kind: str, severity: Severity, text: str, fields: Mapping[str, Field]) -> None:
        self._notices.say(now, kind, Priority.P3, severity, text, fields=fields, event=f"cmd-{order.identity.hex()}")
