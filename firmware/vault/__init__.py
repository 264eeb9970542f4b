"""The store's encryption: opened before anybody records, and in the end erased with its key, which is what flash honours.

Reads     segments/, receipts/, pins/ (what will be gone)
Writes    the receipt of an erasure, outside the store; as FILE.unfinished until the key is destroyed
Trusts    whoever is root on the box and types its name
Fails     no key, another key, no file system that encrypts: said, and nothing is recorded in plain instead; pins: nothing is erased
Not for   hiding anything from who has the running box; nor for deleting some segments (retention)

Why the file system's (drivers/linux/vault.py) and not a format of ours: the investigator opens frames as they lie, a stolen disk says
nothing, and nobody here invents cryptography. What retention deletes is discarded (mount option `discard`); whatever a flash chip
keeps of it is as unreadable as the rest to who has not the key, and to everybody once that is destroyed. An erasure is a deed of a
person at the box, never an order from outside: who can erase evidence from afar has no record.
"""
