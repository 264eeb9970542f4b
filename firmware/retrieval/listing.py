"""`scrubjay show`: what one of a store's files says, with sensitive parts masked."""

from collections.abc import Sequence

from firmware.core import cold, envelope, exported, index, message, pcapng, receipt, release, seal
from firmware.core.errors import BadItem, Corrupt
from firmware.core.message import Field, Message
from firmware.core.sensitive import find_tags
from firmware.core.summary import SUMMARY
from firmware.core.terminal import printable
from firmware.core.timestamp import SECOND, Timestamp, iso, span

TAI_OFFSET_S = 37  # For showing moments of files that do not carry TAI minus UTC; since 2017.
MASK = "[sensitive]"
SHOWN_MAX = 200  # messages or frames of one file


def shown(data: bytes) -> list[str]:
    """One file of a store in words: whatever of our formats it is. Raises BadItem when it is none of them."""
    for show in (_seal, _cold, _receipt, _sum, _exported, _messages, _envelope, _release, _command, _order, _index, _section):
        try:
            return [printable(line) for line in show(data)]
        except (BadItem, Corrupt):
            continue
    raise BadItem(
        "expected a seal, receipt, index, sum of receipts, cold seal, message batch, envelope, release item, command, order or pcapng section of ours"
    )


def _seal(data: bytes) -> list[str]:
    made = seal.unpacked(data)
    lost = ", ".join(f"{count} {cause}" for cause, count in sorted(made.drops.items()) if count) or "none"
    signed = "its own key's signature is good" if made.is_signed_by(made.public_key) else "SIGNATURE IS NOT GOOD"
    return [
        f"seal of segment {made.name}, box {made.box}, interface {made.interface}",
        f"frames    {made.frames} ({made.frames_hardware} stamped by hardware), {made.bytes_wire} bytes on the wire",
        f"from      {iso(made.first_ns) if made.first_ns is not None else '-'}",
        f"to        {iso(made.last_ns) if made.last_ns is not None else '-'}",
        f"lost      {lost}",
        *(f"gap       {iso(gap.first_ns)} to {iso(gap.last_ns)}: {gap.cause}, {gap.frames} frames" for gap in made.gaps),
        f"clock     {_stamp(made.made, made.tai_offset_s)}",
        f"cut       {made.cause}",
        f"previous  {made.previous.hex() if made.previous else 'none: the first of its chain'}",
        f"key       {made.public_key.hex()}; {signed}",
    ]


def _cold(data: bytes) -> list[str]:
    made = cold.seal_unpacked(data)
    signed = "its own key's signature is good" if made.is_signed_by(made.public_key) else "SIGNATURE IS NOT GOOD"
    return [
        f"cold seal of segment {made.name}, box {made.box}",
        f"seal      {made.seal_digest.hex()}",
        f"hot       {made.frames_bytes} bytes, sealed as {made.frames_digest.hex()}, made again by {made.library}",
        f"pcapng    {made.raw_bytes} bytes, SHA-256 {made.raw_digest.hex()}",
        f"cold      {made.cold_bytes} bytes, SHA-256 {made.cold_digest.hex()}",
        f"made      {_stamp(made.made)}",
        f"key       {made.public_key.hex()}; {signed}",
    ]


def _exported(data: bytes) -> list[str]:
    row = exported.unpacked(data)
    return [
        f"record {row.number} of what was carried away: {row.file} onto {row.stick}, {row.form}",
        f"by        {printable(row.by)}",
        f"why       {printable(row.reason)}",
        f"asked     {', '.join(f'{name} {value}' for name, value in row.asked.items())}",
        f"holds     {row.frames} frames, {row.size} bytes, {iso(row.from_utc_ns)} to {iso(row.until_utc_ns)}",
        f"SHA-256   {row.digest.hex()}",
        f"made      {_stamp(row.made)}",
        f"previous  {row.previous.hex() if row.previous else 'none: the first of its chain'}",
    ]


def _receipt(data: bytes) -> list[str]:
    row = receipt.unpacked(data)
    return [
        f"receipt for the deletion of segment {row.segment}, sequence {row.sequence}",
        f"cause     {row.cause}",
        f"made      {_stamp(row.made)}",
        f"seal      {row.seal_digest.hex()}",
        f"previous  {row.previous.hex() if row.previous else 'none: the first receipt'}",
    ]


def _sum(data: bytes) -> list[str]:
    made = receipt.sum_unpacked(data)
    return [
        f"sum of the receipts up to number {made.number}, for segments from {made.segments[0]} to {made.segments[1]}",
        *(f"deleted   {run.first} to {run.last}, the last one's seal {run.seal_digest.hex()}" for run in made.runs[:SHOWN_MAX]),
        *([f"and {len(made.runs) - SHOWN_MAX} more stretches"] if len(made.runs) > SHOWN_MAX else []),
        f"causes    {', '.join(f'{cause} {count}' for cause, count in sorted(made.causes.items()))}",
        f"made      {_stamp(made.made)}",
        f"ends with {made.digest.hex()}, the newest receipt in it",
    ]


def _messages(data: bytes) -> list[str]:
    return _batch(message.unpacked(data))


def _envelope(data: bytes) -> list[str]:
    row = envelope.unpacked(data)
    return [
        f"envelope {row.identity.hex()} of box {row.box}: {row.kind}, priority {int(row.priority)}, {row.codec}",
        *_inside(row.kind, envelope.content_of(row), row.first_tai_ns, row.last_tai_ns, row.asked_by, row.facts),
    ]


