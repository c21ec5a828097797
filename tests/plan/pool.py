"""A small model of a pool: what XenAPI's calls do to an `Observed`, and what it would refuse.

Deliberately dumb and with arithmetic of its own. It knows the calls of `reconciler.actions` and their
effects as the pool commits them: memory is reserved on the target while a call runs, a VM under
migration counts on both nodes, and the effect is there when the call ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from reconciler.actions import (
    AddTag,
    Call,
    CleanShutdown,
    DeclareDead,
    EjectMedia,
    EnableNode,
    NodeCall,
    PoolMigrate,
    ResetPower,
    ResumeOn,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
    StartOn,
    Suspend,
    Unpause,
    VmCall,
)
from reconciler.observed import Observed, ObservedNode, ObservedVM, Operation, PowerState, Task

MIB = 1 << 20
CALL_S = 5.0
"""How long a call with a task runs; a setter is done at once."""

RUNNING, PAUSED, HALTED, SUSPENDED = (
    PowerState.RUNNING,
    PowerState.PAUSED,
    PowerState.HALTED,
    PowerState.SUSPENDED,
)

ALLOWED: dict[type[VmCall], tuple[PowerState, ...]] = {
    StartOn: (HALTED,),
    ResumeOn: (SUSPENDED,),
    Unpause: (PAUSED,),
    CleanShutdown: (RUNNING,),
    Suspend: (RUNNING,),
    PoolMigrate: (RUNNING,),
    SetMemory: (HALTED,),
    SetVcpusMax: (HALTED,),
    SetVcpusAtStartup: (HALTED,),
    SetNameLabel: tuple(PowerState),
    AddTag: tuple(PowerState),
    EjectMedia: tuple(PowerState),
    ResetPower: tuple(PowerState),
}

KINDS = {
    "StartOn": "start_on",
    "ResumeOn": "resume_on",
    "PoolMigrate": "pool_migrate",
    "CleanShutdown": "clean_shutdown",
}

_HALTED: dict[str, Any] = {"power": HALTED, "node": None, "reserved_on": None, "operations": ()}
"""What a VM is after its record was reset."""

ARRIVES = (StartOn, ResumeOn, PoolMigrate)
WITH_TASK = (*ARRIVES, CleanShutdown, Suspend, Unpause)


class Refused(AssertionError):
    """XenAPI would have refused this call: the plan must not have made it."""


@dataclass(frozen=True)
class Running:
    txn: str
    call: Call
    ends_s: float


@dataclass(frozen=True)
class OnItsWay:
    """A request that nobody can take back and the pool does not show yet."""

    txn: str
    call: Call
    arrives_s: float


class ModelPool:
    """`observed` is the truth; `running` are the calls that it is working on."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.running: list[Running] = []
        self.on_its_way: list[OnItsWay] = []
        self.log: list[Call] = []

    def begin(self, txn: str, call: Call, now_s: float, *, tagged: bool = True) -> None:
        """A call arrives. Raises `Refused`."""
        self.log.append(call)
        ends_s = now_s
        if isinstance(call, VmCall):
            vm = self._admit(call)
            if isinstance(call, WITH_TASK):
                ends_s += CALL_S
                self._put(replace(vm, **self._begun(call, txn if tagged else "")))
                self._task(txn, call, txn if tagged else "")
        self.running.append(Running(txn, call, ends_s))

    def send(self, txn: str, call: Call, arrives_s: float) -> None:
        """A call that begins later, whoever is left to hear of it."""
        self.on_its_way.append(OnItsWay(txn, call, arrives_s))

    @property
    def moments(self) -> list[float]:
        """When something changes by itself."""
        arrivals = [request.arrives_s for request in self.on_its_way]
        return arrivals + [running.ends_s for running in self.running]

    def pass_time(self, now_s: float) -> list[str]:
        """Let arrive what is due, commit what is over; the txns of the calls that are over."""
        for request in [r for r in self.on_its_way if r.arrives_s <= now_s]:
            self.on_its_way.remove(request)
            self.begin(request.txn, request.call, request.arrives_s, tagged=False)
        over = [running for running in self.running if running.ends_s <= now_s]
        for running in over:
            self.running.remove(running)
            self._commit(running.call)
            tasks = tuple(t for t in self.observed.tasks if t.uuid != running.txn)
            self.observed = replace(self.observed, tasks=tasks)
        return [running.txn for running in over]

    def seen(self, now_s: float, epoch_s: float) -> Observed:
        return replace(self.observed, as_of_s=now_s, epoch_s=epoch_s)

    def used(self, node: ObservedNode) -> int:
        """What `host.compute_free_memory` would count as taken by guests."""
        homes = ((vm, {vm.node, vm.reserved_on}) for vm in self.observed.vms.values())
        return sum(_size(vm) for vm, home in homes if node.uuid in home)

    def free(self, node: ObservedNode) -> int:
        return node.memory_total - node.memory_overhead - node.control_memory - self.used(node)

    # --- what is refused ----------------------------------------------------------------------

    def _admit(self, call: VmCall) -> ObservedVM:
        vm = self.observed.vms.get(call.vm)
        if vm is None:
            raise Refused(f"UUID_INVALID: {call}")
        if vm.operations and not isinstance(call, ResetPower):
            raise Refused(f"OTHER_OPERATION_IN_PROGRESS: {call} while {vm.operations}")
        if vm.power not in ALLOWED[type(call)]:
            raise Refused(f"VM_BAD_POWER_STATE: {call} while {vm.power}")
        if isinstance(call, ARRIVES):
            self._room(vm, self.observed.nodes[call.node], call)
        return vm

    def _room(self, vm: ObservedVM, node: ObservedNode, call: Call) -> None:
        if not node.enabled or not node.live:
            raise Refused(f"HOST_DISABLED or HOST_NOT_LIVE: {call}")
        if vm.node == node.uuid:
            raise Refused(f"it is there already: {call}")
        if _size(vm) > self.free(node):
            raise Refused(f"HOST_NOT_ENOUGH_FREE_MEMORY: {call}: {_size(vm)} > {self.free(node)}")
        if not {disk.sr for disk in vm.disks if disk.sr is not None} <= node.srs:
            raise Refused(f"VM_REQUIRES_SR: {call}")
        if not vm.vcpu_unrestricted and vm.vcpus_max > node.cpus:
            raise Refused(f"HOST_NOT_ENOUGH_PCPUS: {call}")

    # --- what is done -------------------------------------------------------------------------

    def _begun(self, call: Call, txn: str) -> dict[str, Any]:
        operation = Operation(kind=_kind(call), task=_task_name(call), txn=txn)
        reserved = {"reserved_on": call.node} if isinstance(call, ARRIVES) else {}
        return {"operations": (operation,), **reserved}

    def _task(self, uuid: str, call: Call, txn: str) -> None:
        task = Task(uuid=uuid, name=_task_name(call), txn=txn)
        self.observed = replace(self.observed, tasks=(*self.observed.tasks, task))

    def _commit(self, call: Call) -> None:
        if isinstance(call, NodeCall):
            node = replace(self.observed.nodes[call.node], enabled=isinstance(call, EnableNode))
            self.observed = replace(self.observed, nodes={**self.observed.nodes, call.node: node})
            if isinstance(call, DeclareDead):
                self._write_off(call.node)
            return
        vm = self.observed.vms[call.vm]
        changes = _effect(call, vm)
        if isinstance(call, WITH_TASK):
            changes |= {"operations": (), "reserved_on": None}
        self._put(replace(vm, **changes))

    def _write_off(self, node: str) -> None:
        for vm in self.observed.vms.values():
            disks = tuple(
                replace(disk, locked_by=tuple(uuid for uuid in disk.locked_by if uuid != node))
                for disk in vm.disks
            )
            changes = _HALTED if vm.node == node else {}
            self._put(replace(vm, disks=disks, **changes))

    def _put(self, vm: ObservedVM) -> None:
        self.observed = replace(self.observed, vms={**self.observed.vms, vm.uuid: vm})


