"""Old segments into their cold form, in idle time: the same frames and the same seal in less room.

Reads     segments/ (sealed, hot)
Writes    segments/ (frames.cold and cold, then removes frames.pcapng.lz4)
Trusts    nothing: what is written is read back and restored to the sealed bytes before the hot form goes
Fails     disk full or failed: the segment stays hot, tried again in ten minutes; a segment that is not as sealed stays as it is
Not for   deciding what is kept (retention), nor for segments still being written
"""
