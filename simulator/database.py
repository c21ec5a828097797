"""The pool's database: rows with references, a generation that counts changes, and tombstones.

It is what the servers believe. What really runs is in ``simulator.domains``.

Containers in a row are never changed in place, always replaced: a record handed out once is a
snapshot for ever. A write of the value that is there already changes nothing and counts nothing.
"""

import asyncio
import math
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.datamodel import data_model
from simulator.values import (
    NULL,
    ApiError,
    Record,
    Value,
    as_list,
    as_map,
    as_number,
    as_text,
    handle_invalid,
)

BACK_REFERENCES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("VBD", "VM"): ("VM", "VBDs"),
    ("VBD", "VDI"): ("VDI", "VBDs"),
    ("VIF", "VM"): ("VM", "VIFs"),
    ("VIF", "network"): ("network", "VIFs"),
    ("VDI", "SR"): ("SR", "VDIs"),
    ("VDI", "snapshot_of"): ("VDI", "snapshots"),
    ("PBD", "SR"): ("SR", "PBDs"),
    ("PBD", "host"): ("host", "PBDs"),
    ("PIF", "network"): ("network", "PIFs"),
    ("PIF", "host"): ("host", "PIFs"),
    ("host_cpu", "host"): ("host", "host_CPUs"),
    ("Certificate", "host"): ("host", "certificates"),
    ("console", "VM"): ("VM", "consoles"),
    ("VM", "resident_on"): ("host", "resident_VMs"),
    ("VM", "snapshot_of"): ("VM", "snapshots"),
    ("VM", "parent"): ("VM", "children"),
    ("task", "subtask_of"): ("task", "subtasks"),
}
"""(class, field with one reference) to (class, field with the set of those that point to it)."""

SILENT = frozenset({"session", "user"})
"""Classes whose changes make no events."""

TOMBSTONES_KEPT = 4096
"""Deletions remembered for event.from; a client that slept through more misses some of them."""


