"""A ring that was opened before this process could run, by the holder in the initramfs (rootfs/usr/lib/scrubjay/initramfs/ringhold.c).

The kernel has filled it since; nobody has read it. Who takes it has every frame from then on, and is its only owner.
"""

import socket

from drivers.linux.held_ring import HeldRing

HOLDER = "\0scrubjay-ring"  # an abstract name: it belongs to the network namespace, as the interfaces do
PATIENCE_S = 2.0  # The holder answers at once or is busy with another interface's owner, who has five seconds.
TEXT_BYTES_MAX = 64


def taken(interface: str, *, holder: str = HOLDER) -> HeldRing | None:
    """The ring that is held for this interface, or None: nobody holds one, or it was taken before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as door:
        door.settimeout(PATIENCE_S)
        try:
            door.connect(holder)
            door.send(interface.encode())
            text, descriptors, _, _ = socket.recv_fds(door, TEXT_BYTES_MAX, 1)
            if not descriptors:
                return None
            sizes = [int(word) for word in text.split()]
            if len(sizes) != 3:
                raise ValueError
            door.send(b"k")  # Only now it is ours; before, the holder keeps it.
        except (OSError, ValueError):
            return None
    return HeldRing(descriptors[0], *sizes)
