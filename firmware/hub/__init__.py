"""The fleet's messages in one place, as they arrive, evidence on request, and versions rolled out in phases.

Reads     the brokers, commands/outgoing/, policy/ (the rules), published/; the identity's trusted keys, for who may publish versions
Writes    the database, evidence/, incoming/, published/, quarantine/, news/; acknowledgements and signed commands to the boxes
Trusts    the broker for which box speaks (its topic); what is inside is checked, and shown as text and nothing else
Fails     anything malformed is quarantined, counted by cause and acknowledged as such, so that no box sends it for ever; database
          or disk failing: nothing is acknowledged, and the boxes keep it
Not for   commanding a robot: what it shows and asks is advisory
"""
