"""PTP as linuxptp and others write it, byte for byte; and scapy's layer, which knows nothing of ours."""

from pathlib import Path

import pytest
from scapy.contrib.ptp_v2 import PTP

from firmware.core import frame, ptp, ptp_datasets
from firmware.core.ptp import Action, Flags, MessageType, PortIdentity
from firmware.core.ptp_datasets import NetSyncResponse, PortDataSet, PortState
from simulator.capture_file import frames

HERE = Path(__file__).parent
LINUXPTP = HERE / "ptp-linuxptp-3.1.1.txt"
RECORDINGS = HERE.parents[2] / "shared" / "data" / "pcap" / "ptp"
GOLDEN = dict(line.split() for line in LINUXPTP.read_text().splitlines() if not line.startswith("#"))
SLAVE = PortIdentity(bytes.fromhex("a690edfffeb3d9a0"), 1)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_linuxptp_is_read_and_written_alike(name: str) -> None:
    """Every message ptp4l, pmc and nsm exchanged comes out of the packer as it went into the parser. (S2-010)"""
    data = bytes.fromhex(GOLDEN[name])

    assert data == ptp.packed(ptp.unpacked(data))


@pytest.mark.parametrize("name", sorted(name for name in GOLDEN if "_response_" in name and name[-4:] not in ("0002", "200b")))
def test_data_sets_are_read_and_written_alike(name: str) -> None:
    """So is what the slave says of itself."""
    message = ptp.unpacked(bytes.fromhex(GOLDEN[name]))

    assert message.tlvs[0] == ptp_datasets.statement(ptp_datasets.answer(message))  # type: ignore[arg-type]


def test_questions_are_those_of_pmc() -> None:
    """The GET we make is pmc's, byte for byte, with the identity and number of the one who asks."""
    theirs = ptp.unpacked(bytes.fromhex(GOLDEN["master_management_get_port_data_set"]))
    empty = ptp.Tlv(theirs.tlvs[0].type, theirs.tlvs[0].value[:2])  # pmc fills the data with zeros, which nobody reads
    ours = ptp_datasets.request(
        ptp_datasets.question(ptp_datasets.ManagementId.PORT_DATA_SET), source=theirs.sourcePortIdentity, target=ptp.ALL_PORTS,
        sequence=theirs.sequenceId, domain=0,
    )  # fmt: skip

    assert (empty,) == ours.tlvs
    assert ptp.packed(ours)[4:50] == ptp.packed(theirs)[4:50]
    assert Action.GET is ours.management.action  # type: ignore[union-attr]


def test_a_probe_and_its_answer() -> None:
    """nsm's probe is a unicast DELAY_REQ with an empty TLV; ptp4l's answer carries what it believes of itself."""
    probe = ptp.unpacked(bytes.fromhex(GOLDEN["master_delay_req_monitored"]))
    assert (MessageType.DELAY_REQ, (ptp_datasets.monitor_request(),)) == (probe.messageType, probe.tlvs)
    assert Flags.UNICAST in probe.flags
    response = ptp.unpacked(bytes.fromhex(GOLDEN["slave_delay_resp_monitored"]))
    said = ptp_datasets.monitored(response)

    assert isinstance(said, NetSyncResponse)
    assert (PortState.UNCALIBRATED, bytes([10, 78, 0, 1]), 1) == (said.portState, said.parentAddress, said.current.stepsRemoved)
    assert "f2e6d1.fffe.080fdd-1" == str(said.parent.parentPortIdentity)
    assert response.tlvs[0] == ptp_datasets.monitor_response(said)
    assert probe.sourcePortIdentity == response.requestingPortIdentity


def test_the_slave_says_its_state() -> None:
    """PORT_DATA_SET, number by number as pmc printed it."""
    said = ptp_datasets.answer(ptp.unpacked(bytes.fromhex(GOLDEN["slave_management_response_port_data_set"])))

    assert PortDataSet(SLAVE, PortState.UNCALIBRATED) == said


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the shared recordings are not on this machine")
@pytest.mark.parametrize(("recording", "count"), [("ptp.pcap", 5), ("ptp_ethernet.pcap", 205), ("ptp_management.pcap", 10), ("ptp_v2_1.pcap", 38)])  # fmt: skip
def test_recordings_of_others(recording: str, count: int) -> None:
    """Every message of four foreign recordings is read, and scapy reads the same header in it. (S2-014)"""
    seen = 0
    for heard in frames(RECORDINGS / recording):
        parsed = frame.parsed(heard.data)
        data = bytes(heard.data[parsed.payload_start : parsed.payload_end])
        message, theirs = ptp.unpacked(data), PTP(data)
        seen += 1
        assert theirs.messageType == message.messageType
        assert (theirs.domainNumber, theirs.sequenceId, theirs.correctionField) == (
            message.domainNumber,
            message.sequenceId,
            message.correctionField,
        )
        assert theirs.logMessageInterval == message.logMessageInterval
        if message.messageType in (MessageType.SYNC, MessageType.DELAY_REQ):
            assert theirs.originTimestamp_seconds * 10**9 + theirs.originTimestamp_nanoseconds == message.timestamp

    assert count == seen
