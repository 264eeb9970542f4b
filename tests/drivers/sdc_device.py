"""A medical device for the tests of SDC: the library's own provider with one alert condition. Told what to do by lines of standard input.

python sdc_device.py ADDRESS UUID [KEY CERTIFICATE CA]    then: "alert Hi 1" (priority, present), "bye"; answers each with a line
With the PEM files it speaks TLS, and only to those whom CA has certified.
"""

import logging
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from sdc11073.certloader import mk_ssl_contexts
from sdc11073.location import SdcLocation
from sdc11073.mdib import ProviderMdib
from sdc11073.provider import SdcProvider
from sdc11073.wsdiscovery import WSDiscovery
from sdc11073.xml_types import pm_types
from sdc11073.xml_types.dpws_types import ThisDeviceType, ThisModelType

MDIB = """<?xml version="1.0" encoding="UTF-8"?>
<msg:GetMdibResponse xmlns:msg="http://standards.ieee.org/downloads/11073/11073-10207-2017/message"
    xmlns:pm="http://standards.ieee.org/downloads/11073/11073-10207-2017/participant"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" SequenceId="urn:uuid:{sequence}">
  <msg:Mdib SequenceId="urn:uuid:{sequence}"><pm:MdDescription><pm:Mds Handle="mds0">
    <pm:Type Code="69986"/>
    <pm:AlertSystem Handle="asy" SelfCheckPeriod="PT5S">
      <pm:AlertCondition Handle="low-pressure" xsi:type="pm:AlertConditionDescriptor" Kind="Phy" Priority="Me">
        <pm:Type Code="196670"><pm:ConceptDescription Lang="en-US">airway pressure low</pm:ConceptDescription></pm:Type>
        <pm:Source>mds0</pm:Source>
      </pm:AlertCondition>
    </pm:AlertSystem>
    <pm:SystemContext Handle="SC"><pm:PatientContext Handle="PC"/><pm:LocationContext Handle="LC"/></pm:SystemContext>
  </pm:Mds></pm:MdDescription></msg:Mdib>
</msg:GetMdibResponse>
"""


def main() -> None:
    """Until "bye", or standard input ends."""
    logging.disable(logging.CRITICAL)
    address, identifier = sys.argv[1], uuid.UUID(sys.argv[2])
    tls = mk_ssl_contexts(*map(Path, sys.argv[3:])) if sys.argv[3:] else None
    with TemporaryDirectory() as place, WSDiscovery(address) as discovery:
        file = Path(place) / "mdib.xml"
        file.write_text(MDIB.format(sequence=identifier))
        mdib = ProviderMdib.from_mdib_file(str(file))
        provider = SdcProvider(
            ws_discovery=discovery,
            this_model=ThisModelType(manufacturer="test", manufacturer_url="", model_name="pump", model_number="1", model_url="", presentation_url=""),
            this_device=ThisDeviceType(friendly_name="pump", firmware_version="1", serial_number="1"),
            device_mdib_container=mdib, epr=identifier, ssl_context_container=tls,
        )  # fmt: skip
        provider.start_all(start_rtsample_loop=False)
        provider.set_location(SdcLocation(fac="HOSP", poc="OR", bed="3"))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            words = line.split()
            if words[0] == "bye":
                break
            with mdib.alert_state_transaction() as transaction:
                state = transaction.get_state("low-pressure")
                state.ActivationState = pm_types.AlertActivation.ON
                state.ActualPriority = pm_types.AlertConditionPriority(words[1])
                state.Presence = words[2] == "1"
                state.DeterminationTime = 1_795_342_500.5
            sys.stdout.write("done\n")
            sys.stdout.flush()
        provider.stop_all()


if __name__ == "__main__":
    main()
