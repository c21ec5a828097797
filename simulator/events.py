"""event.from and its deprecated ancestors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.database import SILENT, Row, Tombstone
from simulator.datamodel import data_model
from simulator.pool import Pool
from simulator.values import NULL, ApiError, Record, Value

BATCHING_S = 0.05
"""The server waits so long before it looks, so that what belongs together comes together."""

_COUNTED = (*data_model().classes, "Diagnostics")
"""valid_ref_counts names all classes, a hidden one too; in this peculiar order, as recorded."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client wants to hear of: everything, classes, single objects. Lower case."""

    everything: bool
    classes: frozenset[str]
    objects: frozenset[tuple[str, str]]

    def wants(self, cls: str, ref: str) -> bool:
        """Whether it wants this object."""
        lower = cls.lower()
        return self.everything or lower in self.classes or (lower, ref) in self.objects

    def touches(self, cls: str) -> bool:
        """Whether it wants anything of the class."""
        lower = cls.lower()
        single = any(lower == wanted for wanted, _ in self.objects)
        return self.everything or lower in self.classes or single


def subscribe(classes: Sequence[str]) -> Subscription:
    """The meaning of event.from's classes: ``*``, a class, or ``class/reference``."""
    single = set()
    for text in classes:
        cls, slash, ref = text.partition("/")
        if "/" in ref:
            raise ApiError("EVENT_SUBSCRIPTION_PARSE_FAILURE", text)
        if slash:
            single.add((cls.lower(), ref))
    whole = frozenset(text.lower() for text in classes if "/" not in text)
    return Subscription("*" in whole, whole, frozenset(single))


async def from_token(
    pool: Pool, session: Row | None, classes: Sequence[str], token: str, limit: float
) -> Value:
    """event.from: what changed since ``token``, waiting up to ``limit`` seconds for it.

    A negative limit waits for ever, as recorded.
    """
    subscription = subscribe(classes)
    since, alerts_since = _parse_token(token)
    deadline = pool.clock.now() + (limit if limit >= 0 else math.inf)
    while True:
        await pool.clock.sleep(BATCHING_S)
        _check_session(pool, session)
        events = [
            *_alerts(pool, subscription, alerts_since),
            *_changes(pool, subscription, since),
        ]
        left = deadline - pool.clock.now()
        if events or left <= 0:
            return _batch(pool, subscription, events, since)
        await pool.db.changed(left)


def inject(pool: Pool, cls: str, ref: str) -> str:
    """event.inject: make an object look changed; answers the token just before that."""
    name = data_model().lower.get(cls.lower(), cls)
    row = pool.db.row(name, ref)
    before = _token(pool.db.generation, 0)
    pool.db.touch(row)
    return before


def _check_session(pool: Pool, session: Row | None) -> None:
    if session is not None and pool.db.find("session", session.ref) is None:
        raise ApiError("SESSION_INVALID", session.ref)


def _batch(pool: Pool, wanted: Subscription, events: list[Value], since: int) -> Value:
    heard = [name for name in data_model().classes if name not in SILENT and wanted.touches(name)]
    newest = max(map(pool.db.newest, heard), default=0)
    alerts = pool.messages.generation if wanted.touches("message") else 0
    counts = {
        name.lower(): 0 if name == "Diagnostics" else pool.db.count(name)
        for name in sorted(_COUNTED, reverse=True)
    }
    # The token never goes back, not even behind one that comes from the future.
    token = _token(max(newest, since) if events else since, alerts)
    return {"events": events, "valid_ref_counts": counts, "token": token}


def _changes(pool: Pool, wanted: Subscription, since: int) -> list[Value]:
    rows = [
        row
        for row in pool.db.changed_since(since)
        if row.cls not in SILENT and wanted.wants(row.cls, row.ref)
    ]
    added = [row for row in rows if row.created > since]
    changed = [row for row in rows if row.created <= since]
    gone = [
        grave
        for grave in pool.db.tombstones
        if grave.created <= since < grave.deleted
        and grave.cls not in SILENT
        and wanted.wants(grave.cls, grave.ref)
    ]
    return [
        *(_event(row, "add", row.created) for row in added),
        *(_event(row, "mod", row.modified) for row in changed),
        *(_gone(grave) for grave in gone),
    ]


def _event(row: Row, operation: str, number: int) -> Value:
    return {
        "id": str(number),
        "timestamp": "0.0",
        "class": row.cls.lower(),
        "operation": operation,
        "ref": row.ref,
        "snapshot": row.fields,
    }


def _gone(grave: Tombstone) -> Value:
    return {
        "id": str(grave.deleted),
        "timestamp": "0.0",
        "class": grave.cls.lower(),
        "operation": "del",
        "ref": grave.ref,
    }


def _alerts(pool: Pool, wanted: Subscription, since: int) -> Iterator[Value]:
    messages = pool.messages
    if not wanted.touches("message"):
        return
    for alert in messages.listed():
        if alert.generation > since and wanted.wants("message", alert.ref):
            yield {**_of_alert(alert.ref, "add", alert.generation), "snapshot": alert.record}
    for gone in messages.forgotten:
        if gone.created <= since < gone.deleted and wanted.wants("message", gone.ref):
            yield _of_alert(gone.ref, "del", gone.deleted)


def _of_alert(ref: str, operation: str, number: int) -> Record:
    return {
        "id": str(number),
        "timestamp": "0.0",
        "class": "message",
        "operation": operation,
        "ref": ref,
    }


def _token(generation: int, alerts: int) -> str:
    return f"{generation:020d},{alerts:020d}"


def _parse_token(token: str) -> tuple[int, int]:
    if not token:
        return 0, 0
    parts = token.split(",")
    if len(parts) != len((0, 0)) or not all(part.isdecimal() for part in parts):
        raise ApiError("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    return int(parts[0]), int(parts[1])


class Registrations:
    """The deprecated way: register, next, unregister, one queue for each session."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._classes: dict[str, set[str]] = {}

    def register(self, pool: Pool, session: Row | None, classes: Sequence[str]) -> None:
        """event.register: from now on changes of these classes queue up."""
        ref = _ref(session)
        self._seen.setdefault(ref, pool.db.generation)
        self._classes.setdefault(ref, set()).update(classes)

    def unregister(self, session: Row | None, classes: Sequence[str]) -> None:
        """event.unregister: an empty registration stays one; its event.next waits for ever."""
        ref = _ref(session)
        self._classes[ref] = self._classes.get(ref, set()) - set(classes)

    async def next(self, pool: Pool, session: Row | None) -> Value:
        """event.next: what is in the queue, or the next that comes."""
        ref = _ref(session)
        if ref not in self._seen:
            raise ApiError("SESSION_NOT_REGISTERED", f"trackid={ref[-32:].replace('-', '')}")
        while True:
            wanted = subscribe(sorted(self._classes.get(ref, ())))
            events = _changes(pool, wanted, self._seen[ref])
            if events:
                self._seen[ref] = pool.db.generation
                return [_dated(pool, event) for event in events]
            await pool.db.changed(math.inf)
            _check_session(pool, session)


def _ref(session: Row | None) -> str:
    return session.ref if session is not None else NULL


def _dated(pool: Pool, event: Value) -> Record:
    assert isinstance(event, dict)
    return {**event, "timestamp": f"{int(pool.clock.wall())}."}
