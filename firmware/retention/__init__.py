"""What is old, or in the way, is deleted: oldest first, with a signed receipt for every segment, never what is pinned.

Reads     segments/ (seals), groups/, sent/, pins/, receipts/
Writes    receipts/, trash/, inbox/; deletes in segments/, groups/, sent/
Trusts    seals for a segment's age; the clock only while it does not step
Fails     clock in doubt: nothing is deleted for its age, only for room; disk full: a reserve pays for the receipts
Not for   deciding what may leave; not for quarantine and the outbox, which it never deletes; of receipts it keeps a sum at least
"""
