"""The retrieval station: orders wait for their time, are searched in turn, and leave parts in release/."""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory
from firmware.core.envelope import COMMAND_BYTES_MAX, Order, order_unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.release import Release, name_of, packed
from firmware.core.report import Report
from firmware.core.request import cancelled_by, from_parameters
from firmware.core.spool import Item, Spool
from firmware.core.streams.unrelated import Unrelated
from firmware.core.timestamp import MS, SECOND
from firmware.core.wording import Interpreter
from firmware.retrieval.coverage import sentence
from firmware.retrieval.journal import Journal, Progress
from firmware.retrieval.parts import Part
from firmware.retrieval.search import Plan, Search
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.sums import Sums

ORDERS = "commands/verified/retrieval"
RELEASE = "release"
AGAIN_NS = 2 * SECOND  # After a full or failed disk, and while the parts made so far have not moved on.
_LEAST_BYTES = 1 << 16  # Below it an answer is no evidence.
NOT_HELD_MAX = 900  # characters in a fact, which may have 1,024


@dataclass(slots=True)
class _Active:
    """An order taken, its search, and the parts found but not yet on the disk.

    known: how far it had come before this start. done: how far it has come now.
    """

    item: Item
    search: Search
    known: Progress
    done: Progress = field(default_factory=Progress)
    ready: deque[tuple[Part, bool]] = field(default_factory=deque)


@dataclass(slots=True)
class _Waiting:
    """An order understood. is_awaited: it was here before the end it asks for. settled: when to begin, once that end has come."""

    plan: Plan
    is_awaited: bool = False
    settled: Monotonic | None = None


