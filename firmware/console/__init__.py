"""The serial line: what a person with a cable can ask the box, before there is a network and when there is none.

Reads     the serial line, state/, segments/, receipts/, summary/, session/, feedback/
Writes    the serial line; a stick that is plugged in; exports/ (who carried what away), inbox/; commands/verified/session/
Trusts    nothing typed; whoever holds the cable may look, say when a session begins and ends and, as settings allow, carry evidence
          away, and can change nothing else
Fails     no line: tries again; a line that takes nothing: what is shown is lost, the box is not; a stick that is full or pulled out:
          nothing complete is on it, and the box says so
Not for   changing settings or giving commands (a later issue); not for frames or messages, which never cross this line
"""
