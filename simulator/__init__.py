"""A world to run the firmware in: the contracts of `drivers/` once more, simulated, from one seed and in virtual time.

`world` holds a whole box and a hub, `storm` throws faults at it, `checkers` says what must still be true afterwards.
"""