class RetrievalStation:
    """Carries out retrieval orders."""

    name = "retrieval"

    def __init__(self, board: Board, settings: RetrievalSettings, *, interpreter: Interpreter | None = None) -> None:
        """interpreter: understands what is asked in people's words; without it only addresses and kinds of record are."""
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._orders = Spool(board.disk, ORDERS)
        self._release = Spool(board.disk, RELEASE)
        self._notices = Notices(board, self.name)
        self._unrelated = Unrelated(
            frozenset(settings.request_ports), frozenset(settings.request_ethertypes), frozenset(settings.message_ports)
        )
        self._interpreter = interpreter or Interpreter(unrelated=self._unrelated)
        self._journal = Journal(board.disk)
        self._sums = Sums(board.disk, self.report)
        self._plans: dict[str, _Waiting] = {}  # by the item's name
        self._active: deque[_Active] = deque()
        self._pause = DiskPause(self.report.drop, pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        self._plans.clear()
        self._active.clear()
        self._orders.start(self.report.drop)
        make_directory(self._board.disk, RELEASE)
        self._notices.start()
        self._journal.start(self._identities())
        self._sums.start()

    def step(self, now: Now) -> Monotonic | None:
        return self._pause.step(now, self._go_on)

    def directories(self) -> Sequence[str]:
        return (ORDERS,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        for active in self._active:
            self._orders.put_back(active.item)  # An orderly stop is no fault of the order's.
        self._active.clear()

    def _go_on(self, now: Now) -> Monotonic | None:
        self._plan_new(now)
        due = self._activate(now)
        self.report.gauge("waiting", len(self._plans))
        self.report.gauge("active", len(self._active))
        if self._active:
            return self._work(now)
        # While nobody asks, what is new is summed up, so that who asks then is answered sooner.
        sums = self._sums.work(now)
        return sums if due is None else min(due, sums)

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
            ended = cancelled_by(order.parameters)
            if ended is not None:
                self._cancel(name, order, ended, now)
                return
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
        since_ns = query.since_utc_ns
        assert since_ns is not None, "from_parameters sees to it"
        made_utc_ns = order.made_tai_ns - now.tai_offset_s * SECOND
        until_ns = query.until_utc_ns if query.until_utc_ns is not None else max(made_utc_ns, since_ns)
        if until_ns - since_ns > self._settings.span_s_max * SECOND:
            raise BadItem(f"expected an interval of at most {self._settings.span_s_max} s")
        if until_ns - now.utc_ns > self._settings.wait_s_max * SECOND:
            raise BadItem(f"expected an end at most {self._settings.wait_s_max} s from now")
        # An order may be days on its way: what it says of its end holds for the frames, too, and not for the span allowed alone.
        query, sift = self._interpreter.understood(replace(query, until_utc_ns=until_ns), request.wording)
        return Plan(order, request, since_ns, until_ns, query, sift)

    def _activate(self, now: Now) -> Monotonic | None:
        """Take the orders whose time has come, as many as may be worked on; returns when the next one's time comes."""
        next_due: Monotonic | None = None
        for name, waiting in sorted(
            self._plans.items(), key=lambda row: (self._priority(row[1].plan), row[1].plan.until_ns, row[0])
        ):
            due = self._due(waiting, now)
            if due > now.monotonic:
                next_due = due if next_due is None else min(next_due, due)
            elif len(self._active) < self._settings.searches_max + (self._priority(waiting.plan) is Priority.P1):
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
        known = self._journal.progress(plan.order.identity)
        today = self._journal.today(now.utc_ns)
        left = self._settings.evidence_bytes_per_day_max - today.bytes
        if not known.parts and not known.cancelled and (today.orders >= self._settings.orders_per_day_max or left < _LEAST_BYTES):
            self._say_refused(now, plan.order, "order refused: this day's evidence is used up, ask again tomorrow", "day_limit")
            self._orders.settle_named(name)
            self.report.drop("day_limit")
            return
        if self._orders.is_spent(name):
            # Said first: a disk that fills, or a kill, between the two would leave the hub waiting for ever (storm seed 6).
            self._say_refused(now, plan.order, "order given up: this process ended at it again and again", "too_many_attempts")
            self.report.drop("too_many_attempts")
        item = self._orders.take_named(name)
        if item is not None:
            try:
                if not known.parts:
                    self._journal.add(now.utc_ns, orders=1)
            except (DiskFull, DiskFailed):
                self._orders.put_back(item)  # The disk's fault, not the order's: no process ended at it (storm seeds 12, 24).
                raise
            active = _Active(item, self._search(plan, known.bytes_max or self._bytes_left(now)), known)
            if known.cancelled:
                active.search = self._search(plan, _LEAST_BYTES, first_part=known.parts)
                active.done = known
                active.ready.extend(active.search.cancel())
            self._active.append(active)
            self.report.count("orders_taken")

    def _search(self, plan: Plan, bytes_max: int, *, first_part: int = 0) -> Search:
        return Search(
            plan, self._board.disk, interface=self._board.identity.name, evidence_bytes_max=bytes_max,
            unrelated=self._unrelated, first_part=first_part,
        )  # fmt: skip

    def _bytes_left(self, now: Now) -> int:
        """What an answer that begins now may come to."""
        left = self._settings.evidence_bytes_per_day_max - self._journal.today(now.utc_ns).bytes
        return min(self._settings.evidence_bytes_max, max(left, _LEAST_BYTES))

    def _cancel(self, name: str, order: Order, ended: bytes, now: Now) -> None:
        """End another order: what it has found and not sent is its last part. Durable before this order is settled."""
        active = next((row for row in self._active if row.search.plan.order.identity == ended), None)
        waiting = next((entry for entry, row in self._plans.items() if row.plan.order.identity == ended), None)
        if active is None and waiting is None:
            self._say_refused(
                now, order, "order refused: expected to end an order that is not over, there is none", "no_such_order"
            )
            self._orders.settle_named(name)
            self.report.drop("no_such_order")
            return
        known = active.done if active is not None and active.done.parts >= active.known.parts else self._journal.progress(ended)
        self._journal.put(ended, replace(known, cancelled=True))
        if active is not None and active.search.found is None:
            active.ready.extend(active.search.cancel())
        elif waiting is not None:
            self._take(waiting, self._plans.pop(waiting).plan, now)
        self._say(
            now, order, "command-result", Severity.NOTICE, "order ended on request",
            {"command": order.identity.hex(), "result": "done", "cancelled": ended.hex()},
        )  # fmt: skip
        self._orders.settle_named(name)
        self.report.count("orders_cancelled")

    def _identities(self) -> list[bytes]:
        """Of the orders that are not settled, by their names."""
        found = []
        for name in self._orders.names():
            try:
                found.append(bytes.fromhex(name.removeprefix("cmd-")))
            except ValueError:
                continue
        return found

    # Work: one piece of one order, the most urgent first, equals in turn.

    def _work(self, now: Now) -> Monotonic:
        blocked = False
        for active in sorted(self._active, key=lambda row: self._priority(row.search.plan)):
            if not active.ready and active.search.found is None:
                try:
                    active.ready.extend(active.search.work())
                except DiskFailed:
                    self._begin_anew(active)
                    raise
            elif active.ready and self._withheld(active, now):
                pass
            elif active.ready and self._parts_waiting(self._priority(active.search.plan)) >= self._settings.parts_waiting_max:
                blocked = True  # What was found has to move on before more is read; meanwhile it is the others' turn.
                continue
            elif active.ready:
                self._publish(active, *active.ready[0], now)
                active.ready.popleft()
            if active.search.found is not None and not active.ready:
                self._finish(active, now)
            else:
                self._active.remove(active)
                self._active.append(active)
            return now.monotonic
        assert blocked, "there are searches, and none had anything to do"
        return now.monotonic.after(AGAIN_NS)

    def _begin_anew(self, active: _Active) -> None:
        """As after a restart: what was published before is not sent again."""
        if active.done.parts >= active.known.parts:
            active.known = active.done
        active.done = Progress()
        active.search = self._search(active.search.plan, active.search.bytes_max)

    def _withheld(self, active: _Active, now: Now) -> bool:
        """Whether the next part was published before this process began; then it is not sent again."""
        part, is_last = active.ready[0]
        if active.known.cancelled or active.done.parts >= active.known.parts:
            return False
        active.ready.popleft()
        active.done = active.done.after(part.body)
        self.report.count("parts_sent_before")
        is_over = active.done.parts == active.known.parts
        if (is_over and active.done.chain != active.known.chain) or (is_last and not is_over):
            # A segment has come or gone since; what was sent was another answer.
            active.search = self._search(active.search.plan, self._bytes_left(now))
            active.known = active.done = Progress()
            active.ready.clear()
        return True

    def _publish(self, active: _Active, part: Part, is_last: bool, now: Now) -> None:
        plan = active.search.plan
        offset_ns = now.tai_offset_s * SECOND
        facts: dict[str, int | str] = {
            "part": part.number, "last": int(is_last), "frames": part.frames,
            "from_utc_ns": plan.from_ns, "until_utc_ns": plan.until_ns, "searched_percent": active.search.percent,
        }  # fmt: skip
        if is_last:
            found = active.search.found
            assert found is not None, "the last part comes with the sum"
            facts |= {"segments": found.segments, "frames_total": found.frames, "truncated": int(found.truncated)}
            facts |= {"holes": len(found.holes), "damaged": found.damaged, "cancelled": int(found.cancelled)}
            if found.holes:
                facts["not_held"] = sentence(found.holes)[:NOT_HELD_MAX]
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
        # After it: a part is sent twice rather than not at all.
        done = active.done.after(part.body)
        self._journal.put(
            plan.order.identity,
            replace(done, cancelled=active.known.cancelled or _is_cancelled(active), bytes_max=active.search.bytes_max),
        )
        self._journal.add(now.utc_ns, size=len(part.body))
        active.done = done
        self.report.count("parts")
        self.report.count("frames", part.frames)

    def _finish(self, active: _Active, now: Now) -> None:
        plan, found = active.search.plan, active.search.found
        assert found is not None
        missing = sentence(found.holes)
        fields: dict[str, Field] = {
            "command": plan.order.identity.hex(), "result": "cancelled" if found.cancelled else "done", "frames": found.frames, "bytes": found.size,
            "parts": active.done.parts, "segments": found.segments, "truncated": found.truncated,
            "from_utc_ns": plan.from_ns, "until_utc_ns": plan.until_ns, "holes": len(found.holes), "damaged": found.damaged, "not_held": missing,
        }  # fmt: skip
        text = f"{found.frames} frames in {active.done.parts} parts" + (", cancelled" if found.cancelled else "")
        left_out = sum(found.left_out.values())
        if plan.request.less.mode != "none":
            fields |= {"reduce": plan.request.less.mode, "left_out": left_out, "left_out_bytes": found.left_out_bytes}
            fields |= {f"left_out_{rule}": count for rule, count in found.left_out.items()}
            text += f", {left_out} left out ({plan.request.less.mode})"
        if found.truncated:
            text += f", cut off at {found.size} bytes"
        if missing:
            text += f"; not held: {missing}"
        self._say(now, plan.order, "evidence-result", Severity.NOTICE, text, fields)
        self._orders.settle(active.item)
        self._journal.forget(plan.order.identity)
        self._active.remove(active)
        self.report.count("orders_done")

    def _priority(self, plan: Plan) -> Priority:
        return plan.request.priority or Priority(self._settings.priority)

    def _parts_waiting(self, priority: Priority) -> int:
        """Evidence as urgent as this or more that has not moved on: what is less urgent goes behind it and holds nobody up."""
        return sum("-cmd-" in name and name[:2] <= f"p{int(priority)}" for name in self._release.names())

    def _say_refused(self, now: Now, order: Order, text: str, cause: str) -> None:
        fields: dict[str, Field] = {"command": order.identity.hex(), "result": "refused", "cause": cause}
        self._say(now, order, "command-result", Severity.WARNING, text, fields)

    def _say(self, now: Now, order: Order, kind: str, severity: Severity, text: str, fields: Mapping[str, Field]) -> None:
        self._notices.say(now, kind, Priority.P3, severity, text, fields=fields, event=f"cmd-{order.identity.hex()}")


def _is_cancelled(active: _Active) -> bool:
    return active.search.found is not None and active.search.found.cancelled
