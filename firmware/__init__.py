"""The program that runs on box, relay and hub; it knows no Linux, no hardware, no randomness and no clock of its own.

Start with `TOUR.md`, which follows one frame and one message through it.
"""
