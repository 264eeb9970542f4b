"""DICOM's upper layer and procedure steps: what is taken, what is turned away, and that any bytes end in one of the two."""

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.context import pseudonym
from firmware.core.errors import BadItem
from firmware.core.framing import ASSOCIATE_BYTES_MAX, DicomFraming
from firmware.core.mpps import DEPTH_MAX, decoded
from firmware.core.said import Said
from firmware.core.upper_layer import (
    CREATE,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    MESSAGE_BYTES_MAX,
    PDU_BYTES_MAX,
    SET,
    STEP,
    VERIFICATION,
    Association,
    Request,
)

KEY = bytes(range(32))


def item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def associate(*names: str, syntax: str = IMPLICIT) -> bytes:
    contexts = b"".join(
        item(0x20, bytes((2 * number + 1, 0, 0, 0)) + item(0x30, name.encode()) + item(0x40, syntax.encode()))
        for number, name in enumerate(names)
    )
    return pdu(
        1, b"\0\1\0\0" + b"BOX".ljust(16) + b"CARM_7".ljust(16) + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts
    )


def element(tag: int, value: bytes, kind: str = "") -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if kind == "SQ":
        return head + b"SQ\0\0" + struct.pack("<I", len(value)) + value
    return head + (kind.encode() + struct.pack("<H", len(value)) if kind else struct.pack("<I", len(value))) + value


def command(operation: int, *, instance: bytes = b"1.2.3\0", has_data: bool = True) -> bytes:
    return b"".join(
        (element(0x0002, b"1.2\0"), element(0x0100, struct.pack("<H", operation)), element(0x0110, b"\7\0"),
         element(0x0800, struct.pack("<H", 0x0001 if has_data else 0x0101)), element(0x1000, instance))
    )  # fmt: skip


def value(data: bytes, header: int, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, header) + data


def said(data: bytes, *, is_explicit: bool = False, operation: int = CREATE) -> Said:
    request = Request(1, operation, 7, "1.2.3", data, is_explicit)
    return decoded(request, "CARM_7", pseudonym=lambda kind, number: pseudonym(KEY, kind, number))


def test_only_steps_and_verification_are_taken() -> None:
    """Of three contexts two; of none of ours the association is rejected; the caller's title is kept as his claim."""
    association = Association()
    reply = association.feed(associate(VERIFICATION, "1.2.840.10008.5.1.4.1.1.2", STEP)).reply
    assert (2, "CARM_7") == (reply[0], association.caller)
    assert [0, 3, 0] == [reply[at + 6] for at in range(74, len(reply)) if reply[at] == 0x21 and reply[at + 1] == 0][:3]

    heard = Association().feed(associate("1.2.840.10008.5.1.4.1.1.2"))
    assert (3, True) == (heard.reply[0], heard.is_over)


def test_a_message_in_pieces() -> None:
    """Command and data set in any number of values and PDUs; answered in its own context with its own number."""
    association = Association()
    association.feed(associate(STEP, syntax=EXPLICIT))
    words = command(CREATE)
    data = element(0x0040_0252, b"IN PROGRESS ", "CS")
    assert None is association.feed(pdu(4, value(words[:10], 1) + value(words[10:], 3))).request
    assert None is association.feed(pdu(4, value(data[:5], 0))).request
    request = association.feed(pdu(4, value(data[5:], 2))).request
    assert Request(1, CREATE, 7, "1.2.3", data, True) == request
    answer = association.answer(request, 0)
    assert (4, 1, 3) == (answer[0], answer[10], answer[11])
    assert element(0x0120, b"\7\0") + element(0x0800, b"\1\1") + element(0x0900, b"\0\0") + element(0x1000, b"1.2.3\0") in answer
    assert (6, True) == ((heard := association.feed(pdu(5, bytes(4)))).reply[0], heard.is_over)


