"""All records of the pool by class and reference, kept by event batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from xapi.records import (
    CLASSES,
    ClusterHostRecord,
    GuestMetricsRecord,
    HostMetricsRecord,
    HostRecord,
    MessageRecord,
    NetworkRecord,
    PbdRecord,
    PifRecord,
    PoolRecord,
    Record,
    SrRecord,
    TaskRecord,
    Unreadable,
    VbdRecord,
    VdiRecord,
    VifRecord,
    VmMetricsRecord,
    VmRecord,
    decode_record,
)

_log = logging.getLogger("cxm.xapi")

# Messages live beside the database: the server counts them as 0 whatever there is.
UNCOUNTED = frozenset({"message"})

CRASHED = "VM_CRASHED"


class Event(Struct, rename={"cls": "class"}):
    """One change as `event.from` tells it; `snapshot` is absent on `del`."""

    cls: str
    operation: str
    ref: str
    snapshot: Any = None


class Change(NamedTuple):
    """`old` is None for a new object, `new` for one that is gone."""

    cls: str
    ref: str
    old: Record | None
    new: Record | None


@dataclass(slots=True)
class Tables:
    """One table per class, named as in `CLASSES`. Of messages only crashes are kept."""

    pool: dict[str, PoolRecord] = field(default_factory=dict)
    host: dict[str, HostRecord] = field(default_factory=dict)
    host_metrics: dict[str, HostMetricsRecord] = field(default_factory=dict)
    vm: dict[str, VmRecord] = field(default_factory=dict)
    vm_metrics: dict[str, VmMetricsRecord] = field(default_factory=dict)
    vm_guest_metrics: dict[str, GuestMetricsRecord] = field(default_factory=dict)
    task: dict[str, TaskRecord] = field(default_factory=dict)
    sr: dict[str, SrRecord] = field(default_factory=dict)
    pbd: dict[str, PbdRecord] = field(default_factory=dict)
    vdi: dict[str, VdiRecord] = field(default_factory=dict)
    vbd: dict[str, VbdRecord] = field(default_factory=dict)
    vif: dict[str, VifRecord] = field(default_factory=dict)
    network: dict[str, NetworkRecord] = field(default_factory=dict)
    pif: dict[str, PifRecord] = field(default_factory=dict)
    cluster_host: dict[str, ClusterHostRecord] = field(default_factory=dict)
    message: dict[str, MessageRecord] = field(default_factory=dict)
    unreadable: dict[tuple[str, str], str] = field(default_factory=dict)
    """Class and reference of what could not be decoded, with what is known of its uuid."""
    by_uuid: dict[str, str] = field(default_factory=dict)
    """References by uuid, of all classes: uuids are random, so classes do not collide."""

    def table(self, cls: str) -> dict[str, Record]:
        table: dict[str, Record] = getattr(self, cls)
        return table

    def ref_of(self, cls: str, uuid: str) -> str | None:
        ref = self.by_uuid.get(uuid)
        return ref if ref in self.table(cls) else None

    def count(self, cls: str) -> int:
        """How many objects of the class there are, those included that could not be read."""
        broken = sum(1 for other, _ in self.unreadable if other == cls)
        return len(self.table(cls)) + broken

    def apply(self, events: Iterable[Event]) -> list[Change]:
        """Take over a batch; answers what really changed in the fields that we read."""
        changes = [self._apply(event) for event in events if event.cls in CLASSES]
        return [change for change in changes if change.old != change.new]

    def replace(self, classes: Sequence[str], events: Iterable[Event]) -> list[Change]:
        """As `apply`, for a batch that holds every object of `classes`: others are gone."""
        batch = list(events)
        present = {(event.cls, event.ref) for event in batch}
        kept = [(cls, ref) for cls in classes for ref in self.table(cls)]
        kept += [key for key in self.unreadable if key[0] in classes]
        gone = [
            Event(cls=cls, operation="del", ref=ref)
            for cls, ref in kept
            if (cls, ref) not in present
        ]
        return self.apply([*gone, *batch])

    def _apply(self, event: Event) -> Change:
        table = self.table(event.cls)
        old = table.pop(event.ref, None)
        self.unreadable.pop((event.cls, event.ref), None)
        new = None if event.operation == "del" else self._decoded(event)
        if isinstance(new, MessageRecord) and new.name != CRASHED:
            new = None
        if new is not None:
            table[event.ref] = new
            self.by_uuid[new.uuid] = event.ref
        if old is not None and (new is None or new.uuid != old.uuid):
            self._forget(old.uuid, event.ref)
        return Change(event.cls, event.ref, old, new)

    def _forget(self, uuid: str, ref: str) -> None:
        if self.by_uuid.get(uuid) == ref:
            del self.by_uuid[uuid]

    def _decoded(self, event: Event) -> Record | None:
        try:
            return decode_record(event.cls, event.snapshot, CLASSES[event.cls])
        except Unreadable as error:
            snapshot = event.snapshot if isinstance(event.snapshot, dict) else {}
            self.unreadable[event.cls, event.ref] = str(snapshot.get("uuid", "?"))
            _log.error("a record of the pool cannot be read: %s", error)
            return None
