"""What every station is made of: the spool, the message, the segment, time, settings, signatures, troubles and reports."""