def _size(vm: ObservedVM) -> int:
    own = vm.static_max if vm.domain_type == "pv_in_pvh" else vm.dynamic_min
    return own + vm.overhead


def _kind(call: Call) -> str:
    return KINDS.get(type(call).__name__, type(call).__name__.lower())


def _task_name(call: Call) -> str:
    return f"Async.VM.{_kind(call)}"


def _effect(call: Call, vm: ObservedVM) -> dict[str, Any]:
    match call:
        case StartOn(node=node) | ResumeOn(node=node) | PoolMigrate(node=node):
            return {"power": RUNNING, "node": node}
        case CleanShutdown():
            return {"power": HALTED, "node": None}
        case Suspend():
            return {"power": SUSPENDED, "node": None}
        case ResetPower():
            return _HALTED
        case Unpause():
            return {"power": RUNNING}
        case EjectMedia(vbd=vbd):
            empty = [replace(d, vdi=None, sr=None) if d.vbd == vbd else d for d in vm.disks]
            return {"disks": tuple(empty)}
        case SetNameLabel(label=label):
            return {"name": label}
        case AddTag(label=label):
            return {"tags": (*vm.tags, label)}
    return _resized(call, vm)


def _resized(call: Call, vm: ObservedVM) -> dict[str, Any]:
    """The pool works out the overhead of a changed VM anew, at its next start."""
    changed: dict[str, Any]
    match call:
        case SetMemory(size=size, static_min=low):
            changed = dict.fromkeys(("dynamic_min", "dynamic_max", "static_max"), size)
            changed["static_min"] = low
        case SetVcpusMax(count=count):
            changed = {"vcpus_max": count}
        case SetVcpusAtStartup(count=count):
            changed = {"vcpus_at_startup": count}
        case _:
            raise AssertionError(f"a call that the model does not know: {call}")
    after = replace(vm, **changed)
    shadow = -(-(256 * after.vcpus_max + 2 * (after.static_max // MIB)) // 256)
    return {**changed, "overhead": (2 + max(1, shadow) + -(-38 * after.vcpus_max // 256)) * MIB}
