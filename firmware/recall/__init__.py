"""Published messages intake did not hear, or could not keep, read back from the segments: the recording is the truth.

Reads     missed/, segments/, summary/
Writes    inbox/ as recall-<tai ns>-<n>
Trusts    the stretch of time in missed/; of a frame and a message as much as intake does, by the same entrance
Fails     disk full: waits with what it has found; a crash: the stretch is read again, its messages have the same identities
Not for   frames as evidence (retrieval); messages that did not pass the mirror port, whose senders wait for our answer
"""
