"""Published messages from the room into the inbox, alarms first.

Reads     the tap (UDP to the message ports), never sends there; FORMAT.md says what a device writes; state/ (clock: senders' clocks)
          its doors, where they are switched on: syslog, HL7 v2, DICOM MPPS, OpenIGTLink, answered when durable; alerts of SDC devices
Writes    inbox/ as intake-<tai ns>-<n>, missed/ (stretches it owes, for recall), intake/ (up to where it has heard, the key of its pseudonyms),
          state/ (arrivals: how far behind senders' clocks can be, for the clock station)
Trusts    a frame's source address and the kernel's stamp; of a message nothing: every claim in it is kept as a claim
Fails     disk full: keeps listening, drops the newest of the lowest priority, counts and owes them; interface gone: tries again each second
Not for   frames themselves (capture has them all), deciding what may leave (deidentify)
"""
