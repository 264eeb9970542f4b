"""What a box says it does not have, out of its seals and of what stands between two of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from firmware.core.seal import Gap, Seal
from firmware.core.timestamp import MS, SECOND, ClockState, Timestamp, iso, span
from firmware.core.verdict import Verdict

# Between the end of an orderly stop and the next beginning. No process ends and another begins so quickly; on a ring that was kept
# meanwhile the first frame may come this late.
_PAUSE_NS = 100 * MS
_STAMP_NS = SECOND  # A stamp this much before the stop is of no frame that was heard after it, whoever stamped it.
_ENDINGS = {
    "interrupted": "recording ended here without warning (power cut or crash); what had reached the disk was sealed at the next start; "
    "how many frames were dropped since it was opened,",
    "disk_failed": "recording ended here because the disk failed; what had reached it was sealed afterwards; "
    "how many frames were dropped since it was opened,",
}
# What its writer had counted was in memory, and is in the next seal at best.
_UNCOUNTED = {
    "interrupted": "is unknown",
    "disk_failed": "is in the next seal or, where recording was interrupted before that, unknown",
}


@dataclass(frozen=True, slots=True)
class Begun:
    """How a segment began. first_ns: its lowest stamp, UTC ns, None without frames. gaps: as it says them itself, sealed or noted."""

    name: str
    sequence: int
    opened: Timestamp
    opened_ns: int
    first_ns: int | None
    gaps: Sequence[Gap]

    @classmethod
    def of(cls, made: Seal, *, name: str, sequence: int) -> "Begun":
        """As its seal has it; name and sequence are the directory's, which may have been exchanged."""
        return cls(name, sequence, made.opened, made.opened.tai_ns - made.tai_offset_s * SECOND, made.first_ns, made.gaps)


def say_pause(before: Seal, begun: Begun, verdict: Verdict) -> None:
    """What neither seal says, for nobody was there who could: the time between an orderly stop and the next beginning.

    A recorder that goes on with the rings that were kept meanwhile has heard what it did not see: its first frame tells since when.
    """
    from_ns, until_ns = before.made.tai_ns - before.tai_offset_s * SECOND, begun.opened_ns
    why = "recording had ended in order (stopped, or no session was open) and began again"
    known = f"by a clock known to ±{span(max(before.made.uncertainty_ns, begun.opened.uncertainty_ns))}"
    if until_ns < from_ns:
        verdict.stated(
            begun.name,
            "gap",
            f"from {iso(from_ns)} on nothing was recorded: {why}, how much later is not known: the clock was set back meanwhile, "
            f"to {iso(until_ns)}; {known}",
        )
        return
    if begun.first_ns is not None and from_ns - _STAMP_NS <= begun.first_ns:
        until_ns = min(until_ns, begun.first_ns)
    for first_ns, last_ns in _unsaid(from_ns, until_ns, (*before.gaps, *begun.gaps)):
        length = span(last_ns - first_ns)
        verdict.stated(begun.name, "gap", f"{iso(first_ns)} to {iso(last_ns)}: nothing was recorded for {length}: {why}; {known}")


def _unsaid(from_ns: int, until_ns: int, gaps: Sequence[Gap]) -> Iterator[tuple[int, int]]:
    """What of a pause is in no gap of the whole recorder's (one of a single interface names it)."""
    said = sorted((gap.first_ns, gap.last_ns) for gap in gaps if "@" not in gap.cause)
    for first_ns, last_ns in [*said, (until_ns, until_ns)]:
        end_ns = min(first_ns, until_ns)
        if end_ns - from_ns >= _PAUSE_NS:
            yield from_ns, end_ns
        from_ns = max(from_ns, last_ns)


def say_seal(made: Seal, verdict: Verdict) -> None:
    """What a sound seal says of its segment: what was lost in it, how it ended, how good its time was."""
    say_losses(made.name, made.drops, made.gaps, verdict)
    if made.cause in _ENDINGS:
        opened = iso(made.opened.tai_ns - made.tai_offset_s * SECOND)
        verdict.stated(made.name, made.cause, f"{_ENDINGS[made.cause]} {opened}, {_UNCOUNTED[made.cause]}")
    state, uncertainty_ns = made.made.state, made.made.uncertainty_ns
    if made.time is not None:
        state, uncertainty_ns = made.time.state, made.time.uncertainty_ns  # the worst, not only the last
    if state is not ClockState.LOCKED:
        verdict.stated(made.name, "time", f"the clock was in state {state.value}, known to ±{span(uncertainty_ns)}")
    if 0 < made.frames_hardware < made.frames:
        by_software = made.frames - made.frames_hardware
        verdict.stated(made.name, "time", f"{by_software} frames were stamped by software, the others by their interface itself")
    if made.time is not None and made.time.steps:
        times = "once" if made.time.steps == 1 else f"{made.time.steps} times"
        verdict.stated(made.name, "time", f"the clock was stepped {times}, by {made.time.stepped_ns / SECOND:+.3f} s in all")


def say_losses(name: str, drops: Mapping[str, int], gaps: Sequence[Gap], verdict: Verdict) -> None:
    """Frames lost by cause, and when."""
    for cause, count in sorted(drops.items()):
        if count:
            verdict.drops[cause] = verdict.drops.get(cause, 0) + count
            verdict.stated(name, "dropped", f"{count} frames were not recorded: {cause}")
    for gap in gaps:
        many = "an unknown number of" if gap.frames is None else str(gap.frames)
        verdict.stated(name, "gap", f"{iso(gap.first_ns)} to {iso(gap.last_ns)}: {many} frames lost: {gap.cause}")
