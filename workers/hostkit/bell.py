"""The doorbell of serve: a datagram that names a run and means "look at it again". It may be lost; serve looks by itself each second."""

from __future__ import annotations

import os
import socket

from workers.hostkit.disk import Layout
from workers.hostkit.records import RunFolder

SOCKET = "bell.sock"


class Bell:
    """Rings serve, whichever one is there."""

    def __init__(self, layout: Layout) -> None:
        self._folder = os.open(layout.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # By way of the folder's handle the address is short, however long the home's path is.
        self._address = f"/proc/self/fd/{self._folder}/{SOCKET}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def fileno(self) -> tuple[int, int]:
        """The files it needs open."""
        return self._folder, self._socket.fileno()

    def ring(self, folder: RunFolder) -> None:
        words = f"{folder.fence.name} {folder.id}"
        try:
            self._socket.sendto(words.encode(), self._address)
        except OSError:
            return  # nobody is in, or the bell rings already
