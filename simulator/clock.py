"""Time of the simulated world: real, scaled, or stepped.

One ``Clock`` serves all three. It counts the seconds of the running event loop, so on an ordinary
loop it is real time; on a ``VirtualTimeLoop`` it is stepped, and hours cost no real time. ``speed``
divides the latency of operations (``work``) and nothing else: faults, sessions and the time-outs
that a client chose (``sleep``) keep their length, because the client that sees them is real.
"""

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from simulator.values import DateTime

T = TypeVar("T")

STEPPED_EPOCH = 1_787_392_800.0
"""2026-08-22 10:00:00 UTC: where wall time begins unless somebody says otherwise."""


class Clock:
    """Monotonic and wall time in seconds, and waiting.

    ``epoch`` is the wall time at the first look at the clock; ``speed`` is how many seconds of
    operation latency pass in one second.
    """

    def __init__(self, epoch: float = STEPPED_EPOCH, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.speed = speed
        self._epoch = epoch
        self._origin: float | None = None
        self._ahead = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._alarm: asyncio.TimerHandle | None = None

    @classmethod
    def real(cls, speed: float = 1.0) -> "Clock":
        """A clock whose wall time is this machine's."""
        return cls(time.time(), speed)

    def now(self) -> float:
        """Monotonic seconds: the loop's own, plus every ``advance`` so far."""
        ticks = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = ticks
        return ticks + self._ahead

    def wall(self) -> float:
        """Seconds since 1970 as the simulated hosts believe."""
        now = self.now()
        assert self._origin is not None
        return self._epoch + (now - self._origin)

    def date(self) -> DateTime:
        """The wall time in its wire form."""
        return DateTime.at(self.wall())

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of this clock; ``advance`` shortens the wait."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now() + seconds, next(self._order), wake))
        self._arm()
        await wake

    async def work(self, seconds: float) -> None:
        """Wait as long as an operation of ``seconds`` takes at this clock's speed."""
        await self.sleep(seconds / self.speed)

    def advance(self, seconds: float) -> None:
        """Jump ahead: whatever was to happen within ``seconds`` is due at once.

        The sleepers wake in order, but all of them at the end of the jump: a chain of several
        waits passes only its first. Long operations therefore measure their time, not their waits.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back (asked for {seconds} s)")
        self.now()
        self._ahead += seconds
        self._wake()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._sleepers:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_at(self._sleepers[0][0] - self._ahead, self._wake)

    def _wake(self) -> None:
        # Rounding may ring the alarm a hair early; without the slack it would be set again for
        # "now" and, in virtual time, for ever.
        due = self.now() + 1e-6
        while self._sleepers and self._sleepers[0][0] <= due:
            wake = heapq.heappop(self._sleepers)[2]
            if not wake.done():
                wake.set_result(None)
        self._arm()


class Deadlock(RuntimeError):
    """In virtual time: nobody is ready, nothing is scheduled, so nothing can ever happen again."""


class _JumpingSelector(selectors.DefaultSelector):
    """Answers "nothing happened" at once and lets the loop's time jump over the wait instead."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("everything waits and no timer is set: a lost wake-up, or real IO")
        self.jumped += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever nothing is ready.

    For tests of everything that waits by asyncio: hours pass in milliseconds, and the same
    program gives the same history. Use it through ``run_virtual`` or, with pytest-asyncio, by a
    hook ``pytest_asyncio_loop_factories`` in a folder's conftest that returns
    ``{"virtual": VirtualTimeLoop}``. Not for code that uses threads, child processes or sockets:
    their answers come in real time, and this loop does not wait for it.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.jumped


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
