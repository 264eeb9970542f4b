"""Orders from outside: verified once, here, before any other station sees them.

Reads     commands/received/, commands/counters/, the identity's trusted keys
Writes    commands/verified/retrieval/, commands/verified/session/, commands/verified/feedback/, commands/verified/update/,
          commands/refused/, commands/counters/, inbox/
Trusts    nothing before the signature; after it the signer, but not the order's age, addressee or novelty
Fails     a bad order is refused, counted by cause and reported; disk full: the order waits where it is
Not for   carrying anything out; each deed has its own station
"""
