"""What waits for the reconciler's turn: events of the world and questions of people."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reconciler.messages import Event, PoolObserved

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Question(Generic[T]):
    """Something to be done between two events, by whoever handles these. Its failure ends the daemon,
    like that of an event."""

    act: Callable[[], T]
    answer: asyncio.Future[T]

    def put(self) -> None:
        result = self.act()
        if not self.answer.done():
            self.answer.set_result(result)


class Inbox:
    """In order of arrival, but that an observation replaces one that still waits: it holds all that
    the older one held, and a busy pool sends them faster than plans are made."""

    def __init__(self) -> None:
        self._items: deque[Event | Question[Any]] = deque()
        self._arrived = asyncio.Event()

    def post(self, item: Event | Question[Any]) -> None:
        if isinstance(item, PoolObserved):
            older = [waiting for waiting in self._items if isinstance(waiting, PoolObserved)]
            for waiting in older:
                self._items.remove(waiting)
        self._items.append(item)
        self._arrived.set()

    async def ask(self, act: Callable[[], T]) -> T:
        """The result of `act`, called in its turn."""
        question = Question(act, asyncio.get_running_loop().create_future())
        self.post(question)
        answer: T = await question.answer
        return answer

    async def take(self, within_s: float | None) -> Event | Question[Any] | None:
        """The next item; None where none came within that time (None: wait for ever)."""
        if not self._items:
            self._arrived.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self._items.popleft()
