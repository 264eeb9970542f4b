"""Task devices with clocks of their own, and the devices nobody wants: what the box's time has to be right about, and survive.

virtual_clock   offset, drift, steps; and the truth about them     servo          what steers it
ordinary_clock  PTPv2.1 slave, answers NetSync Monitor, management character      synchronised, free, lying, jumping, silent, 1970
line, sockets   what it speaks through                             device         the process: `python -m simulator.ptp.device`
slow_line       slower one way than the other                      hostile        malformed, replayed, too much
grandmaster     ours, also the rogue one                           linuxptp       theirs, unmodified
time_room       all of them in namespaces                          virtual_room   all of them in virtual time
virtual_net, box_end, control   what stands for cables, the box's socket, and ptp4l's    weather   what happens to clocks
"""
