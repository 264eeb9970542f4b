"""Evidence on request: the frames an order asks for, out of the segments, as complete pcapng sections to be considered for leaving.

Reads     commands/verified/retrieval/, segments/, receipts/ (names)
Writes    release/, inbox/, retrieval/ (how far each order has come), summary/ (what whole segments hold)
Trusts    the order (command has verified it, or slice has made it), but not its parameters; nothing in a frame; an index once its checksums hold
Fails     disk full: the part waits; a crash: the request begins again and sends no part twice; a stretch that cannot be read is
          named among what is not held; an order that is never finished goes to quarantine and the hub is told
Not for   deciding what may leave; ask deidentify
"""
