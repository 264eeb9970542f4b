"""Numbers that robots send, heard in passing: decoders, samplers, and which frames may be left out when less has to leave the box.

`sample.py` is the contract of a decoder, `decoders.py` the table of them, DECODERS.md how to add one. `reduction.py` puts filters,
decoders and samplers together. Everything here is pure, bounded, and reads foreign bytes. The record itself is never reduced.
"""
