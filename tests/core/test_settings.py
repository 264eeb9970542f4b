"""Settings: layers, types, ranges, and errors that say what to type instead."""

from dataclasses import dataclass

import pytest

from firmware.core.errors import BadSettings
from firmware.core.settings import Settings, layer_from_assignments, setting


@dataclass(frozen=True, slots=True)
class Capture:
    interface: str = setting("eth1", "Mirror port to listen to.")
    segment_s: int = setting(300, "Length of a segment.", low=1, high=86_400)
    share: float = setting(0.5, "A share.", low=0, high=1)
    mode: str = setting("ring", "How.", choices=("ring", "portable"))
    ports: tuple[int, ...] = setting((1, 2), "Ports.", low=1, high=65_535)
    loud: bool = setting(False, "Whether.")


SECTIONS = {"capture": Capture}


def made(*layers: str) -> Settings:
    return Settings(SECTIONS, [(f"layer{number}", text) for number, text in enumerate(layers)])


def test_defaults_stand_where_nothing_is_said() -> None:
    """No file at all is a good settings file."""
    assert Capture() == made().of(Capture)


def test_a_file_as_an_editor_of_windows_saves_it() -> None:
    """With a mark before it that nobody sees, and line ends of two characters."""
    assert 20 == made("\ufeff[capture]\r\nsegment_s = 20\r\n").of(Capture).segment_s


def test_later_layers_win() -> None:
    """Each value comes from the last layer that names it, and settings say which (S2-047)."""
    settings = made(
        '[capture]\nsegment_s = 10\ninterface = "a"', "[capture]\nsegment_s = 20\nports = [7]\nloud = true\nshare = 1"
    )

    assert Capture("a", 20, 1.0, "ring", (7,), True) == settings.of(Capture)
    assert {"capture.segment_s": "layer1", "capture.interface": "layer0"}.items() <= settings.origin.items()
    assert ("capture.segment_s", 20, 300, "layer1", "Length of a segment.") in settings.rows()
    assert ["segment_s", "share", "mode", "ports"] == [name.partition(".")[2] for name in settings.ranges()]
    assert ("0 to 1", "one of ring, portable") == (settings.ranges()["capture.share"], settings.ranges()["capture.mode"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[captur]\n", "no section [captur]; did you mean 'capture'?"),
        ("[zzz]\n", "no section [zzz]; known are capture"),
        ("[capture]\nsegments_s = 1", "no setting 'segments_s'; did you mean 'segment_s'?"),
        ("[capture]\nsegment_s = 0", "expected 1 to 86400, got 0"),
        ('[capture]\nsegment_s = "10"', "expected int, got '10'"),
        ("[capture]\nsegment_s = true", "expected int, got True"),
        ("[capture]\nloud = 1", "expected bool, got 1"),
        ('[capture]\nmode = "loud"', "expected one of ring, portable, got 'loud'"),
        ("[capture]\nports = [0]", "expected 1 to 65535, got 0"),
        ('[capture]\nports = ["a"]', "expected a list of int"),
        ("[capture]\nports = 5", "expected a list of int"),
        ("capture = 5", "expected a section [capture]"),
        ("[capture\n", "expected TOML"),
        ("[capture]\nsegment_s = " + "1" * 5000, "layer0: expected TOML"),
        ("[capture]\nports = " + "[" * 5000, "layer0: expected TOML"),
        ("[capture]\nshare = nan", "expected 0 to 1, got nan"),
    ],
)
def test_a_mistake_names_its_place_and_its_cure(text: str, said: str) -> None:
    """Unknown keys, wrong types, values out of range and broken files end in one sentence with the layer in front."""
    with pytest.raises(BadSettings) as problem:
        made(text)

    assert said in str(problem.value)
    assert str(problem.value).startswith("layer0: ")


def test_assignments_are_a_layer() -> None:
    """`--set section.key=value` takes TOML values, and plain words without quotes."""
    where, text = layer_from_assignments(
        ["capture.segment_s=5", "capture.interface=eth 2", 'capture.mode="portable"', "capture.ports=[1]"]
    )

    assert "--set" == where
    assert Capture("eth 2", 5, 0.5, "portable", (1,)) == Settings(SECTIONS, [(where, text)]).of(Capture)


@pytest.mark.parametrize("assignment", ["capture.segment_s", "segment_s=5", "=", "capture=1"])
def test_an_assignment_without_its_parts_is_refused(assignment: str) -> None:
    """The form is said."""
    with pytest.raises(BadSettings, match=r"expected section\.key=value"):
        layer_from_assignments([assignment])


@pytest.mark.parametrize("value", ["a\nb = 1", 'quote"', "back\\slash", "#", "[x", ""])
def test_an_assigned_value_stays_a_value(value: str) -> None:
    """Whatever a person types behind the equals sign is that one value or an error, never another setting."""
    layer = layer_from_assignments([f"capture.interface={value}"])
    try:
        settings = Settings(SECTIONS, [layer])
    except BadSettings:
        return

    assert ["capture.interface"] == list(settings.origin)


def test_a_section_this_role_lacks() -> None:
    """Asking for a section that is not there is an error with its name."""
    with pytest.raises(BadSettings, match="Capture"):
        Settings({}, []).of(Capture)
