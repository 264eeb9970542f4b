"""What networkd is given of a site's own, and that no file of its own reaches a port that listens."""

import pytest

from firmware.core.network import SILENT, SITE_BYTES_MAX, given, listening

SHIPPED = "# silent\n[Match]\nName=eth1 eth2\n\n[Network]\nDHCP=no\n"
ROOM = b"[Match]\nName=eth3\n\n[Network]\nAddress=10.0.0.1/24\n"


def test_a_sites_file_comes_after_the_silent_one_and_before_the_images() -> None:
    """However it is called: networkd takes the first by name that fits."""
    made = given(SHIPPED, "", {"room.network": ROOM, "00-all.network": b"[Match]\nName=*\n"})

    assert ["15-site-00-all.network", "15-site-room.network"] == sorted(made.files)[1:]
    assert SILENT == min(made.files) and max(made.files) < "20-uplink.network"
    assert ROOM.decode() == made.files["15-site-room.network"]
    assert ("00-all.network: used, but not for eth1 eth2", "room.network: used") == made.said[1:]


def test_ports_that_settings_name_for_listening_are_silent_too() -> None:
    """[capture] and [intake]; beside them the image's own. (S2-008)"""
    made = given(
        SHIPPED, '[capture]\ninterface = "eth4, eth5"\n[intake]\ninterface = "eth4"\n', {"eth4.network": b"[Match]\nName=eth4\n"}
    )

    assert SHIPPED.replace("eth1 eth2", "eth1 eth2 eth4 eth5") == made.files[SILENT]
    assert "eth4.network: used, but not for eth4" == made.said[-1]


@pytest.mark.parametrize(
    "settings", ["[capture", '[capture]\ninterface = 3\n', '[capture]\ninterface = "!eth0"\n', '[capture]\ninterface = "*"\n', '[intake]\ninterface = "a b"\n', "x = " + "[" * 5000]
)  # fmt: skip
def test_settings_that_are_wrong_make_nothing_speak(settings: str) -> None:
    """The image's own ports stay silent, a name that would mean something else to networkd is not handed on, and it is said."""
    made = given(SHIPPED, settings, {"room.network": ROOM})

    assert SHIPPED == made.files[SILENT]
    assert 3 == len(made.said) and "scrubjay.toml" in made.said[1]


def test_wrong_elsewhere_is_not_wrong_here() -> None:
    """Settings with which no process starts still say which ports listen."""
    assert (("eth7",), ()) == listening('[capture]\ninterface = "eth7"\nno_such = 1\n[what]\n')
    assert ((), ()) == listening("capture = 1")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("room.conf", ROOM, "NAME.network"),
        ("uplink-vlan.netdev", b"[NetDev]\n", "NAME.network"),
        ("../room.network", ROOM, "NAME.network"),
        ("\x1b[2J.network", ROOM, "NAME.network"),
        ("room.network", None, "can be read"),
        ("room.network", b"[Match]\n" + bytes(SITE_BYTES_MAX), "at most"),
        ("room.network", b"[Match]\n\xff", "UTF-8"),
        ("room.network", b"[Network]\nDHCP=yes\n", "[Match]"),
        ("room.network", b"", "[Match]"),
    ],
)
def test_what_is_not_used_is_said(name: str, data: bytes | None, why: str) -> None:
    """Nobody sees networkd's own journal."""
    made = given(SHIPPED, "", {name: data})

    assert [SILENT] == list(made.files)
    assert "not used" in made.said[1] and why in made.said[1] and made.said[1].isprintable()


def test_only_the_section_that_says_which_port_counts() -> None:
    """Name= of another section is another thing."""
    assert "a.network: used" == given(SHIPPED, "", {"a.network": b"[Match]\nName=eth3\n[Link]\nName=eth1\n"}).said[1]
    assert "a.network: used, but not for eth2" == given(SHIPPED, "", {"a.network": b" [Match]\n Name = eth[2-3]\n"}).said[1]
