"""What systemd wants to hear, by its datagram socket; nothing where nobody listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Supervisor:
    """`environ`: NOTIFY_SOCKET and WATCHDOG_USEC as systemd sets them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._path = "\0" + path[1:] if path.startswith("@") else path
        bound_us = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(bound_us) / 1e6 if bound_us.isdigit() and path else None

    def tell(self, state: str) -> None:
        """`READY=1`, `WATCHDOG=1`, `STOPPING=1`. A supervisor that is away is not our business."""
        if not self._path:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.setblocking(False)
            try:
                door.sendto(state.encode(), self._path)
            except OSError:
                return


def supervisor() -> Supervisor:
    return Supervisor(os.environ)
