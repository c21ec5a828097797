"""The daemon's time: monotonic while it runs, and never running backwards from one run to the next.

`mono_s` counts seconds as the event loop does, but starts at the wall clock's epoch seconds, so that
a time written to the journal by one run means the same to the next one: nothing has to be converted
on reading. The start is never earlier than the newest record. A machine that comes up with its clock
in the past would otherwise find back-offs that end years ahead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from membership.clock import Now


class DaemonClock:
    """`not_before_s` is the newest time in the journal, 0 where there is none."""

    def __init__(self, not_before_s: float = 0.0, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._offset_s = max(wall(), not_before_s) - _loop_s()

    def now(self) -> Now:
        return Now(mono_s=_loop_s() + self._offset_s, epoch_s=self._wall())

    def from_loop(self, loop_s: float) -> float:
        """The event loop's time as ours."""
        return loop_s + self._offset_s

    def seconds_until(self, mono_s: float) -> float:
        return max(0.0, mono_s - self._offset_s - _loop_s())


def _loop_s() -> float:
    return asyncio.get_running_loop().time()
