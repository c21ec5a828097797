"""The two clocks of the heartbeats. No wall clock is among them."""

from __future__ import annotations

import time

from membership.events import Instant


def boot_s() -> float:
    """CLOCK_BOOTTIME: goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> Instant:
    """Both, read one right after the other."""
    return Instant(boot_s=boot_s(), mono_s=time.monotonic())
