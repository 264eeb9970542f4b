"""In the house, between boxes that may not go outside and the hub: keeps what they send until the hub has it, in their name.

Reads     the brokers in the house, sent/, commands/passing/, downloads/, state/ (its own figures, for its health)
Writes    outbox/, incoming/, presence/, wanted/; its health every minute, as a box's; acknowledgements and commands to the boxes; deletes in sent/
Trusts    the broker for which box speaks (its topic); what is inside is the hub's to check, and is handed on byte for byte
Fails     disk or outbox full: takes nothing into custody, and the boxes keep it; outside away: keeps for as long as there is room
Not for   looking into anything, nor for the way outside (uplink, in the same process)
"""
