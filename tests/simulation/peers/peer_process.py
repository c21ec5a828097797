"""A machine's clocks, and a process on it that can be stopped as well as killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

from membership.events import Instant
from tests.simulation.process import Process

T = TypeVar("T")


class NodeClock:
    """CLOCK_BOOTTIME and CLOCK_MONOTONIC of one machine. True time is the event loop's.

    `rate`: seconds that it counts in a true one; `began_s` is what it shows at true time 0.
    """

    def __init__(self, rate: float, began_s: float) -> None:
        self.rate = rate
        self._boot_s = began_s
        self._mono_s = began_s
        self.wall_s = 0.0
        """How far the wall clock is from the pool's."""

    def boot_s(self) -> float:
        return self._boot_s + self.rate * asyncio.get_running_loop().time()

    def now(self) -> Instant:
        passed_s = self.rate * asyncio.get_running_loop().time()
        return Instant(boot_s=self._boot_s + passed_s, mono_s=self._mono_s + passed_s)

    def true_s(self, boot_s: float) -> float:
        """The true time at which CLOCK_BOOTTIME shows this, unless it is stepped before."""
        return (boot_s - self._boot_s) / self.rate

    def slept(self, seconds: float) -> None:
        """The machine was suspended for so long: CLOCK_MONOTONIC stood still."""
        self._mono_s -= self.rate * seconds

    def step(self, seconds: float) -> None:
        """CLOCK_BOOTTIME jumps ahead, as where a virtual machine is told that it was away."""
        self._boot_s += seconds


class Stoppable(Process):
    """A process that SIGSTOP holds between any two steps of its tasks: none runs until it goes on."""

    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__(kill_at)
        self._stopped: asyncio.Event | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped is not None

    def stop(self) -> None:
        if self.alive and self._stopped is None:
            self._stopped = asyncio.Event()

    def go_on(self) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.set()

    def die(self) -> None:
        """A stopped process dies like every other."""
        super().die()
        self.go_on()

    def driven(self, main: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return _Driven(main, self)

    def door(self) -> Generator[Any, None, bool] | None:
        """What to wait for before the next step; None while nothing is to be waited for."""
        return self._stopped.wait().__await__() if self._stopped is not None else None


class _Driven(Coroutine[Any, Any, T]):
    """A coroutine with a door before each step. What comes while it is shut is thrown in later."""

    def __init__(self, main: Coroutine[Any, Any, T], process: Stoppable) -> None:
        self._main = main
        self._process = process
        self._door: Generator[Any, None, bool] | None = None
        self._late: BaseException | None = None

    def send(self, value: Any) -> Any:
        del value
        if self._door is not None:
            try:
                return self._door.send(None)
            except StopIteration:
                self._door = None
        return self._stepped()

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        error = kind if isinstance(kind, BaseException) else kind(value)
        self._late = error.with_traceback(traceback)
        if self._door is not None:
            self._door.close()
        return self._stepped()

    def _stepped(self) -> Any:
        self._door = self._process.door()
        if self._door is not None:
            return self._door.send(None)
        late, self._late = self._late, None
        return self._main.send(None) if late is None else self._main.throw(late)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        self._main.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise NotImplementedError("it is for a task, which never awaits it")
