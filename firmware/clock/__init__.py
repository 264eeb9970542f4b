"""How good the box's time is: said once a second, and out loud when it steps or loses its source.

Reads     the board's clock
Writes    state/ (clock), inbox/
Trusts    the clock driver's own word on source and uncertainty, and that monotonic time does not step
Fails     disk full: the state goes stale, steps are still counted; what could not be said is counted as a drop
Not for   steering: ptp4l and phc2sys keep the clock, and reading them (offset of each device, grandmaster) is a later issue
"""
