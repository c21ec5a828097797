"""The log of `cxm-heartbeatd`: one line of JSON on stderr per event, and never a reason to stop.

A line that cannot be written at once is dropped: nothing here may wait for whoever reads the log.
"""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec


def info(event: str, **fields: Any) -> None:
    _write(event, "info", fields)


def warning(event: str, **fields: Any) -> None:
    _write(event, "warning", fields)


def error(event: str, **fields: Any) -> None:
    _write(event, "error", fields)


def _write(event: str, level: str, fields: dict[str, Any]) -> None:
    line = {**fields, "event": event, "level": level, "timestamp": _stamp(time.time())}
    try:
        os.write(2, msgspec.json.encode(line, enc_hook=repr) + b"\n")
    except (OSError, TypeError, ValueError):
        return


def _stamp(epoch_s: float) -> str:
    """UTC with microseconds, as the other daemon's log has it."""
    whole, part = divmod(int(epoch_s * 1e6), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:06d}Z"