class Row:
    """One object. ``created`` and ``modified`` are generations."""

    __slots__ = ("cls", "created", "fields", "modified", "ref")

    def __init__(self, cls: str, ref: str, fields: Record, generation: int) -> None:
        self.cls = cls
        self.ref = ref
        self.fields = fields
        self.created = generation
        self.modified = generation

    def text(self, field: str) -> str:
        """A string, enum, uuid, reference or moment."""
        return as_text(self.fields[field])

    def number(self, field: str) -> int:
        """An int."""
        return as_number(self.fields[field])

    def flag(self, field: str) -> bool:
        """A bool."""
        value = self.fields[field]
        assert isinstance(value, bool), field
        return value

    def list(self, field: str) -> list[str]:
        """A set, as a list of one's own."""
        return as_list(self.fields[field])

    def map(self, field: str) -> dict[str, str]:
        """A map of strings, as a copy of one's own."""
        return as_map(self.fields[field])

    def record(self) -> Record:
        """A snapshot of all fields."""
        return dict(self.fields)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An object that was deleted at ``deleted``."""

    cls: str
    ref: str
    created: int
    deleted: int


IN_MEMORY = frozenset({"session", "task"})
"""Classes of which no copy has anything and no restart of a master leaves anything."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole database at one moment. ``rows`` are class, reference, fields, created, modified.

    Cheap, because rows replace their fields and never change them.
    """

    moment: float
    generation: int
    rows: tuple[tuple[str, str, Record, int, int], ...]


class Database:
    """All rows of all classes, the generation of the last change, and who waits for the next.

    ``before_change`` is called before anything is written.
    """

    def __init__(self, chance: random.Random, clock: Clock) -> None:
        self.before_change: Callable[[], None] = lambda: None
        self.generation = 0
        self.tombstones: deque[Tombstone] = deque(maxlen=TOMBSTONES_KEPT)
        self._tables: dict[str, dict[str, Row]] = {name: {} for name in data_model().classes}
        self._uuids: dict[tuple[str, str], Row] = {}
        self._newest: dict[str, int] = {}
        self._by_age: dict[str, Row] = {}
        self._chance = chance
        self._clock = clock
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    def restored(cls, copy: Copy, chance: random.Random, clock: Clock) -> "Database":
        """A database that begins as the copy, without sessions, tasks and tombstones."""
        db = cls(chance, clock)
        db.generation = copy.generation
        for name, ref, fields, created, modified in copy.rows:
            if name not in IN_MEMORY:
                row = Row(name, ref, fields, created)
                row.modified = modified
                db._adopt(row)
        for name, table in db._tables.items():
            aged = sorted(table.items(), key=lambda item: item[1].created)
            db._tables[name] = dict(aged)
        return db

    def copy(self, moment: float) -> Copy:
        """All of it, as of ``moment`` (monotonic seconds)."""
        rows = self._by_age.values()
        found = tuple((r.cls, r.ref, r.fields, r.created, r.modified) for r in rows)
        return Copy(moment, self.generation, found)

    def fresh_uuid(self) -> str:
        """A new uuid from the world's source of chance."""
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def fresh_ref(self) -> str:
        """A new reference, unrelated to any uuid."""
        return f"OpaqueRef:{self.fresh_uuid()}"

    def insert(self, cls: str, **fields: Value) -> Row:
        """A new object; what ``fields`` leaves out has its default, the uuid a fresh one."""
        self.before_change()
        record = data_model().classes[cls].fresh()
        unknown = fields.keys() - record.keys()
        assert not unknown, f"{cls} has no {unknown}"
        record.update(fields)
        if not record.get("uuid", "."):
            record["uuid"] = self.fresh_uuid()
        row = Row(cls, self.fresh_ref(), record, self._count(cls))
        self._adopt(row)
        for field, value in record.items():
            self._point(row, field, NULL, value)
        self._wake(cls)
        return row

    def update(self, row: Row, **fields: Value) -> None:
        """Write fields; only what really changes counts."""
        changed = {f: v for f, v in fields.items() if row.fields[f] != v}
        if not changed or self._tables[row.cls].get(row.ref) is not row:
            return
        self.before_change()
        old = row.fields
        row.fields = {**old, **changed}
        self.touch(row)
        for field, value in changed.items():
            self._point(row, field, old[field], value)

    def touch(self, row: Row) -> None:
        """Count a change of the row without making one (event.inject)."""
        self.before_change()
        row.modified = self._count(row.cls)
        self._by_age[row.ref] = self._by_age.pop(row.ref)
        self._wake(row.cls)

    def delete(self, row: Row) -> None:
        """Remove the row and leave a tombstone; deleting twice is nothing."""
        if row.ref not in self._tables[row.cls]:
            return
        self.before_change()
        del self._tables[row.cls][row.ref]
        del self._by_age[row.ref]
        for field, value in row.fields.items():
            self._point(row, field, value, NULL)
        if "uuid" in row.fields:
            self._uuids.pop((row.cls, row.text("uuid")), None)
        gone = Tombstone(row.cls, row.ref, row.created, self._count(row.cls))
        self.tombstones.append(gone)
        self._wake(row.cls)

    def row(self, cls: str, ref: str) -> Row:
        """The object that ``ref`` names; HANDLE_INVALID if there is none."""
        row = self._tables[cls].get(ref)
        if row is None:
            raise handle_invalid(cls, ref)
        return row

    def find(self, cls: str, ref: str) -> Row | None:
        """The object that ``ref`` names, if there is one."""
        return self._tables[cls].get(ref)

    def by_uuid(self, cls: str, uuid_: str) -> Row:
        """The object of that uuid; UUID_INVALID if there is none."""
        row = self._uuids.get((cls, uuid_))
        if row is None:
            raise ApiError("UUID_INVALID", cls, uuid_)
        return row

    def rows(self, cls: str) -> list[Row]:
        """All objects of the class, oldest first."""
        return list(self._tables[cls].values())

    def changed_since(self, generation: int) -> list[Row]:
        """What exists and was made or changed after that generation, oldest change first."""
        young: list[Row] = []
        for row in reversed(self._by_age.values()):
            if row.modified <= generation:
                break
            young.append(row)
        return young[::-1]

    def referred(self, row: Row, field: str, cls: str) -> Iterator[Row]:
        """The living objects of ``cls`` in a set of references."""
        for ref in row.list(field):
            target = self.find(cls, ref)
            if target is not None:
                yield target

    def newest(self, cls: str) -> int:
        """The generation of the last change in the class; 0 if there never was one."""
        return self._newest.get(cls, 0)

    def count(self, cls: str) -> int:
        """How many objects the class has."""
        return len(self._tables[cls])

    async def changed(self, seconds: float) -> None:
        """Wait for the next change of anything that makes events, at most ``seconds``."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(wake)
        limit: asyncio.Future[None] | None = None
        if seconds < math.inf:
            limit = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({wake, limit} if limit else {wake}, return_when="FIRST_COMPLETED")
        finally:
            wake.cancel()
            if limit is not None:
                limit.cancel()

    def wake_all(self) -> None:
        """Let everybody who waits look again (a session ended)."""
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            if not wake.done():
                wake.set_result(None)

    def _adopt(self, row: Row) -> None:
        self._tables[row.cls][row.ref] = self._by_age[row.ref] = row
        self._newest[row.cls] = max(row.modified, self._newest.get(row.cls, 0))
        if "uuid" in row.fields:
            self._uuids[row.cls, row.text("uuid")] = row

    def _count(self, cls: str) -> int:
        self.generation += 1
        self._newest[cls] = self.generation
        return self.generation

    def _wake(self, cls: str) -> None:
        if cls not in SILENT:
            self.wake_all()

    def _point(self, row: Row, field: str, old: Value, new: Value) -> None:
        target = BACK_REFERENCES.get((row.cls, field))
        if target is None or old == new:
            return
        cls, back = target
        before = self.find(cls, as_text(old))
        if before is not None:
            self.update(before, **{back: [r for r in before.list(back) if r != row.ref]})
        after = self.find(cls, as_text(new))
        if after is not None:
            self.update(after, **{back: [*after.list(back), row.ref]})
