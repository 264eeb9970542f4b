"""What the hub should know about the box itself: figures every minute, and at once when something begins or ends to go wrong.

Reads     state/ (every process's figures), the names in segments/
Writes    inbox/
Trusts    the figures' order of magnitude; a state file that makes no sense is itself reported
Fails     disk full: what could not be said is kept (64 changes) and said later; figures are skipped and counted
Not for   restarting anything; the keeper does. Not for history; the hub keeps it
"""
