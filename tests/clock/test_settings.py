"""The section [clock]: what cannot work is refused when it is read, not by a process that ends again and again."""

import pytest

from firmware.clock.devices import Devices
from firmware.clock.settings import ClockSettings
from firmware.core.errors import BadSettings
from firmware.core.settings import Settings
from firmware.core.timestamp import Monotonic


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('chronyd = "127.0.0.1:99999"', "chronyd: expected a path, or an IPv4 address and a port"),
        ('chronyd = "127.0.0.1:²"', "chronyd: expected"),
        ('chronyd = "[::1]:323"', "chronyd: expected"),
        ('ptp4l = "/run/ptp 4l"', "ptp4l: expected"),
        ('devices = ["10.77.0.999"]', "devices: expected IP addresses, got '10.77.0.999'"),
        ('devices = ["pump-3"]', "devices: expected IP addresses"),
        ('devices = ["fe80::1%eth2"]', "devices: expected IP addresses"),
        ('ntp_servers = ["ntp1.example ntp2.example"]', "ntp_servers: expected a host's name or address each"),
        ('ntp_servers = [""]', "ntp_servers: expected"),
        ('ntp_servers = ["ntp.example\\nallow all"]', "ntp_servers: expected"),
        ('interface = "enp0s31f6.vlan1234"', "interface: expected an interface's name"),
        ('interface = "eth2]\\n[eth3"', "interface: expected"),
        ('interface = "eth2\\u0000"', "interface: expected"),
        ("period_ms = 5000", "period_ms: expected 100 to 4000, got 5000"),
    ],
)
def test_what_cannot_work_is_refused(line: str, said: str) -> None:
    """One sentence that names the setting: a port beyond 65535 ended the clock process at every start."""
    with pytest.raises(BadSettings, match=r"\[clock\]") as found:
        Settings({"clock": ClockSettings}, [("scrubjay.toml", f"[clock]\n{line}")])

    assert said in str(found.value)


@pytest.mark.parametrize(
    "line",
    [
        'chronyd = "/run/chrony/chronyd.sock"', 'chronyd = "127.0.0.2:1323"', 'chronyd = ""', 'ptp4l = ""', 'devices = ["10.77.0.21", "2001:DB8::1"]',
        'ntp_servers = ["ntp.example", "192.0.2.1", "2001:db8::1"]', 'interface = "enp0s31f6.1234"', "period_ms = 4000",
    ],
)  # fmt: skip
def test_what_can_work_is_taken(line: str) -> None:
    """Whatever a site may have reason to say."""
    Settings({"clock": ClockSettings}, [("scrubjay.toml", f"[clock]\n{line}")])


def test_an_address_has_one_spelling() -> None:
    """A device that is configured in capitals is the one that is heard."""
    devices = Devices(ClockSettings(devices=("2001:DB8:0::1",)).devices)
    devices.start(Monotonic(0))
    devices.heard("2001:db8::1", Monotonic(1))

    assert [("2001:db8::1", True)] == [(row.address, row.is_configured) for row in devices]


@pytest.mark.parametrize("period_ms", [100, 4000])
def test_the_slowest_look_still_knows_the_keepers(make_hall, period_ms: int) -> None:
    """What ptp4l said at one look is still believed at the next: at ten seconds it was always gone."""
    hall = make_hall(period_ms=period_ms)
    hall.run(30)

    assert hall.state()["ptp"] is not None
    assert "ptp4l_gone" not in hall.events()
