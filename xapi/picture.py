"""Records -> `Observed`, incrementally: only what a changed record touches is built anew.

A pool may hold 20,000 VMs while a batch of events touches one. What has not changed keeps its
identity from one picture to the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

from reconciler.observed import (
    Copy,
    Network,
    Observed,
    ObservedNode,
    ObservedVM,
    Operation,
    Storage,
    Task,
)
from xapi.building import (
    build_network,
    build_node,
    build_pool,
    build_storage,
    build_vm,
    copy_kind,
    hint_of_boot,
    toolstack_start,
)
from xapi.records import (
    CLASSES,
    NULL,
    PENDING,
    TXN_KEY,
    HostRecord,
    MessageRecord,
    NetworkRecord,
    PbdRecord,
    PifRecord,
    Record,
    VbdRecord,
    VdiRecord,
    VifRecord,
    VmRecord,
)
from xapi.resets import Resets
from xapi.tables import Change, Tables

T = TypeVar("T")

# Objects that everything else is named by: when one comes or goes, all is built anew.
_ANCHORS = frozenset({"host", "sr", "network"})


class Picture:
    """The pool as the tables show it; `note` after each batch, then `observed`."""

    def __init__(self, tables: Tables, by: str) -> None:
        self.tables = tables
        self.unread: set[str] = set()
        """Classes whose table is known to be wrong or was never read."""
        self._by = by
        self._vms: dict[str, ObservedVM] = {}
        self._nodes: dict[str, ObservedNode] = {}
        self._copies: dict[str, Copy] = {}
        self._storages: dict[str, Storage] = {}
        self._networks: dict[str, Network] = {}
        self._tasks: tuple[Task, ...] = ()
        self._all_copies: tuple[Copy, ...] = ()
        self._vms_of: dict[str, tuple[str, ...]] = {}
        """Reference of a metrics, guest metrics or suspend image -> references of its VMs; more
        than one only if the pool's own records are confused."""
        self._control: defaultdict[str, set[str]] = defaultdict(set)
        self._busy: set[tuple[str, str]] = set()
        self._crashed: dict[str, str] = {}
        self._started_s: dict[str, float] = {}
        """Reference of a host that was the master -> when its toolstack started, as last seen."""
        self._stale: defaultdict[str, set[str]] = defaultdict(set)
        self._gone: list[Record] = []
        self._resets = Resets()

    # --- what a change touches --------------------------------------------------------------------

    def note(self, changes: Iterable[Change]) -> None:
        """Remember what has to be built anew; the tables hold the changes already."""
        listed = list(changes)
        self._resets.note(listed, self.tables)
        for change in listed:
            if change.cls == "vm":
                self._note_vm(change)
        if any(change.cls in _ANCHORS and _comes_or_goes(change) for change in listed):
            self._stale["vm"].update(self.tables.vm)
            self._stale["host"].update(self.tables.host)
        for change in listed:
            self._stale[change.cls].add(change.ref)
            touch = _TOUCHES.get(change.cls)
            for record in (change.old, change.new):
                if touch is not None and record is not None:
                    touch(self, change.ref, record)

    def _note_vm(self, change: Change) -> None:
        old, new = cast("VmRecord | None", change.old), cast("VmRecord | None", change.new)
        if old is not None:
            for ref in _parts(old):
                self._vms_of[ref] = tuple(vm for vm in self._vms_of[ref] if vm != change.ref)
                if not self._vms_of[ref]:
                    del self._vms_of[ref]
            self._control[old.resident_on].discard(change.ref)
            if new is None or new.uuid != old.uuid:
                self._gone.append(old)
        if new is not None:
            for ref in _parts(new):
                self._vms_of[ref] = (*self._vms_of.get(ref, ()), change.ref)
            if new.is_control_domain:
                self._control[new.resident_on].add(change.ref)
        self._note_busy("vm", change.ref, new.current_operations if new else {})

    def _touch_vm(self, _ref: str, record: Record) -> None:
        if isinstance(record, VmRecord) and record.is_control_domain:
            self._stale["host"].add(record.resident_on)

    def _touch_host(self, ref: str, _record: Record) -> None:
        host = self.tables.host.get(ref)
        self._note_busy("host", ref, host.current_operations if host else {})

    def _note_busy(self, cls: str, ref: str, operations: Mapping[str, str]) -> None:
        if operations:
            self._busy.add((cls, ref))
        else:
            self._busy.discard((cls, ref))

    def _touch_owner(self, ref: str, _record: Record) -> None:
        self._stale["vm"].update(self._vms_of.get(ref, ()))

    def _touch_host_metrics(self, ref: str, _record: Record) -> None:
        hosts = self.tables.host
        self._stale["host"].update(host for host in hosts if hosts[host].metrics == ref)

    def _touch_device(self, _ref: str, record: Record) -> None:
        if isinstance(record, VbdRecord | VifRecord):
            self._stale["vm"].add(record.VM)

    def _touch_vdi(self, ref: str, record: Record) -> None:
        self._touch_owner(ref, record)
        for vbd in record.VBDs if isinstance(record, VdiRecord) else ():
            if vbd in self.tables.vbd:
                self._stale["vm"].add(self.tables.vbd[vbd].VM)

    def _touch_attachment(self, _ref: str, record: Record) -> None:
        if isinstance(record, PbdRecord | PifRecord):
            self._stale["host"].add(record.host)

    def _touch_network(self, ref: str, record: Record) -> None:
        now = self.tables.network.get(ref)
        # An internal network is on every node: the nodes show it only through its PIFs.
        if now is None or not isinstance(record, NetworkRecord) or now.PIFs != record.PIFs:
            self._stale["host"].update(self.tables.host)

    def _touch_task(self, ref: str, _record: Record) -> None:
        for cls, busy in self._busy:
            record = self.tables.table(cls).get(busy)
            if isinstance(record, VmRecord | HostRecord) and ref in record.current_operations:
                self._stale[cls].add(busy)

    def _touch_message(self, _ref: str, record: Record) -> None:
        if isinstance(record, MessageRecord):
            newest = max(self._crashed.get(record.obj_uuid, ""), record.timestamp)
            self._crashed[record.obj_uuid] = newest
            self._stale["vm"].add(self.tables.by_uuid.get(record.obj_uuid, NULL))

    # --- building ---------------------------------------------------------------------------------

    def observed(self, as_of_s: float, epoch_s: float, steady_since_s: float) -> Observed | None:
        """The picture now; None while the pool has not told of itself."""
        if len(self.tables.pool) != 1:
            return None
        self._rebuild()
        (pool,) = self.tables.pool.values()
        missing = self._missing()
        return Observed(
            as_of_s=as_of_s,
            epoch_s=epoch_s,
            steady_since_s=steady_since_s,
            by=self._by,
            pool=build_pool(pool, self.tables, self._master_started(pool.master)),
            nodes=self._nodes,
            vms=self._vms,
            storages=self._storages,
            networks=self._networks,
            tasks=self._tasks,
            copies=self._all_copies,
            resets=self._resets.seen(),
            complete=not missing,
            missing=missing,
        )

    def _master_started(self, master: str) -> float:
        host = self.tables.host.get(master)
        started_s = toolstack_start(host, self._started_s.get(master, 0.0))
        self._started_s = {master: started_s}
        return started_s

    def _rebuild(self) -> None:
        tables, stale = self.tables, self._stale
        if stale["sr"]:
            self._storages = _renewed(self._storages, map(build_storage, tables.sr.values()))
        if stale["network"]:
            built = [build_network(network) for network in tables.network.values()]
            self._networks = _renewed(self._networks, built)
        if stale["task"]:
            self._tasks = _tasks(tables)
        if stale["host"]:
            self._nodes = self._rebuilt_nodes()
        if stale["vm"]:
            self._rebuild_vms()
        stale.clear()
        self._gone.clear()

    def _rebuilt_nodes(self) -> dict[str, ObservedNode]:
        hosts = self.tables.host
        internal = frozenset(n.uuid for n in self.tables.network.values() if not n.PIFs)
        nodes = []
        for ref, host in hosts.items():
            before = self._nodes.get(host.uuid)
            if before is not None and ref not in self._stale["host"]:
                nodes.append(before)
                continue
            control = [self.tables.vm[vm] for vm in self._control[ref] if vm in self.tables.vm]
            boot = hint_of_boot(host, before.boot_hint if before else "")
            operations = self._operations(host.current_operations)
            nodes.append(build_node(host, self.tables, control, internal, boot, operations))
        return _renewed(self._nodes, nodes)

    def _rebuild_vms(self) -> None:
        vms, copies = dict(self._vms), dict(self._copies)
        for record in self._gone:
            vms.pop(record.uuid, None)
            copies.pop(record.uuid, None)
        for ref in self._stale["vm"]:
            vm = self.tables.vm.get(ref)
            if vm is not None:
                self._rebuild_vm(vm, vms, copies)
        if vms.keys() != self._vms.keys():
            vms = dict(sorted(vms.items()))
        if vms != self._vms:
            self._vms = vms
        if copies != self._copies:
            self._copies = copies
            self._all_copies = tuple(copies[uuid] for uuid in sorted(copies))

    def _rebuild_vm(
        self, vm: VmRecord, vms: dict[str, ObservedVM], copies: dict[str, Copy]
    ) -> None:
        kind = copy_kind(vm)
        if kind:
            copies[vm.uuid] = Copy(uuid=vm.uuid, name=vm.name_label, kind=kind)
        else:
            copies.pop(vm.uuid, None)
        if kind or vm.is_control_domain:
            vms.pop(vm.uuid, None)
            return
        crashed_at = self._crashed.get(vm.uuid, "")
        built = build_vm(vm, self.tables, self._operations(vm.current_operations), crashed_at)
        if vms.get(vm.uuid) != built:
            vms[vm.uuid] = built

    def _operations(self, current: Mapping[str, str]) -> tuple[Operation, ...]:
        found = [self._operation(ref, kind) for ref, kind in current.items()]
        return tuple(sorted(found, key=lambda operation: (operation.kind, operation.task_uuid)))

    def _operation(self, ref: str, kind: str) -> Operation:
        task = self.tables.task.get(ref)
        if task is None:
            return Operation(kind=kind)
        return Operation(
            kind=kind,
            task=task.name_label,
            task_uuid=task.uuid,
            txn=task.other_config.get(TXN_KEY, ""),
            progress=task.progress,
        )

    def _missing(self) -> tuple[str, ...]:
        silent = [f"node/{node.name}" for node in self._nodes.values() if not node.live]
        broken = [f"{cls}/{uuid}" for (cls, _), uuid in self.tables.unreadable.items()]
        unread = [f"class/{cls}" for cls in CLASSES if cls in self.unread]
        return tuple(sorted(silent + broken + unread))