@pytest.mark.parametrize(
    "pdus",
    [
        (pdu(4, value(b"", 3)),), (pdu(5, bytes(4)),), (associate(STEP), associate(STEP)), (associate(STEP), pdu(4, value(b"x" * 8, 3, context=9))),
        (associate(STEP), pdu(4, value(command(CREATE), 3)), pdu(4, value(command(CREATE), 3))), (associate(STEP), pdu(4, value(b"x" * 8, 2))),
        (associate(STEP), pdu(4, b"\0\0\0\1\1\3")), (associate(STEP), pdu(4, value(element(0x0008_0100, b"\0\0"), 3))), (associate(),),
        (associate(STEP), pdu(4, value(element(0x0100, b"\0"), 3))), (associate(STEP), pdu(3, bytes(4))), (pdu(1, bytes(60)),),
        (associate(STEP), pdu(4, value(command(CREATE), 3)), *[pdu(4, value(bytes(16_000), 0))] * 2_200),
        (associate(STEP), *[pdu(4, value(bytes(16_000), 1))] * (MESSAGE_BYTES_MAX // 16_000 + 1)),
    ],
)  # fmt: skip
def test_what_ends_a_connection(pdus: tuple[bytes, ...]) -> None:
    """Nothing before the association, no second one, no context that was not accepted, no data set before its command, none without end."""
    association = Association()
    with pytest.raises(BadItem):
        for each in pdus:
            association.feed(each)


def test_small_pieces_cost_no_more_than_their_number() -> None:
    """The last pieces of 256 KB of a message, a byte each, take as long as its first: put together anew for each, they took ten times that."""
    piece = struct.pack(">IBB", 3, 1, 1) + b"x"
    data = pdu(4, piece * (PDU_BYTES_MAX // len(piece)))
    count = (256 << 10) // (PDU_BYTES_MAX // len(piece))
    costs: list[list[float]] = []
    for _ in range(3):
        association = Association()
        association.feed(associate(STEP))
        costs.append([])
        for _ in range(count):
            begun = time.process_time()
            association.feed(data)
            costs[-1].append(time.process_time() - begun)
    cheapest = [min(run) for run in zip(*costs, strict=True)]  # what else the machine did meanwhile is in the others

    assert sum(cheapest[-20:]) < 4 * sum(cheapest[:20])


def test_pdus_out_of_a_stream() -> None:
    """Byte by byte or at once; one that is longer than announced, or of no type there is, ends the connection."""
    stream = associate(STEP) + pdu(5, bytes(4))
    framing = DicomFraming()
    assert [1, 5] == [each[0] for byte in stream for each in framing.feed(bytes((byte,)))]
    assert [1, 5] == [each[0] for each in framing.feed(stream)]
    for head in (
        struct.pack(">BBI", 4, 0, PDU_BYTES_MAX + 1),
        struct.pack(">BBI", 1, 0, ASSOCIATE_BYTES_MAX + 1),
        bytes(6),
        b"GET / ",
    ):
        with pytest.raises(BadItem):
            list(DicomFraming().feed(head))


@pytest.mark.parametrize("is_explicit", [False, True])
def test_what_a_step_says(is_explicit: bool) -> None:
    """State, modality, station and place; study, accession and step as pseudonyms; nothing of the patient, whatever else is in it. (S2-130)"""

    def row(tag: int, text: bytes, kind: str) -> bytes:
        return element(tag, text + b" " * (len(text) % 2), kind if is_explicit else "")

    scheduled = row(0x0008_0050, b"99001234", "SH") + row(0x0020_000D, b"1.2.3", "UI")
    item_of = struct.pack("<HHI", 0xFFFE, 0xE000, len(scheduled)) + scheduled
    data = b"".join(
        (row(0x0008_0060, b"XA", "CS"), row(0x0010_0010, b"Quackenbush^Zebulon", "PN"), row(0x0040_0241, b"CARM_7", "AE"),
         row(0x0040_0243, b"OR 3", "SH"), row(0x0040_0252, b"IN PROGRESS", "CS"), element(0x0040_0270, item_of, "SQ" if is_explicit else ""))
    )  # fmt: skip
    told = said(data, is_explicit=is_explicit)
    assert ("mpps/in-progress", "CARM_7") == (told.event, told.device)
    assert {
        "dicom/operation": "N-CREATE", "dicom/modality": "XA", "dicom/station": "CARM_7", "dicom/location": "OR-3",
        "context/order": pseudonym(KEY, "order", "99001234"), "context/study": pseudonym(KEY, "study", "1.2.3"),
        "context/step": pseudonym(KEY, "step", "1.2.3"),
    } == told.fields  # fmt: skip

    ended = said(row(0x0040_0252, b"DISCONTINUED", "CS"), is_explicit=is_explicit, operation=SET)
    assert ("mpps/discontinued", {"dicom/operation", "context/step"}) == (ended.event, set(ended.fields))
    assert "mpps/in-progress" == said(b"", is_explicit=is_explicit, operation=SET).event


@pytest.mark.parametrize(("kind", "size"), [("SQ", 0xFFFF_FFFF), ("SQ", None), ("", 0xFFFF_FFFF), ("", None)])
def test_a_step_of_thousands_of_images_is_over(kind: str, size: int | None) -> None:
    """Its last message lists every one of them: 5,000 fit, with lengths and without."""

    def listed(tag: int, rows: bytes) -> bytes:
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"SQ\0\0" if kind else b"")
        return head + struct.pack("<I", len(rows) if size is None else size) + rows + (b"" if size is None else sequence_end)

    def item_of(rows: bytes) -> bytes:
        return (
            struct.pack("<HHI", 0xFFFE, 0xE000, len(rows) if size is None else size) + rows + (b"" if size is None else item_end)
        )

    item_end, sequence_end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    ui = "UI" if kind else ""
    image = element(0x0008_1150, b"1.2.840.10008.5.1.4.1.1.4\0", ui) + element(
        0x0008_1155, b"1.3.12.2.1107.5.2.43.66001.2026112210150012345678000001", ui
    )
    data = element(0x0040_0252, b"COMPLETED ", "CS" if kind else "") + listed(
        0x0040_0340, item_of(listed(0x0008_1140, item_of(image) * 5_000))
    )
    association = Association()
    association.feed(associate(STEP, syntax=EXPLICIT if kind else IMPLICIT))
    association.feed(pdu(4, value(command(SET), 3)))
    request = None
    for at in range(0, len(data), 16_000):
        request = association.feed(pdu(4, value(data[at : at + 16_000], 2 if at + 16_000 >= len(data) else 0))).request

    assert request is not None
    assert "mpps/completed" == decoded(request, "MR").event


def test_lengths_that_are_not_said() -> None:
    """A sequence and an item up to their delimiters."""
    inner = element(0x0008_0050, b"99001234")
    data = struct.pack("<HHI", 0x0040, 0x0270, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    data += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + element(0x0040_0252, b"COMPLETED ")
    told = said(data)
    assert ("mpps/completed", pseudonym(KEY, "order", "99001234")) == (told.event, told.fields["context/order"])


def test_an_element_of_unknown_kind_whose_length_is_not_said() -> None:
    """In explicit VR what is inside of UN is implicit, whatever is around it; a step with a private sequence is one all the same."""
    inner = element(0x0009_1001, b"private") + struct.pack("<HHI", 0x0009, 0x1002, 0xFFFFFFFF)
    inner += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = (
        struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    )
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    told = said(unknown + element(0x0040_0252, b"COMPLETED ", "CS"), is_explicit=True)

    assert "mpps/completed" == told.event


@pytest.mark.parametrize("is_explicit", [False, True])
def test_a_step_with_thousands_of_images(is_explicit: bool) -> None:
    """The end of a study of 12,000 images, each of them named behind what is read, is one like any other; the next message is whole again."""
    association = Association()
    association.feed(associate(STEP, syntax=EXPLICIT if is_explicit else IMPLICIT))
    image = element(0x0008_1150, b"1.2.840.10008.5.1.4.1.1.4\0", "UI" if is_explicit else "")
    image += element(0x0008_1155, b"2.25.208236419480733186011466180183925163241".ljust(46, b"\0"), "UI" if is_explicit else "")
    images = (struct.pack("<HHI", 0xFFFE, 0xE000, len(image)) + image) * 12_000
    listed = (
        struct.pack(
            "<HH2sHI" if is_explicit else "<HHI", *((0x0040, 0x0340, b"SQ", 0) if is_explicit else (0x0040, 0x0340)), len(images)
        )
        + images
    )
    kind = "CS" if is_explicit else ""
    for state, data in (("completed", element(0x0040_0252, b"COMPLETED ", kind) + listed), ("in-progress", b"")):
        assert None is association.feed(pdu(4, value(command(SET), 3))).request
        pieces = [data[at : at + 16_000] for at in range(0, len(data), 16_000)] or [b""]
        for piece in pieces[:-1]:
            assert None is association.feed(pdu(4, value(piece, 0))).request
        request = association.feed(pdu(4, value(pieces[-1], 2))).request
        assert request is not None

        assert f"mpps/{state}" == decoded(request, "CT_1").event


@pytest.mark.parametrize(
    "data",
    [
        b"\1", element(0x0040_0252, b"BROKEN"), struct.pack("<HHI", 0x0008, 0x0060, 99) + b"XA",
        (struct.pack("<HHI", 0x0040, 0x0270, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * (DEPTH_MAX + 1),
        struct.pack("<HHI", 0x0008, 0x0060, 0) * 70_000, element(0x0040_0270, element(0x0008_0050, b"1 ")),
    ],
)  # fmt: skip
def test_what_is_no_step(data: bytes) -> None:
    """A state nobody has, values that reach beyond, depth and number without end: refused, with what was expected."""
    with pytest.raises(BadItem, match="expected"):
        said(data)


STREAM = st.lists(
    st.binary(max_size=40)
    | st.sampled_from(
        [associate(STEP, VERIFICATION), pdu(4, value(command(CREATE), 3)), pdu(4, value(command(ECHO, has_data=False), 3, context=3)), pdu(5, bytes(4)),
         pdu(4, value(element(0x0040_0252, b"COMPLETED "), 2)), pdu(7, bytes(4)), pdu(4, value(command(SET), 1))]
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=300)
@given(STREAM)
def test_any_bytes(pieces: list[bytes]) -> None:
    """A connection goes on or ends with BadItem, and what is answered is a PDU."""
    framing, association = DicomFraming(), Association()
    try:
        for piece in pieces:
            for each in framing.feed(piece):
                heard = association.feed(each)
                assert not heard.reply or len(heard.reply) == 6 + int.from_bytes(heard.reply[2:6], "big")
                if heard.request is not None:
                    assert 4 == association.answer(heard.request, 0)[0]
                    decoded(heard.request, association.caller)
    except BadItem:
        return


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_any_data_set(data: bytes, is_explicit: bool) -> None:
    """A step or BadItem."""
    try:
        assert str(said(data, is_explicit=is_explicit).event).startswith("mpps/")
    except BadItem:
        return
