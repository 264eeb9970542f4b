"""What may leave, to the hub: the most important first, and nothing forgotten before the hub has it.

Reads     outbox/, wanted/, the broker; as a relay's, what it says of its boxes (presence)
Writes    sent/, commands/received/, downloads/, quarantine/; as a relay's, commands passing to its boxes
Trusts    an acknowledgement on our own topic; the broker keeps strangers off it. A command is handed on unread, and of a file only
          that it has the digest that was wanted
Fails     broker away, refusing or forgetful: everything stays in outbox/ and is sent again; duplicates are the hub's to absorb. No room
          left: the least important and oldest goes, counted
Not for   choosing or changing what leaves (deidentify), nor for verifying commands (command)
"""