_Touch = Callable[[Picture, str, Record], None]

# Private methods by class: the table is part of the class, only its rows are data.
_TOUCHES: Mapping[str, _Touch] = {
    "vm": Picture._touch_vm,
    "host": Picture._touch_host,
    "host_metrics": Picture._touch_host_metrics,
    "vm_metrics": Picture._touch_owner,
    "vm_guest_metrics": Picture._touch_owner,
    "vdi": Picture._touch_vdi,
    "vbd": Picture._touch_device,
    "vif": Picture._touch_device,
    "pbd": Picture._touch_attachment,
    "pif": Picture._touch_attachment,
    "network": Picture._touch_network,
    "task": Picture._touch_task,
    "message": Picture._touch_message,
}


def _comes_or_goes(change: Change) -> bool:
    return change.old is None or change.new is None or change.old.uuid != change.new.uuid


def _parts(vm: VmRecord) -> list[str]:
    return [ref for ref in (vm.metrics, vm.guest_metrics, vm.suspend_VDI) if ref != NULL]


_Named = TypeVar("_Named", Storage, Network, ObservedNode)


def _renewed(before: Mapping[str, _Named], built: Iterable[_Named]) -> dict[str, _Named]:
    """The built objects by uuid, in order; those that are equal to the one before are it."""
    by_uuid = {new.uuid: new for new in sorted(built, key=lambda new: new.uuid)}
    return {uuid: before[uuid] if before.get(uuid) == new else new for uuid, new in by_uuid.items()}


def _tasks(tables: Tables) -> tuple[Task, ...]:
    pending = [task for task in tables.task.values() if task.status in PENDING]
    return tuple(
        Task(
            uuid=task.uuid,
            name=task.name_label,
            txn=task.other_config.get(TXN_KEY, ""),
            progress=task.progress,
        )
        for task in sorted(pending, key=lambda task: task.uuid)
    )
