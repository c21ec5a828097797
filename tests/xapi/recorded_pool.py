"""A pool of records, and the picture that it makes."""

from __future__ import annotations

from typing import Any

from reconciler.observed import Observed, ObservedNode, ObservedVM
from xapi.picture import Picture
from xapi.records import CLASSES
from xapi.tables import Event, Tables

POOL: dict[str, Any] = {"uuid": "u-pool", "master": "host1"}
HOST: dict[str, Any] = {"uuid": "u-host1", "name_label": "xen1", "metrics": "hm1"}
LIVE: dict[str, Any] = {"uuid": "u-hm1", "live": True, "memory_total": 100}
VM: dict[str, Any] = {"uuid": "u-vm1", "name_label": "web1", "power_state": "Running"}


class Pool:
    """A pool of records, changed step by step."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.picture = Picture(self.tables, "tests")
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.put("pool", "pool1", POOL)
        self.put("host_metrics", "hm1", LIVE)
        self.put("host", "host1", HOST)

    def put(self, cls: str, ref: str, record: dict[str, Any], **fields: Any) -> None:
        self.change([(cls, ref, {**record, **fields})])

    def drop(self, cls: str, ref: str) -> None:
        self.change([(cls, ref, None)])

    def change(self, changes: list[tuple[str, str, dict[str, Any] | None]]) -> None:
        events = []
        for cls, ref, record in changes:
            if record is None:
                self.records.pop((cls, ref), None)
                events.append(Event(cls=cls, operation="del", ref=ref))
            else:
                self.records[cls, ref] = record
                events.append(Event(cls=cls, operation="mod", ref=ref, snapshot=record))
        self.picture.note(self.tables.apply(events))

    def seen(self) -> Observed:
        seen = self.picture.observed(1.0, 2.0, 0.0)
        assert seen is not None
        return seen

    def vm(self, **fields: Any) -> ObservedVM:
        self.put("vm", "vm1", VM, **fields)
        return self.seen().vms["u-vm1"]

    def node(self, **fields: Any) -> ObservedNode:
        self.put("host", "host1", HOST, **fields)
        return self.seen().nodes["u-host1"]

    def afresh(self) -> Observed:
        """The same records, read for the first time."""
        tables = Tables()
        picture = Picture(tables, "tests")
        events = [
            Event(cls=cls, operation="add", ref=ref, snapshot=record)
            for (cls, ref), record in self.records.items()
        ]
        picture.note(tables.replace(tuple(CLASSES), events))
        seen = picture.observed(1.0, 2.0, 0.0)
        assert seen is not None
        return seen
