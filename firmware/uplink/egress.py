"""The way out shaped as the settings say, where this machine owns it. Run once at boot, by who may change queues; the uplink may not."""

from drivers.egress import Egress
from firmware.uplink.settings import UplinkSettings


def brought_about(egress: Egress, settings: UplinkSettings) -> str:
    """Do it, and say so in a sentence. Raises EgressFailed; everything works without, an alarm takes some tens of ms longer."""
    interface, rate = settings.egress_interface, settings.egress_kbit
    if not interface:
        return "no egress_interface is set: the way out is not this machine's"
    if not rate:
        egress.release(interface)
        return f"{interface} is not shaped"
    egress.shape(interface, rate)
    return f"{interface} lets {rate} kbit/s out, what is urgent first"