def _release(data: bytes) -> list[str]:
    row = release.unpacked(data)
    return [
        f"release item: {row.kind}, priority {int(row.priority)}; not yet de-identified",
        *_inside(row.kind, row.body, row.first_tai_ns, row.last_tai_ns, row.asked_by, row.facts),
    ]


def _command(data: bytes) -> list[str]:
    command = envelope.command_unpacked(data)
    return ["signed command; `scrubjay show` does not check whose signature it is", *_order(command.order)]


def _order(data: bytes) -> list[str]:
    order = envelope.order_unpacked(data)
    return [
        f"order {order.identity.hex()}: {order.deed}, for box {order.box}, by {order.signer}, counter {order.counter}",
        f"made {_moment(order.made_tai_ns)}, expires {_moment(order.expires_tai_ns)}",
        *(f"  {name}: {printable(value)}" for name, value in sorted(order.parameters.items())),
    ]


def _index(data: bytes) -> list[str]:
    head = index.unpacked_header(data)
    records, end = index.unpacked_records(data)
    frames = sum(record.frames for record in records)
    if head.opened.source == SUMMARY:
        return [f"summary of segments, for find: {len(records)} rows, {frames} frames"]
    torn = "" if end == len(data) else f"; {len(data) - end} bytes after them make no sense"
    return [
        f"index of the segment with sequence {head.sequence}, opened {_stamp(head.opened, head.tai_offset_s)}",
        f"{len(records)} stretches, {frames} frames{torn}",
    ]


def _section(data: bytes) -> list[str]:
    if not data.startswith(b"\x0a\x0d\x0d\x0a"):
        raise BadItem("expected a pcapng section")
    return _frames(data)


def _inside(
    kind: str, body: bytes, first_tai_ns: int, last_tai_ns: int, asked_by: bytes | None, facts: "dict[str, int | str] | object"
) -> list[str]:
    rows = [f"from {_moment(first_tai_ns)} to {_moment(last_tai_ns)}"]
    if asked_by is not None:
        rows.append(f"asked for by command {asked_by.hex()}")
    if isinstance(facts, dict):
        rows += [f"  {name}: {printable(value)}" for name, value in sorted(facts.items())]
    return rows + (_batch(message.unpacked(body)) if kind == "group" else _frames(body))


def _frames(data: bytes) -> list[str]:
    count, size = 0, 0
    first: int | None = None
    last: int | None = None
    for packet in pcapng.packets(data):
        count += 1
        size += packet.wire_bytes
        first = packet.stamp_ns if first is None else min(first, packet.stamp_ns)
        last = packet.stamp_ns if last is None else max(last, packet.stamp_ns)
    if first is None or last is None:
        return ["pcapng section without frames"]
    return [f"pcapng section: {count} frames, {size} bytes on the wire, {iso(first)} to {iso(last)}"]


def _batch(messages: Sequence[Message]) -> list[str]:
    rows = [f"{len(messages)} messages"]
    for row in messages[:SHOWN_MAX]:
        rows.append(
            f"{_moment(row.origin_time.tai_ns)} P{int(row.priority)} {row.severity.name.lower()} {row.device}/{row.process} {row.kind}"
            + (f" event={row.event}" if row.event else "")
        )
        rows += [f"    {line}" for line in _body(row)]
    if len(messages) > SHOWN_MAX:
        rows.append(f"and {len(messages) - SHOWN_MAX} more")
    return rows


def text_shown(row: Message) -> str:
    """A message's text on one line, with everything sensitive masked; "" without one."""
    tags = (*row.tags, *find_tags(row.text, row.fields, row.attachment))
    return printable(_masked(row.text or "", [(tag.start, tag.end) for tag in tags if tag.path == "text"])) if row.text else ""


def _body(row: Message) -> list[str]:
    """Text and fields with everything sensitive masked: what was tagged, and what would be tagged today."""
    tags = (*row.tags, *find_tags(row.text, row.fields, row.attachment))

    def hide(path: str, text: str) -> str:
        return _masked(text, [(tag.start, tag.end) for tag in tags if tag.path == path])

    rows = []
    if row.text is not None:
        rows.append(printable(hide("text", row.text)))
    rows += [f"{printable(name)}={printable(hide(f'fields/{name}', _word(value)))}" for name, value in row.fields.items()]
    if row.attachment is not None:
        rows.append(f"attachment of {len(row.attachment[1])} bytes")
    return rows


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    if any(start == end for start, end in spans):
        return MASK
    shown, at = [], 0
    for start, end in _merged(spans):
        shown += [text[at:start], MASK]
        at = end
    return "".join([*shown, text[at:]])


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, without overlap: some were tagged when the message came, some are found today."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _word(value: Field) -> str:
    return value if isinstance(value, str) else repr(value)


def _stamp(stamp: Timestamp, tai_offset_s: int = TAI_OFFSET_S) -> str:
    moment = iso(stamp.tai_ns - tai_offset_s * SECOND)
    return f"{moment} ±{span(stamp.uncertainty_ns)}, {stamp.source} {stamp.state.value}"


def _moment(tai_ns: int) -> str:
    return iso(tai_ns - TAI_OFFSET_S * SECOND)
