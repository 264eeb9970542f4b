"""The options of `scrubjay record`: what an engineer writes, and what is said to what makes no sense."""

import argparse

import pytest

from firmware.capture import options
from firmware.capture.options import Keep
from firmware.capture.settings import CaptureSettings
from firmware.capture.stops import Stops
from firmware.core.errors import BadSettings
from firmware.core.report import Report
from firmware.core.settings import Settings


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    options.arguments(parser)
    return parser.parse_args(words)


def settings(*words: str) -> CaptureSettings:
    return Settings({"capture": CaptureSettings}, options.layers(parsed(*words))).of(CaptureSettings)


def test_interfaces_as_everybody_writes_them():
    """By place, by -i, or both; in their order."""
    assert ("eth1", "eth2") == settings("eth1", "-i", "eth2", "-o", "x").interfaces
    assert ("eth1", "eth2") == settings("eth1,eth2", "-o", "x").interfaces
    assert ("eth1",) == settings("-i", "eth1", "-w", "x").interfaces


def test_what_the_settings_become():
    """Filter with quotes in it, snap length, segments by time and by size; --set has the last word."""
    made = settings(
        "e",
        "-o",
        "x",
        "-f",
        'ether host "a\\b"',
        "-s",
        "96",
        "--segment",
        "10m",
        "--segment",
        "100MB",
        "--set",
        "capture.segment_s=7",
    )

    assert ('ether host "a\\b"', 96, 7, 95) == (made.filter, made.snap_bytes, made.segment_s, made.segment_mb)
    assert 300 == settings("e", "-o", "x").segment_s
    assert 60 == settings("e", "-o", "x", "--segment", "60").segment_s
    assert 1 == settings("e", "-o", "x", "--segment", "10kB").segment_mb


def test_what_is_kept():
    """By size, by days or both; segments are then small enough that deleting one is an eighth of it at most. (S2-094, S2-095)"""
    assert Keep(10**10, 0) == options.keep(parsed("e", "-o", "x", "--keep", "10GB"))
    assert Keep(10**9, 14) == options.keep(parsed("e", "-o", "x", "--keep", "1GB", "--keep", "14d"))
    assert options.keep(parsed("e", "-o", "x")) is None
    assert 119 == settings("e", "-o", "x", "--keep", "1GB").segment_mb
    assert 10 == settings("e", "-o", "x", "--keep", "1GB", "--segment", "11MB").segment_mb
    assert 119 == settings("e", "-o", "x", "--keep", "1GB", "--segment", "5GB").segment_mb
    assert options.keep(parsed("e", "-w", "-")) == Keep(options.STREAM_KEPT_BYTES)


def test_whoever_watches_wants_it_now():
    """Into a pipe stretches are short; a file can wait for its second."""
    assert options.STREAM_STRETCH_MS == settings("e", "-w", "-").stretch_ms
    assert 1000 == settings("e", "-w", "x.pcapng").stretch_ms


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("10m", 600), ("10min", 600), ("2h", 7200), ("1D", 86_400)]
)
def test_times(text, seconds):
    """Seconds, or with a unit."""
    assert seconds == options.duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"), [("5", 5), ("500MB", 5 * 10**8), ("1.5GB", 15 * 10**8), ("64MiB", 64 << 20), ("1tb", 10**12)]
)
def test_sizes(text, size):
    """SI units, and the binary ones by their own names."""
    assert size == options.size_bytes(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1y", "s", "1 0", "1e30", "10x0", "MB"])
def test_amounts_that_make_no_sense(text):
    """Said with an example of what would."""
    for measure in (options.duration_s, options.size_bytes):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a"):
            measure(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected an interface to record; `scrubjay record --list`"),
        (("e",), "expected -o DIR for the recording, or -w FILE"),
        (("e", "-w", "x", "--keep", "1GB"), "--keep: expected -o DIR"),
        (("e", "-o", "x", "--keep", "1MB"), "--keep: expected at least 8 MiB, got 1000000 bytes"),
        (("e", "-o", "x", "--keep", "36h"), "--keep: expected whole days"),
        (("e", "-o", "x", "--keep", "much"), "--keep: expected a time such as 14d or a size such as 100MB, got 'much'"),
        (("e", "-o", "x", "--segment", ""), "--segment: expected a time such as"),
        (("e", "e", "-o", "x"), "expected 1 to 8 different interfaces"),
        (("e", "-o", "x", "-s", "10"), "snap_bytes: expected 64 to 262144, got 10"),
        (("e", "-o", "x", "--segment", "2d"), "segment_s: expected 1 to 86400, got 172800"),
    ],
)
def test_what_makes_no_sense_together(words, said):
    """Before anything is opened."""
    with pytest.raises(BadSettings) as told:
        settings(*words)

    assert said in str(told.value)


def test_when_it_stops():
    """Frames and bytes by the recorder's own counts; nothing given, never by itself."""
    report = Report("capture", counts={"frames": 100, "bytes_disk": 5000})

    assert options.stops(parsed("e", "-c", "100")).are_reached(report)
    assert not options.stops(parsed("e", "-c", "101")).are_reached(report)
    assert Stops(bytes_disk=5000).are_reached(report)
    assert not Stops().are_reached(report)
    assert 600 == options.stops(parsed("e", "-t", "10m")).duration_s
    with pytest.raises(argparse.ArgumentError, match="expected a number of frames above 0"):
        parsed("e", "-c", "0")
