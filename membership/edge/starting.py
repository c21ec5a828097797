"""Why a daemon of this room does not start, and the status with which it then ends."""

from __future__ import annotations

EX_USAGE = 64
EX_DATAERR = 65
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_CONFIG = 78
"""Of sysexits.h. The unit does not restart the daemon after 64, 65 and 78: a human has to act."""


class CannotStart(Exception):
    """The daemon cannot start; the text says where, why and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
