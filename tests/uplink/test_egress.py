"""What the settings say about the way out, and what comes of it."""

import pytest

from drivers.errors import EgressFailed
from firmware.core.errors import BadSettings
from firmware.uplink.egress import brought_about
from firmware.uplink.settings import UplinkSettings
from simulator.egress import SimulatedEgress


def test_shaped_released_and_left_alone() -> None:
    """(S2-060) With a rate: shaped; with 0: released; without an interface: not touched."""
    egress = SimulatedEgress({"eth0"})
    assert "1900 kbit/s" in brought_about(egress, UplinkSettings(egress_interface="eth0", egress_kbit=1900))
    assert egress.rate_kbit("eth0") == 1900
    brought_about(egress, UplinkSettings())
    assert egress.rate_kbit("eth0") == 1900
    brought_about(egress, UplinkSettings(egress_interface="eth0"))

    assert egress.rate_kbit("eth0") is None


def test_without_the_privilege_it_is_said() -> None:
    """One trouble with a name; nobody claims a shaped egress."""
    with pytest.raises(EgressFailed):
        brought_about(SimulatedEgress({"eth0"}, allowed=False), UplinkSettings(egress_interface="eth0", egress_kbit=1900))


@pytest.mark.parametrize("wrong", [{"egress_kbit": 1900}, {"egress_kbit": 7, "egress_interface": "eth0"}])
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    """A rate without an interface, or less than a packet a second."""
    with pytest.raises(BadSettings):
        UplinkSettings(**wrong)  # type: ignore[arg-type]
