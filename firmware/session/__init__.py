"""When a procedure, an exercise or a test begins and ends: by what is published, by hand, or by the hub's order.

Reads     noticed/session/, commands/verified/session/, groups/ (what was said during it)
Writes    session/ (the one that is open, the last one), flush/ (everything on its way now), inbox/ (its beginning and end), state/
Trusts    an event for saying that something began or ended, and for nothing else; orders command has verified
Fails     disk full: tries again, the session stays as it was; a crash: closing goes on where it was. Recording never depends on it,
          unless the site has said that nothing outside sessions is recorded
Not for   deciding what may leave, deleting anything; the hub processes, relays keep nothing the hub has
"""
