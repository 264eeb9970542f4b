"""The section [slice] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class SliceSettings:
    """Which events bring their evidence with them, and how much of that there may be."""

    rules: tuple[str, ...] = setting(
        ("patient-injury: event=patient-injury",),
        'NAME: CONDITION, then perhaps -> of=room|device|process, around=SECONDS, send=1..4: "worn: event=tool-* -> of=device send=2".',
    )
    around_s: int = setting(30, "How much before and after the event, where its rule does not say.", low=1, high=600)
    # A dozen: a minute of a busy room is some 70 MB, and the day's evidence has a ceiling of its own ([retrieval]).
    per_hour_max: int = setting(12, "Slices in an hour, all rules together; further events are counted.", low=1, high=1_000)
    whole_every_s: int = setting(
        0,
        "In a room with little traffic: the whole record goes, too, so much at a time; 0: only what was asked for.",
        low=0,
        high=86_400,
    )
    whole_send: int = setting(4, "Priority with which it goes.", low=1, high=4)
