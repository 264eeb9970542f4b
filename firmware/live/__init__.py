"""Numbers of chosen streams, as they happen, made few enough for any line: for watching, not for proving.

Reads     the tap (the chosen protocols' frames), never sends; DECODERS.md of the core's streams says which
Writes    inbox/ as live-<tai ns>-<n>
Trusts    nothing in a frame; a stream leaves only under the name the site gave it, and its values only as numbers
Fails     disk full or interface gone: what was heard meanwhile is dropped and counted, the recording has it; tries again each second
Not for   evidence (retrieval), alarms (intake), every sample there was (capture)
"""
