"""Messages of the inbox into groups: by priority, then by interval of their origin time; or by event.

Reads     inbox/, flush/ (somebody wants everything on its way now)
Writes    release/ (what may be considered for leaving), groups/ (the same, whole, kept by priority), inbox/ (what it discarded),
          noticed/ (copies for those who wait for certain messages)
Trusts    nothing but the message format; a batch that is not one goes to quarantine
Fails     disk full: leaves everything in the inbox and tries again each second; power cut: the inbox is the memory
Not for   deciding what is sensitive (tags come with the message), sending, deleting groups (retention)
"""
