"""How good the box's time is, and how far each device's clock is from it: measured, said once a second, out loud when it changes.

Reads     the board's clock, chronyd and ptp4l by their control sockets, the room interface, state/ (arrivals, of intake)
Writes    state/ (clock), inbox/
Trusts    that monotonic time does not step, chronyd's bound on its error, and a device's stamps as far as they do not contradict
          the box's own; nobody's name, and no offset a device reports of itself
Fails     disk full: the state goes stale, steps are still counted; chronyd or ptp4l gone: the kernel's word, holdover, and said so;
          room interface gone: tried again, certificates age and expire; what could not be said is counted as a drop
Not for   steering: chronyd, ptp4l and phc2sys keep clocks (GRANDMASTER.md says which); nor the mirror port, on which nothing is sent
"""
