"""Messages as they may leave: nothing sensitive, and the rest untouched."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.datagram import decoded
from firmware.core.message import Field, Message, Priority, Severity, Tag, packed, unpacked
from firmware.core.sensitive import REMOVED, find_tags
from firmware.core.timestamp import ClockState, Timestamp
from firmware.deidentify.words import WordRules, cleaned

DATA = Path(__file__).parents[2].parent / "shared" / "data"
STAMP = Timestamp(1, 2, "ptp", ClockState.LOCKED)
RULES = WordRules(attachment_types=frozenset({"image/png"}))


def message(
    text: str | None = None,
    fields: dict[str, Field] | None = None,
    attachment: tuple[str, bytes] | None = None,
    tags: tuple[Tag, ...] = (),
) -> Message:
    return Message("robot-1", "arm", "published", Priority.P1, Severity.ERROR, STAMP, STAMP, text=text, fields=fields or {}, attachment=attachment, tags=tags)  # fmt: skip


def test_spans_are_removed_and_stay_tagged() -> None:
    """The span reads "[removed]", and the tag stands where it is now. (S2-084, S2-085, S2-086)"""
    clean, removed = cleaned(
        message("for #phi Jane #end at #phi 12 #end.", tags=find_tags("for #phi Jane #end at #phi 12 #end.", {})), RULES
    )

    assert "for [removed] at [removed]." == clean.text
    assert [REMOVED, REMOVED] == [(clean.text or "")[tag.start : tag.end] for tag in clean.tags]
    assert 2 == removed


def test_fields_keep_their_names() -> None:
    """A sensitive field says that there was one; others keep value and type. (S2-081, S2-086)"""
    clean, _ = cleaned(
        message(None, {"patient_name": "Jane", "mrn": 4711, "torque": 4.25, "note": "a #phi b #end c", "ok": True}), RULES
    )

    assert {"patient_name": REMOVED, "mrn": REMOVED, "torque": 4.25, "note": "a [removed] c", "ok": True} == clean.fields
    assert {"fields/patient_name", "fields/mrn", "fields/note"} == {tag.path for tag in clean.tags}


def test_nobody_is_named_below_a_sensitive_name() -> None:
    """A map with an entry for each patient: their numbers are names of fields, which end where the sensitive one does. (S2-081, S2-085)"""
    fields: dict[str, Field] = {
        "patient/4711/bed": 4, "patient/4711/note": "x", "arm": 1, "arm.Patients.patient[Doe]": 2, "medical/record/number": 3, "mrn 4711": 6,
        f"{'x' * 240}/mrn/4711": 5,
    }  # fmt: skip
    clean, removed = cleaned(message(None, fields), RULES)

    assert [
        "patient/removed-0", "patient/removed-1", "arm", "arm.Patients/removed-3", "medical/record/number", "mrn/removed-5",
        f"{'x' * 200}/removed-6",
    ] == list(clean.fields)  # fmt: skip
    assert {REMOVED, 1} == set(clean.fields.values())
    assert 6 == removed
    assert clean == cleaned(clean, RULES)[0]
    assert [clean] == unpacked(packed([clean]))


def test_a_sign_behind_what_had_none_goes_with_it() -> None:
    """Or what was removed would read as brackets of a name, and cleaned again the text would be another."""
    clean, _ = cleaned(message("MRN SJ-4711: moved, Patient ID 4711 = x; surgeon Dr. Roe: in, born 1961-02-03: y"), RULES)

    assert "MRN [removed] moved, Patient ID [removed]; surgeon [removed] in, born [removed] y" == clean.text
    assert clean == cleaned(clean, RULES)[0]


def test_words_say_nothing_of_anybody() -> None:
    """A process, a kind or an event whose name reads like a field of a text, as evidence has it: replaced, counted, and clean then. (S2-085)"""
    words = {"process": "patient:Jane-Doe", "kind": "fhir/Patient/jane", "event": "Patient/4711"}
    clean, removed = cleaned(replace(message("stopped for #phi Jane"), **words), RULES)

    assert ("removed", "removed", "removed", "stopped for [removed]", 4) == (
        clean.process,
        clean.kind,
        clean.event,
        clean.text,
        removed,
    )
    assert (clean, 1) == cleaned(clean, RULES)
    for harmless in ("mpps/completed", "fe80::1", "arm:3", "tool-failure", "robot/arm-3", "patient/cart"):
        same = replace(message("stopped"), process=harmless, event=harmless)
        assert cleaned(same, RULES)[0] is same


def test_tags_are_not_trusted_alone() -> None:
    """A message that came without tags is searched all the same, and one with tags keeps to them as well."""
    clean, _ = cleaned(message("Jane is #phi Jane #end", tags=(Tag("text", 0, 4, "marker"),)), RULES)

    assert "[removed] is [removed]" == clean.text


@pytest.mark.parametrize(
    "tags",
    [(Tag("text", 0, 99, "marker"),), (Tag("text", 0, 0, "field"),), (Tag("text", 7, 7, "field"), Tag("text", 0, 1, "marker"))],
)
def test_a_tag_that_does_not_fit_takes_the_whole(tags: tuple[Tag, ...]) -> None:
    """Whoever set it meant something; what, nobody can say."""
    assert REMOVED == cleaned(message("Jane Doe", tags=tags), RULES)[0].text


def test_a_tag_nobody_understands_takes_everything() -> None:
    """A path of a later version must not let pass what it was to protect."""
    clean, _ = cleaned(message("Jane", {"a": "Jane"}, ("image/png", b"x"), (Tag("video/3", 0, 0, "face"),)), RULES)

    assert (REMOVED, {}, None, (Tag("text", 0, 0, "unknown"),)) == (clean.text, clean.fields, clean.attachment, clean.tags)


def test_overlapping_tags_are_one() -> None:
    """Spans that overlap or touch leave one "[removed]"."""
    clean, _ = cleaned(message("abcdefgh", tags=(Tag("text", 1, 3, "a"), Tag("text", 2, 5, "b"), Tag("text", 5, 6, "c"))), RULES)

    assert "a[removed]gh" == clean.text
    assert 1 == len(clean.tags)


@pytest.mark.parametrize(
    ("expected", "attachment"),
    [
        (("image/PNG", b"x"), ("image/PNG", b"x")),
        (None, ("image/png", b"#PHI Jane")),
        (None, ("application/dicom", b"x")),
        (None, ("application/octet-stream", b"Jane Doe")),
    ],
)
def test_attachments_leave_by_permission_only(expected: object, attachment: tuple[str, bytes]) -> None:
    """Only media types the site has listed, and no marker inside."""
    clean, _ = cleaned(message("x", attachment=attachment), RULES)

    assert expected == clean.attachment
    assert (expected is None) == ("attachment" in {tag.path for tag in clean.tags})


def test_names_of_fields_can_be_marked() -> None:
    """A field called after a person is renamed, too."""
    clean, _ = cleaned(message(None, {"#phi Jane Doe": 1, "b": 2}), RULES)

    assert {"removed-0": REMOVED, "b": 2} == clean.fields
    assert b"Jane" not in packed([clean])


def test_many_small_spans_do_not_outgrow_the_format() -> None:
    """ "[removed]" is longer than a letter; the value that would outgrow its ceiling goes as a whole."""
    tags = tuple(Tag("text", n * 2, n * 2 + 1, "x") for n in range(4_000))
    clean, _ = cleaned(message("ab" * 131_000, tags=tags), RULES)

    assert [clean] == unpacked(packed([clean]))


@given(
    st.none() | st.lists(st.sampled_from(["#phi ", " #end ", "Jane", " ", "patient=", '"mrn": ', "[removed]", ", ", "MSH|", "\n"]), max_size=12).map("".join),
    st.dictionaries(st.sampled_from(["mrn", "a", "b/patient", "#phi x", "removed-0"]), st.sampled_from(["#phi Jane", "x", 1, None, "name: Jane"]), max_size=4),
    st.lists(st.builds(Tag, st.sampled_from(["text", "fields/a", "attachment", "?"]), st.integers(0, 9), st.integers(9, 12), st.just("w")), max_size=3),
)  # fmt: skip
def test_clean_stays_clean(text: str | None, fields: dict[str, Field], tags: list[Tag]) -> None:
    """Cleaning twice changes nothing more, leaves no marker, and what is left can be stored."""
    clean, _ = cleaned(message(text, fields, tags=tuple(tags)), RULES)

    assert clean == cleaned(clean, RULES)[0]
    assert "#phi" not in repr((clean.text, clean.fields, clean.tags))
    assert [clean] == unpacked(packed([clean]))


def test_real_sentences_with_identities() -> None:
    """1,500 sentences nobody here wrote, each identity marked: none of them leaves, the rest of the sentence does. (S2-085)"""
    path = DATA / "text-phi" / "presidio_synth_dataset_v2.json"
    if not path.exists():
        pytest.skip(f"no sentences at {path}")
    kept = 0
    for row in json.loads(path.read_text()):
        parts, position = [], 0
        for span in sorted(row["spans"], key=lambda span: span["start_position"]):
            if span["start_position"] >= position:
                parts += [row["full_text"][position : span["start_position"]], f"#phi ‹{span['entity_value']}› #end "]
                position = span["end_position"]
        text = "".join([*parts, row["full_text"][position:]])
        clean, _ = cleaned(message(text), RULES)

        assert "‹" not in (clean.text or "")
        kept += len((clean.text or "").replace(REMOVED, ""))
    assert kept > 30_000


def test_real_clinical_documents() -> None:
    """HL7 v2 and FHIR files nobody here wrote, sent to a message port by mistake: no word of them leaves. (S2-089)"""
    paths = sorted((DATA / "messages").glob("*/*"))
    if not paths:
        pytest.skip(f"no messages at {DATA}")
    for path in paths:
        if path.suffix not in (".hl7", ".json"):
            continue
        data = path.read_bytes()
        for piece in (data, data[: len(data) // 2], data[:60_000]):
            said = decoded(piece)
            clean, _ = cleaned(message(said.text, dict(said.fields), said.attachment), RULES)

            assert clean.text in (None, REMOVED), path.name
            assert {REMOVED} >= set(clean.fields.values()), path.name
            assert clean.attachment is None
