"""What may leave, to the hub: the most important first, and nothing forgotten before the hub has it.

Reads     outbox/, the broker
Writes    sent/, commands/received/, quarantine/
Trusts    an acknowledgement on our own topic; the broker keeps strangers off it. A command is handed on unread
Fails     broker away, refusing or forgetful: everything stays in outbox/ and is sent again; duplicates are the hub's to absorb
Not for   choosing or changing what leaves (deidentify), nor for verifying commands (command)
"""
