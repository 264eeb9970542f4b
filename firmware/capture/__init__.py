"""Frames from the operating-room network into sealed segments, whatever else happens.

Reads     the tap, segments/ (what the last process left hidden), receipts/ (of deleted segments), state/ (clock, session)
Writes    segments/, inbox/
Trusts    nothing in a frame but its length and the kernel's stamp, and that only within a minute of the box's clock
Fails     disk full or refusing: keeps reading, drops the newest, counts them by cause and says so in the next seal;
          interface gone, or its cable: keeps the segment open, tries again, hears the others;
          power cut: at the next start seals what reached the disk
Not for   parsing what a frame carries; ask retrieval or intake
"""
