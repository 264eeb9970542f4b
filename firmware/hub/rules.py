"""Rules of the fleet on messages, groups and sessions (S2-121, S2-122): a file of tables, read into values. Pure.

[[rule]]
name = "tool-often-fails"
on = "message"                     # or "group": its figures as fields (messages, bytes); or "session": counted over a whole one
when = "event=tool-failure"        # firmware/core/condition.py
count = 3                          # so many …
within_s = 86400                   # … in this time, by the box's clock …
per = "device"                     # … of one device; or "fleet", "box", "process"
rise = "temperature 10"            # and this field has grown by so much within that time
then = ["call", "retrieve", "advise"]
text = "The tool fails often."     # of the call
advice = "replace-tool"            # firmware/core/advice.py; goes to the box the message came from
around_s = 30                      # of the frames that are asked for
priority = 2                       # how soon they travel
expires_s = 300                    # of the advice
quiet_s = 3600                     # not again for the same device (…) within this time
per_hour_max = 6                   # firings of this rule in an hour, for one box
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware.core.advice import ADVICE
from firmware.core.condition import Condition
from firmware.core.errors import BadSettings
from firmware.core.message import Message, Priority, is_token

RULES_MAX = 200
RULES_BYTES_MAX = 1 << 18
ON = ("message", "group", "session")
PER = ("fleet", "box", "device", "process")
DEEDS = ("call", "retrieve", "advise")
DAY_S = 86_400
SLICE = "slice"  # the kind of what a box says of the evidence of an event (firmware/slice)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as the table above explains. rise: a field's name and by how much."""

    name: str
    when: Condition
    on: str = "message"
    count: int = 1
    within_s: int = 3600
    per: str = "device"
    rise: tuple[str, float] | None = None
    then: tuple[str, ...] = ("call",)
    text: str = ""
    advice: str | None = None
    around_s: int = 30
    priority: Priority = Priority.P2
    expires_s: int = 300
    quiet_s: int = 3600
    per_hour_max: int = 6

    def holds(self, message: Message) -> bool:
        """Whether it is one of those counted. What the box says of a slice has the name of the event, and is not another one: it counts for
        who asks for the kind."""
        return self.when.holds(message) and (message.kind != SLICE or "kind=" in self.when.words)

    def key(self, box: str, message: Message) -> str:
        """Whose messages are counted together."""
        parts = {"fleet": (), "box": (box,), "device": (box, message.device), "process": (box, message.device, message.process)}
        return " ".join(parts[self.per])


# What a hub does without a file of its own: calls, and nothing that asks or advises.
AS_IT_COMES = """
[[rule]]
name = "patient-injury"
when = "event=patient-injury"
text = "A device has told of an injury of the patient. The box sends the frames around it by itself."
quiet_s = 600

[[rule]]
name = "tool-often-fails"
when = "event=tool-failure"
count = 3
within_s = 86400
text = "The same device has told of a failing tool three times in a day."
quiet_s = 86400

[[rule]]
name = "misuse"
when = "event=*misuse*"
count = 2
within_s = 3600
text = "Instruments were used in a way they are not made for, more than once in an hour."

[[rule]]
name = "alarm-flood"
on = "group"
when = "priority<=1 fields/messages>=20"
per = "box"
text = "So many alarms came at once that they were sent as one group."
"""


def rules_of(text: str, *, where: str = "rules") -> tuple[Rule, ...]:
    """Raises BadSettings naming the rule and what was expected."""
    if len(text) > RULES_BYTES_MAX:
        raise BadSettings(f"{where}: expected at most {RULES_BYTES_MAX} characters")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # Of which what is no TOML is one, and a number of too many digits another.
        raise BadSettings(f"{where}: expected TOML: {problem}") from None
    rows = table.pop("rule", [])
    if table or not isinstance(rows, list) or len(rows) > RULES_MAX:
        raise BadSettings(f"{where}: expected nothing but at most {RULES_MAX} tables [[rule]]")
    rules = tuple(_rule(row, f"{where}: rule {number}") for number, row in enumerate(rows, start=1))
    if len({rule.name for rule in rules}) < len(rules):
        raise BadSettings(f"{where}: expected names that differ")
    return rules


def _rule(row: object, where: str) -> Rule:
    if not isinstance(row, dict) or not set(row) <= set(Rule.__dataclass_fields__):
        known = ", ".join(Rule.__dataclass_fields__)
        raise BadSettings(f"{where}: expected settings among {known}")
    name = row.get("name")
    if not is_token(name):
        raise BadSettings(f"{where}: expected name as a word of 1 to 64 characters [A-Za-z0-9._:/-]")
    where = f"{where} ({name})"
    try:
        when = Condition.of(_text(row, "when", where, 1000))
    except ValueError as problem:
        raise BadSettings(f"{where}: when: {problem}") from None
    then = row.get("then", ["call"])
    if not isinstance(then, list) or not then or not all(deed in DEEDS for deed in then) or len(set(then)) < len(then):
        raise BadSettings(f"{where}: expected then as a list of {', '.join(DEEDS)}")
    advice = row.get("advice")
    if ("advise" in then) != (advice is not None) or (advice is not None and advice not in tuple(ADVICE)):
        raise BadSettings(f"{where}: expected advice with then advise, one of {', '.join(ADVICE)}")
    on = _choice(row, "on", ON, where, "message")
    if on == "session" and "retrieve" in then:
        raise BadSettings(f"{where}: expected no retrieve on session: there is no moment to ask about")
    return Rule(
        name=str(name), when=when, on=on,
        count=_number(row, "count", where, 1, 1, 1_000_000), within_s=_number(row, "within_s", where, 3600, 1, 366 * DAY_S),
        per=_choice(row, "per", PER, where, "device"), rise=_rise(row, where), then=tuple(then),
        text=_text(row, "text", where, 500) if "text" in row else "", advice=advice,
        around_s=_number(row, "around_s", where, 30, 1, 600), priority=Priority(_number(row, "priority", where, 2, 1, 4)),
        expires_s=_number(row, "expires_s", where, 300, 10, DAY_S), quiet_s=_number(row, "quiet_s", where, 3600, 0, 366 * DAY_S),
        per_hour_max=_number(row, "per_hour_max", where, 6, 1, 1_000),
    )  # fmt: skip


def _rise(row: Mapping[str, Any], where: str) -> tuple[str, float] | None:  # Any: TOML is anything until checked
    if "rise" not in row:
        return None
    name, _, by = _text(row, "rise", where, 300).partition(" ")
    try:
        amount = float(by)
    except ValueError:
        amount = 0.0
    if not name or not 0 < amount < float("inf"):
        raise BadSettings(f'{where}: expected rise as a field\'s name and by how much, "temperature 10"')
    return name, amount


def _text(row: Mapping[str, Any], key: str, where: str, longest: int) -> str:  # Any: as above
    value = row.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise BadSettings(f"{where}: expected {key} as a text of 1 to {longest} characters")
    return value


def _choice(row: Mapping[str, Any], key: str, choices: tuple[str, ...], where: str, otherwise: str) -> str:  # Any: as above
    value = row.get(key, otherwise)
    if value not in choices:
        raise BadSettings(f"{where}: expected {key} as one of {', '.join(choices)}")
    return str(value)


def _number(row: Mapping[str, Any], key: str, where: str, otherwise: int, low: int, high: int) -> int:  # Any: as above
    value = row.get(key, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadSettings(f"{where}: expected {key} from {low} to {high}")
    return value
