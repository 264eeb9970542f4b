"""The serial line: what a person with a cable can ask the box, before there is a network and when there is none.

Reads     the serial line, state/, segments/, receipts/
Writes    the serial line
Trusts    nothing typed; whoever holds the cable may look, and can change nothing
Fails     no line: tries again; a line that takes nothing: what is shown is lost, the box is not
Not for   changing settings or giving commands (a later issue); not for frames or messages, which never cross this line
"""
