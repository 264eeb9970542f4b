"""New versions of the application: taken in, copied beside the one at work, tried on the same live frames, and made official.

Reads     updates/received/, downloads/, commands/verified/update/, versions/, segments/, state/, shadow/; the identity's trusted keys
Writes    versions/, updates/, wanted/, shadow/, inbox/
Trusts    nothing of a bundle before its signature; after it the signer, but not its board, age, order or a single byte of its files
Fails     a bad bundle is refused with its reason; a full disk: it waits; a version that does not hold up is taken back by itself, once
Not for   taking an operating system in or changing to it (/usr/lib/scrubjay/slots); deciding who may publish versions, which the trusted keys do
"""
