"""linuxptp's ptp4l, unmodified, as the room runs it: on UDP/IPv4 unless told otherwise, with software stamps, and steering no clock of this machine."""

from simulator.network import Network


def ptp4l(
    network: Network, host: str, *, priority1: int, slave: bool = False, transport: str = "UDPv4", log_announce: int = 1
) -> list[str]:
    """A ptp4l for this host, with its configuration and its sockets in the network's directories: others on this machine have theirs.

    A slave answers NetSync Monitor; that wants hybrid_e2e, and so its Delay_Req is unicast.
    """
    file = network.directory / f"ptp4l-{host}.cfg"
    text = (
        # A slave waits three of its own intervals for an Announce: it has to know by which the box's ptp4l announces.
        f"[global]\nfree_running 1\nlogSyncInterval -3\nlogAnnounceInterval {log_announce if slave else -2}\nlogMinDelayReqInterval -2\n"
        f"priority1 {priority1}\nuds_address {network.control}/ptp4l-{host}\nnetwork_transport {transport}\n"
    )
    if slave:
        # Its offset once a second, each as it is and not as a mean of many.
        text += "summary_interval -3\nfreq_est_interval 0\n"
        if transport != "L2":  # Over Ethernet ptp4l 3.1 takes its own unicast Delay_Req for a fault of the socket.
            text += "net_sync_monitor 1\nhybrid_e2e 1\n"
    if int(network.run(host, ["ptp4l", "-v"]).strip().partition(".")[0]) >= 4:  # 3.1 does not know the word and ends
        text += f"uds_ro_address {network.control}/ptp4l-{host}-ro\n"
    file.write_text(text)
    return ["ptp4l", "-i", "eth0", "-S", "-m", "-f", str(file), *(["-s"] if slave else [])]
