"""Follows the pool by `event.from` and knows from which moment its picture is true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct, field

from reconciler.observed import Observed
from xapi.picture import Picture
from xapi.records import CLASSES, NULL, TaskRecord
from xapi.session import LOST, Login, PoolSession
from xapi.tables import UNCOUNTED, Event, Tables
from xapi.transport import FailureKind, JsonValue, TransportFailure, XapiFailure

WAIT_S = 5.0
"""How long the server holds an `event.from` on a quiet pool: the pulse of our sign of life."""

ANSWER_S = WAIT_S + 5.0
GAP_S = WAIT_S + 3.0

FIRST_ANSWER_S = 60.0
"""The first answer holds every record; the real server serialises some 1,000 of them a second."""

REREAD_PAUSE_S = 30.0
"""After a class was read again and still does not count right."""

NO_TOKEN = ""

TOKEN_LOST = frozenset({"EVENT_FROM_TOKEN_PARSE_FAILURE", "EVENTS_LOST"})

_log = logging.getLogger("cxm.xapi")


class _Batch(Struct):
    events: list[Event]
    token: str
    valid_ref_counts: Mapping[str, int] = field(default_factory=dict)


class Cache:
    """Tables, picture and token of one session; a new session means a new token.

    `advance` is called by one task only; everybody may look and wait. `wall` gives epoch seconds,
    which only date what people read.
    """

    def __init__(self, session: PoolSession, by: str, wall: Callable[[], float]) -> None:
        self._session = session
        self._wall = wall
        self.tables = Tables()
        self._picture = Picture(self.tables, by)
        self._picture.unread.update(CLASSES)
        self._token = NO_TOKEN
        self._serial = 0
        self._losses = 0
        self._as_of_s: float | None = None
        self._epoch_s = 0.0
        self._steady_since_s: float | None = None
        self._heard_s = 0.0
        self._barriers: list[tuple[str, float]] = []
        self._reread_s: dict[str, float] = {}
        self._changed = asyncio.Event()

    # --- looking ----------------------------------------------------------------------------------

    @property
    def as_of_s(self) -> float | None:
        """The loop's time since which every change is in the tables; None before the first answer."""
        return self._as_of_s

    def observed(self) -> Observed | None:
        """The picture now, or None where there is none yet."""
        if self._as_of_s is None:
            return None
        assert self._steady_since_s is not None
        return self._picture.observed(self._as_of_s, self._epoch_s, self._steady_since_s)

    def task(self, ref: str) -> TaskRecord | None:
        return self.tables.task.get(ref)

    async def wait_changed(self, at_most_s: float) -> None:
        """Until the next answer of the pool, or `at_most_s` seconds."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()
        except TimeoutError:
            return

    # --- following --------------------------------------------------------------------------------

    async def advance(self) -> None:
        """One `event.from`: everything at first, what changed after that. Raises Unavailable."""
        login = await self._session.login()
        if login.serial != self._serial:
            self._serial, self._token = login.serial, NO_TOKEN
            self._barriers.clear()
        sent_s = asyncio.get_running_loop().time()
        try:
            batch = await self._batch(login, tuple(CLASSES), self._token)
        except XapiFailure as failure:
            self._losses += 1
            if failure.code not in TOKEN_LOST | LOST or self._losses > 1:
                raise
            # The next call logs in again if it must, and reads everything.
            self._token = NO_TOKEN
            return
        self._losses = 0
        self._hear()
        self._take(batch)
        self._true_from(sent_s)
        await self._recount(login, batch)
        self._session.learn(sorted(host.address for host in self.tables.host.values()))
        self._tell()

    async def barrier(self) -> None:
        """Have the pool say when all that it has committed until now has been seen here.

        The forced event wakes the pending `event.from`; its answer carries a token at least as new
        as the one that was given out just before. Raises Unavailable.
        """
        login = await self._session.login()
        if login.serial != self._serial:
            return
        moment_s = asyncio.get_running_loop().time()
        token = await self._session.call_as(login, "event.inject", "pool", login.pool_ref)
        if login.serial == self._serial:
            self._barriers.append((str(token), moment_s))
            if self._pass_barriers():
                self._tell()

    async def _batch(self, login: Login, classes: Sequence[str], token: str) -> _Batch:
        deadline_s = FIRST_ANSWER_S if token == NO_TOKEN else ANSWER_S
        answer = await self._session.call_as(
            login, "event.from", list(classes), token, WAIT_S, deadline_s=deadline_s
        )
        return _decoded(login.address, answer)

    def _take(self, batch: _Batch) -> None:
        if self._token == NO_TOKEN:
            changes = self.tables.replace(tuple(CLASSES), batch.events)
            self._picture.unread.clear()
            self._reread_s.clear()
        else:
            changes = self.tables.apply(batch.events)
        self._token = batch.token
        self._picture.note(changes)

    async def _recount(self, login: Login, batch: _Batch) -> None:
        """Read again each class of which the pool has another number of objects than we."""
        now_s = asyncio.get_running_loop().time()
        for cls in CLASSES:
            if cls in UNCOUNTED or self._agrees(cls, batch):
                self._picture.unread.discard(cls)
                continue
            self._picture.unread.add(cls)
            if now_s < self._reread_s.get(cls, now_s):
                continue
            _log.warning(
                "class %s: %d objects here, another number there", cls, self.tables.count(cls)
            )
            self._reread_s[cls] = now_s + REREAD_PAUSE_S
            whole = await self._batch(login, (cls,), NO_TOKEN)
            self._picture.note(self.tables.replace((cls,), whole.events))
            if self._agrees(cls, whole):
                self._picture.unread.discard(cls)

    def _agrees(self, cls: str, batch: _Batch) -> bool:
        return batch.valid_ref_counts.get(cls, self.tables.count(cls)) == self.tables.count(cls)

    def _hear(self) -> None:
        """A pool in health answers at least every `WAIT_S`; after a longer silence it starts anew."""
        now_s = asyncio.get_running_loop().time()
        if self._steady_since_s is None or now_s - self._heard_s > GAP_S:
            self._steady_since_s = now_s
        self._heard_s = now_s

    # --- the moment -------------------------------------------------------------------------------

    def _true_from(self, moment_s: float) -> None:
        self._as_of_s = max(moment_s, self._as_of_s or moment_s)
        # Dates are for people: the wall time of that moment, not of the answer.
        self._epoch_s = self._wall() - (asyncio.get_running_loop().time() - self._as_of_s)
        self._pass_barriers()

    def _pass_barriers(self) -> bool:
        """Tokens are zero-padded numbers, so that they compare as text."""
        passed = [moment_s for token, moment_s in self._barriers if token <= self._token]
        self._barriers = [barrier for barrier in self._barriers if barrier[0] > self._token]
        if passed and max(passed) > (self._as_of_s or 0.0):
            self._true_from(max(passed))
            return True
        return False

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _decoded(address: str, answer: JsonValue) -> _Batch:
    try:
        batch: _Batch = msgspec.convert(answer, type=_Batch, strict=False)
    except msgspec.ValidationError as error:
        text = f"{address}: event.from: {error}"
        raise TransportFailure(FailureKind.HTTP, text, sent=True) from None
    # Null references never name an object; a server that sent one would only confuse the indexes.
    batch.events = [event for event in batch.events if event.ref != NULL]
    return batch
