"""VMs whose records somebody else has set to Halted, as far as the pool's tasks betray it.

A reset writes into the database that a VM is Halted and nowhere; its domain may well go on. The
record then looks like that of a guest which switched itself off: no operation, no message. Two things
betray it. One is a task, `VM.power_state_reset` or `host.declare_dead`, that is not ours; it does not
name what it is about, so every VM that is halted beside it counts. The other is a disk that the VM's
host still has locked: whoever ends a domain frees its disks first, and a reset does not. That one serves
where the task came and went between two answers of the pool, as that of a synchronous call mostly does;
but where the task was another node's of ours, and we missed it, it is a suspicion of ourselves.
A wrong suspicion costs a person's look; a missed one, more.

Not to be seen are: a reset that was made before we followed the pool; one after which the VM was started
again, or its locks were freed, between two answers; and one of a VM that was not up in the records. So
the absence of a VM here proves nothing. What guards a start is the knowledge of where the VM may run.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.observed import PowerState
from xapi.records import LOCK_KEY, PENDING, TXN_KEY, TaskRecord, VmRecord
from xapi.tables import Change, Tables

RESETTING = frozenset({"VM.power_state_reset", "host.declare_dead"})

# While the record still shows one of these, the VM was halted by it: a reset wipes operations at once.
_HALTING = frozenset({"clean_shutdown", "hard_shutdown", "shutdown"})

_UP = frozenset({PowerState.RUNNING.value, PowerState.PAUSED.value})


class Resets:
    """Fed with every batch of changes, after the tables have taken it over."""

    def __init__(self) -> None:
        self._suspects: dict[str, frozenset[str]] = {}
        """uuid of a VM -> references of the tasks that may have reset it."""
        self._holders: dict[str, tuple[str, str]] = {}
        """uuid of a VM -> its reference and that of the host that kept its disks locked."""
        self._foreign: dict[str, bool] = {}
        """Reference of a resetting task -> whether it bears no tag of ours, as last seen."""

    def seen(self) -> tuple[str, ...]:
        """The uuids of those VMs that did not run since; what a lock betrayed, only until that is freed.
        A task of our own counts as another's for the moment before it is tagged; whoever has a reset of
        its own in flight there knows better."""
        beside = {
            uuid
            for uuid, tasks in self._suspects.items()
            if any(self._foreign[task] for task in tasks)
        }
        return tuple(sorted(beside | self._holders.keys()))

    def note(self, changes: Iterable[Change], tables: Tables) -> None:
        """Take in a batch that tells what happened since the last one."""
        listed = list(changes)
        at_work = self._at_work(listed, tables)
        for change in listed:
            if isinstance(change.old, VmRecord):
                self._note_vm(change, change.old, at_work)
        self._forget(tables)

    def _at_work(self, changes: list[Change], tables: Tables) -> frozenset[str]:
        """References of resetting tasks that were pending at any moment since the last batch."""
        found = {ref for ref, task in tables.task.items() if _resets(task) and _pending(task)}
        for change in changes:
            for record in (change.old, change.new):
                if isinstance(record, TaskRecord) and _resets(record):
                    self._foreign[change.ref] = not record.other_config.get(TXN_KEY)
                    if _pending(record) or change.old is None:
                        found.add(change.ref)
        return frozenset(found)

    def _note_vm(self, change: Change, old: VmRecord, at_work: frozenset[str]) -> None:
        new = change.new
        if not isinstance(new, VmRecord) or _is_up(new):
            self._suspects.pop(old.uuid, None)
            self._holders.pop(old.uuid, None)
        elif _is_up(old) and _is_off(new):
            if at_work:
                self._suspects[old.uuid] = at_work
            else:
                self._holders[old.uuid] = change.ref, old.resident_on

    def _forget(self, tables: Tables) -> None:
        """Whom a lock betrayed, once it is freed; and of the tasks that are gone all but those with
        which somebody is suspected."""
        self._holders = {
            uuid: (vm, host)
            for uuid, (vm, host) in self._holders.items()
            if _locked(tables, vm, host)
        }
        used = {task for tasks in self._suspects.values() for task in tasks}
        gone = [ref for ref in self._foreign if ref not in used and ref not in tables.task]
        for ref in gone:
            del self._foreign[ref]


def _resets(task: TaskRecord) -> bool:
    return task.name_label.removeprefix("Async.") in RESETTING


def _pending(task: TaskRecord) -> bool:
    return task.status in PENDING


def _is_up(vm: VmRecord) -> bool:
    return vm.power_state in _UP


def _is_off(vm: VmRecord) -> bool:
    halted = vm.power_state == PowerState.HALTED.value
    return halted and not _HALTING & set(vm.current_operations.values())


def _locked(tables: Tables, vm: str, host: str) -> bool:
    """Whether this host still holds a disk that the VM writes to."""
    record = tables.vm.get(vm)
    vbds = [tables.vbd[ref] for ref in record.VBDs if ref in tables.vbd] if record else []
    disks = [tables.vdi[vbd.VDI] for vbd in vbds if vbd.mode == "RW" and vbd.VDI in tables.vdi]
    return any(f"{LOCK_KEY}{host}" in disk.sm_config for disk in disks)
