"""Evidence nobody has to ask for: an event in a published message, and the frames around it are on their way.

Reads     noticed/slice/ (messages about events this site has named)
Writes    commands/verified/retrieval/ (orders in the box's own name), slice/ (what was ordered lately, what is owed, how far the whole record is), inbox/ (that it was)
Trusts    nothing in a message but that somebody said it: what follows is bounded by the hour, and leaves by the only door
Fails     disk full: the message waits; a crash: the same order again, under the same name; a flood: counted, and said once an hour
Not for   searching (retrieval), deciding what may leave (deidentify), orders from elsewhere (command)
"""
