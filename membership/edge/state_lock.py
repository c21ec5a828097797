"""One daemon of a kind a state directory: two on one would vote, and do everything, twice."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from membership.edge.starting import EX_TEMPFAIL, CannotStart


class StateLock:
    """Held until the process ends, however it ends. Raises CannotStart where `daemon` holds it already."""

    def __init__(self, path: Path, daemon: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise CannotStart(
                EX_TEMPFAIL,
                f"{path.parent} is in use by another {daemon} (pid {pid or 'unknown'}): two on one "
                "state would do everything twice. Stop that one first, or give this one its own "
                "stateDir",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)
