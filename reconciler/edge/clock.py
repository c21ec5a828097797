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
    """`not_before_s` is the newest time in the journal, 0 where there is none. `boot` counts seconds
    and goes on while the machine sleeps, so that a lease, and an observation, age with it."""

    def __init__(
        self,
        not_before_s: float = 0.0,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] | None = None,
    ) -> None:
        self._wall = wall
        self._boot = boot or _loop_s
        self._offset_s = max(wall(), not_before_s) - self._boot()

    def now(self) -> Now:
        return Now(mono_s=self.from_boot(self._boot()), epoch_s=self._wall())

    def from_boot(self, boot_s: float) -> float:
        """A moment of the machine's clock, as ours."""
        return boot_s + self._offset_s

    def from_loop(self, loop_s: float) -> float:
        """A moment of the event loop, as ours: so long ago as it was."""
        return self.from_boot(self._boot() - (_loop_s() - loop_s))

    def seconds_until(self, mono_s: float) -> float:
        return max(0.0, mono_s - self.from_boot(self._boot()))


def boot_s() -> float:
    """Seconds since the machine booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _loop_s() -> float:
    return asyncio.get_running_loop().time()
