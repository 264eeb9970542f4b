"""The world as the firmware sees it: one contract a file, nothing else.

A contract is a Python `Protocol` with the values that cross it. The real one is `drivers/linux/<name>.py`, the simulated
one `simulator/<name>.py`; one contract test (`tests/drivers/test_<name>.py`) runs against both.
Nothing in this folder imports firmware, simulator or Linux.
"""
