"""What the hub advises, to the people in the room: on the box always, on the room's network only where the site has switched that on.

Reads     commands/verified/feedback/
Writes    feedback/ (what is advised now), inbox/ (that it was shown, or why not); datagrams to the room, if anything
Trusts    the order (command has verified it), but not its parameters; no sentence but its own
Fails     too late: refused, and the hub is told; interface gone: shown on the box alone, and the hub is told that; disk full: waits
Not for   commanding anything: there is nothing in it that a machine could carry out
"""
