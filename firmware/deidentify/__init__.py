"""The only door: what may leave, without anything identifiable.

Reads     release/, and what the uplink says about its link (state/)
Writes    outbox/, and nobody else does; inbox/ (what it discarded as too old)
Trusts    tags to add to what it finds itself, never to take away from it; of a frame only headers it understands and whose checksums hold
Fails     disk full: leaves the item, tries again each second; an item it cannot read goes to quarantine and stays in the house
Not for   the originals (group keeps them, segments have the frames), sending (uplink), deciding what is worth sending
"""
