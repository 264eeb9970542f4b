"""What ptp4l, phc2sys and chronyd are told: one program steers the clock in every form, and the real programs read their files."""

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from firmware.clock.configuration import PROGRAMS, configuration
from firmware.clock.settings import ClockSettings
from simulator.namespaces import search_path

FORMS = list(itertools.product(("software", "hardware"), (False, True)))


def _settings(stamps: str, yields: bool, **more: object) -> ClockSettings:
    return ClockSettings(interface="eth2", time_stamping=stamps, yields=yields, ntp_servers=("192.0.2.1",), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stamps", "yields"), FORMS)
def test_one_program_steers(stamps: str, yields: bool) -> None:
    """Software: chronyd alone, ptp4l only hands on what it measures. Hardware: phc2sys carries time one way, or both. (S2-012)"""
    ptp4l, phc2sys, chronyd = (configuration(program, _settings(stamps, yields)) for program in PROGRAMS)

    assert ("clock_servo ntpshm" in ptp4l) == (stamps == "software")
    assert ("refclock SHM" in chronyd) == (stamps == "software" and yields)
    assert ("masterOnly 1" in ptp4l) == (not yields)
    assert (phc2sys == "") == (stamps == "software")
    if stamps == "hardware":
        assert ("-r -r" in phc2sys) == yields
        assert "-S 0" in phc2sys
    assert "step_threshold 0.0\n" in ptp4l
    assert "fault_reset_interval ASAP\n" in ptp4l


@pytest.mark.parametrize(("stamps", "yields"), FORMS)
@pytest.mark.parametrize("why_not", [{"serves": False}, {"interface": ""}])
def test_a_box_that_is_no_ptp_clock(stamps: str, yields: bool, why_not: dict[str, object]) -> None:
    """Switched off, or without a room interface: ptp4l is told of none, by which its unit passes it over; chronyd steers. (S2-012)"""
    settings = replace(_settings(stamps, yields), **why_not)  # type: ignore[arg-type]
    ptp4l, phc2sys, chronyd = (configuration(program, settings) for program in PROGRAMS)

    assert "[]" in ptp4l.splitlines() and "[eth2]" not in ptp4l
    assert f"# Not to be started: [clock] {next(iter(why_not))} " in ptp4l  # for whoever looks into it
    assert "" == phc2sys  # by which scrubjay-phc2sys.service is passed over, and chronyd not given -x
    assert "server 192.0.2.1" in chronyd and "SHM" not in chronyd


@pytest.mark.parametrize("transport", ["UDPv4", "UDPv6", "L2"])
@pytest.mark.parametrize("mechanism", ["E2E", "P2P"])
@pytest.mark.parametrize("yields", [False, True])
def test_ptp4l_reads_its_file(tmp_path: Path, transport: str, mechanism: str, yields: bool) -> None:
    """linuxptp as installed takes every form of it without a complaint; what it ends of is an interface that is not there. (S2-011)"""
    program = shutil.which("ptp4l", path=search_path())
    if program is None:
        pytest.skip("linuxptp is not installed")
    settings = _settings("software", yields, transport=transport, delay_mechanism=mechanism, ptp4l=str(tmp_path / "socket"))
    file = tmp_path / "ptp4l.conf"
    file.write_text(configuration("ptp4l", settings).replace("[eth2]", "[nothing0]"))
    said = subprocess.run([program, "-f", file, "-m", "-q"], capture_output=True, text=True, timeout=20, check=False)

    assert "failed to parse" not in said.stderr + said.stdout
    assert "unknown option" not in said.stderr + said.stdout
    assert "No such device" in said.stderr + said.stdout


@pytest.mark.parametrize(("stamps", "yields"), FORMS)
def test_chronyd_reads_its_file(tmp_path: Path, stamps: str, yields: bool) -> None:
    """chronyd checks its own file (-p) and finds nothing to say."""
    program = shutil.which("chronyd", path=search_path())
    if program is None:
        pytest.skip("chrony is not installed")
    file = tmp_path / "chrony.conf"
    file.write_text(configuration("chronyd", _settings(stamps, yields)))
    said = subprocess.run([program, "-p", "-f", file], capture_output=True, text=True, timeout=20, check=False)

    assert 0 == said.returncode, said.stderr
