"""Section [live] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Which streams are sent as they happen, and how much of them. Off as long as no stream is named."""

    interface: str = setting("eth1", "Mirror port to hear the streams on; normally capture's.")
    streams: tuple[str, ...] = setting(
        (),
        'Streams to send, as their decoders call them, under names of yours: "rtps/rt/joint_states/position=arms". Empty: off.',
    )
    reduce: str = setting(
        "sample", "How they are made fewer: so many samples a second, or by change.", choices=("sample", "change")
    )
    rates: str = setting(
        "motion=60,temperature=5,other=20", 'With sample: samples a second by kind or stream, "itp/console=100" goes first.'
    )
    error: str = setting("1%", 'With change: largest error, "1%" of the range, "0.5" in its unit, or by kind or stream.')
    batch_ms: int = setting(1_000, "How long samples are collected before they are sent together.", low=100, high=60_000)
    values_max: int = setting(
        20_000, "Numbers held for one batch; beyond it the newest samples are dropped.", low=1_000, high=200_000
    )
