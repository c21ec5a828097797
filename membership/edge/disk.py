"""The shared disk as a channel: one thread, one exchange outstanding, and a loop that never waits.

A disk can take minutes to answer, or never answer. Nothing can call off what was handed to the
kernel; so nothing else is begun until it comes back, and what comes back late is no news.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from membership.edge.clock import boot_s
from membership.edge.slot_file import SlotFile, TooSmall
from membership.events import DiskFailed, SlotsRead
from schema.model import Frozen

Answer = SlotsRead | DiskFailed


class Blocks(Protocol):
    """What a disk does; each call may take for ever."""

    def replaced(self) -> bool: ...
    def write(self, block: int, data: bytes) -> None: ...
    def read(self, slots: int) -> tuple[bytes, ...]: ...
    def close(self) -> None: ...


class _Exchange(Frozen, frozen=True, kw_only=True):
    """Write `data` into `slot`, then read the first `slots` slots."""

    number: int
    slot: int
    data: bytes
    slots: int


class Disk:
    """`answered` gets one answer for each exchange, in the loop. Beside `opened` nothing blocks."""

    def __init__(
        self,
        path: Path,
        loop: AbstractEventLoop,
        answered: Callable[[Answer], None],
        opened: Callable[[Path], Blocks] = lambda path: SlotFile(path, writing=True),
    ) -> None:
        self._loop = loop
        self._answered = answered
        self._work: SimpleQueue[_Exchange | None] = SimpleQueue()
        self._number = 0
        self._outstanding: int | None = None
        self._given_up = False
        self._began_s = 0.0
        self._closed = False
        self._settled = asyncio.Event()
        self._settled.set()
        worker = _Worker(path, opened, self._work, self._came_back)
        # A daemon: a thread that the kernel does not let go must not keep the process.
        Thread(target=worker.run, name=f"disk {path}", daemon=True).start()

    def exchange(self, slot: int, data: bytes, slots: int, patience_s: float) -> None:
        """Answers DiskFailed soon where the one before is still out and was given up."""
        if self._outstanding is not None:
            if self._given_up:
                # Not from here: whoever asks is still in the middle of a step.
                self._loop.call_soon(self._answered, self._slow())
            return
        self._number += 1
        self._outstanding, self._given_up, self._began_s = self._number, False, boot_s()
        self._settled.clear()
        self._loop.call_later(patience_s, self._out_of_patience, self._number)
        self._work.put(_Exchange(number=self._number, slot=slot, data=data, slots=slots))

    async def settled(self) -> None:
        """Waits until nothing is outstanding."""
        await self._settled.wait()

    def close(self) -> None:
        """No answer comes any more."""
        self._closed = True
        self._work.put(None)

    def _out_of_patience(self, number: int) -> None:
        if self._outstanding == number and not self._closed:
            self._given_up = True
            self._answered(self._slow())

    def _slow(self) -> DiskFailed:
        return DiskFailed(reason=f"slow: no answer for {boot_s() - self._began_s:.0f} s")

    def _came_back(self, number: int, answer: Answer) -> None:
        """Called in the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, number, answer)

    def _take(self, number: int, answer: Answer) -> None:
        given_up = self._given_up
        assert self._outstanding == number, "one exchange at a time"
        self._outstanding = None
        self._settled.set()
        if not given_up and not self._closed:
            self._answered(answer)


class _Worker:
    """The thread's side."""

    def __init__(
        self,
        path: Path,
        opened: Callable[[Path], Blocks],
        work: SimpleQueue[_Exchange | None],
        came_back: Callable[[int, Answer], None],
    ) -> None:
        self._path = path
        self._opened = opened
        self._work = work
        self._came_back = came_back
        self._blocks: Blocks | None = None

    def run(self) -> None:
        while (exchange := self._work.get()) is not None:
            self._came_back(exchange.number, self._done(exchange))
        self._let_go()

    def _done(self, exchange: _Exchange) -> Answer:
        try:
            return self._exchanged(exchange)
        except FileNotFoundError:
            answer = DiskFailed(reason=f"missing: {self._path} is not there")
        except TooSmall as error:
            hint = f"cxm heartbeat format {self._path}"
            answer = DiskFailed(reason=f"unformatted: {self._path}: {error.strerror}; run {hint}")
        except OSError as error:
            answer = DiskFailed(reason=f"{self._path}: {error.strerror or error}")
        self._let_go()
        return answer

    def _exchanged(self, exchange: _Exchange) -> SlotsRead:
        if self._blocks is not None and self._blocks.replaced():
            self._let_go()
        if self._blocks is None:
            self._blocks = self._opened(self._path)
        began_s = boot_s()
        self._blocks.write(1 + exchange.slot, exchange.data)
        header, *slots = self._blocks.read(exchange.slots)
        return SlotsRead(began_s=began_s, header=header, slots=tuple(slots))

    def _let_go(self) -> None:
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            try:
                blocks.close()
            except OSError:
                return
