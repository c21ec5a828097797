"""Steps: the next call towards the end of a row, derived from the observed state alone.

A restart is stop, set, start: which of them comes next is read off the VM each time, never remembered,
so a daemon that was killed in between goes on where the pool stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec.structs import replace as with_fields

from reconciler.actions import (
    AddTag,
    Blocked,
    Call,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    EjectMedia,
    EnableNode,
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
    Verb,
)
from reconciler.aspects import memory_met, missing_tags, vcpus_met
from reconciler.drift import Change, NodeChange, VmChange
from reconciler.gates import blocked
from reconciler.journal import OwnStop
from reconciler.memory import need, need_after
from reconciler.observed import ObservedVM, PowerState
from reconciler.placement import Board, Choice, Wanted, reject
from schema.model import VM, Node


@dataclass(frozen=True, slots=True)
class Step:
    """The next call, and the node (by name) on which it puts the VM, where it does.

    `size`: bytes that the VM will take there beyond those that it takes there now.
    """

    call: Call
    node: str | None = None
    size: int = 0


def next_step(
    change: Change, board: Board, owed: OwnStop | None, network: str | None
) -> Step | Blocked:
    """The call that brings this row forward, or why there is none. `network`: of migrations."""
    if isinstance(change, NodeChange):
        return Step(_node_call(change), change.node.name)
    step = _step(change, board, owed, network)
    return _unless_blocked(change, step)


def _node_call(change: NodeChange) -> Call:
    uuid = change.host.uuid
    match change.verb:
        case Verb.WRITE_OFF:
            return DeclareDead(node=uuid, closes=change.host.enabled)
        case Verb.CORDON:
            return DisableNode(node=uuid)
        case _:
            return EnableNode(node=uuid)


def _step(
    change: VmChange, board: Board, owed: OwnStop | None, network: str | None
) -> Step | Blocked:
    match change.verb:
        case Verb.CHANGE:
            return Step(_set(change))
        case Verb.STOP:
            return Step(_down(change.real))
        case Verb.RESET:
            return Step(ResetPower(vm=change.real.uuid))
        case Verb.SUSPEND:
            paused = change.real.power is PowerState.PAUSED
            vm = change.real.uuid
            return Step(Unpause(vm=vm) if paused else Suspend(vm=vm))
        case Verb.MIGRATE:
            return _migrate(change, board, network)
        case Verb.RESTART:
            return _restart(change, board, owed)
        case _:
            return _up(change, board, owed)


def _down(real: ObservedVM) -> Call:
    """A paused guest cannot answer a shutdown: it runs on first."""
    if real.power is PowerState.PAUSED:
        return Unpause(vm=real.uuid)
    return CleanShutdown(vm=real.uuid)


def _up(change: VmChange, board: Board, owed: OwnStop | None) -> Step | Blocked:
    real = change.real
    if real.power is PowerState.PAUSED:
        return Step(Unpause(vm=real.uuid))
    stay = board.adoption.node_uuids.get(owed.node or "") if owed is not None else None
    wanted = Wanted(vm=change.vm, real=real, size=need(real), vcpus=real.vcpus_max, stay=stay)
    if owed is not None and owed.reason == "DrainShutdown":
        choice = _only_there(wanted, owed.node, board)
    else:
        choice = board.choose(wanted)
    if choice.node is None:
        return nowhere(change, choice, wanted.size)
    return _put(real, choice.node, board, wanted.size)


def _put(real: ObservedVM, node: Node, board: Board, size: int) -> Step:
    target = board.adoption.node_uuids[node.name]
    if real.power is PowerState.SUSPENDED:
        return Step(ResumeOn(vm=real.uuid, node=target), node.name, size)
    return Step(StartOn(vm=real.uuid, node=target), node.name, size)


def _only_there(wanted: Wanted, name: str | None, board: Board) -> Choice:
    """A VM shut down for a drain goes back to where it was: what kept it from moving may be there."""
    for node, host in board.adoption.nodes:
        if node.name == name:
            refusal = reject(wanted, node, host, board)
            return Choice(node, ()) if refusal is None else Choice(None, (refusal,))
    return board.choose(wanted)


def _migrate(change: VmChange, board: Board, network: str | None) -> Step | Blocked:
    real = change.real
    if real.power is PowerState.PAUSED:
        message = f"{change.message}; it is paused, and a paused VM cannot move"
        return blocked(change, "Paused", message, "unpause it")
    size = need(real)
    wanted = Wanted(vm=change.vm, real=real, size=size, vcpus=real.vcpus_max, live=True)
    choice = board.choose(wanted)
    if choice.node is None:
        ejected = _eject(wanted, board)
        return nowhere(change, choice, size) if ejected is None else Step(ejected)
    target = board.adoption.node_uuids[choice.node.name]
    return Step(PoolMigrate(vm=real.uuid, node=target, network=network), choice.node.name, size)


def _eject(wanted: Wanted, board: Board) -> Call | None:
    """Where nothing but a disc pins a VM to its node, taking it out is allowed if the tree says so."""
    real = wanted.real
    discs = [disk for disk in real.disks if disk.kind == "CD" and disk.sr is not None]
    if not wanted.vm.eject_media or not discs:
        return None
    disks = tuple(disk for disk in real.disks if disk not in discs)
    choice = board.choose(replace(wanted, real=with_fields(real, disks=disks)))
    if choice.node is None:
        return None
    srs = board.observed.nodes[board.adoption.node_uuids[choice.node.name]].srs
    pinning = (disc for disc in discs if disc.sr not in srs)
    return next((EjectMedia(vm=real.uuid, vbd=disc.vbd) for disc in pinning), None)


def _restart(change: VmChange, board: Board, owed: OwnStop | None) -> Step | Blocked:
    real = change.real
    if real.power is PowerState.HALTED:
        if sized(change.vm, real):
            return _up(change, board, owed)
        return Step(_set_size(change.vm, real))
    if change.reason == "DrainShutdown":
        return Step(_down(real), board.adoption.node_name(real.node))
    size = size_after(change)
    vcpus = _vcpus(change.vm) or real.vcpus_max
    wanted = Wanted(
        vm=change.vm, real=real, size=size, vcpus=vcpus, leaving=real.node, stay=real.node
    )
    choice = board.choose(wanted)
    if choice.node is None:
        return nowhere(change, choice, size)
    uuid = board.adoption.node_uuids[choice.node.name]
    return Step(_down(real), choice.node.name, growth(change, uuid))


def size_after(change: VmChange) -> int:
    """Bytes that the VM will need once it has the size that the tree says."""
    return need_after(change.real, _memory(change.vm), _vcpus(change.vm))


def growth(change: VmChange, uuid: str) -> int:
    """What of `size_after` comes on top of what the VM takes on this host now. What it gives up is not
    counted: it is free only once the pool shows it."""
    now = need(change.real) if change.real.node == uuid else 0
    return max(0, size_after(change) - now)


def _memory(vm: VM) -> int | None:
    return None if "memory" in vm.ignore else vm.memory


def _vcpus(vm: VM) -> int | None:
    return None if "vcpus" in vm.ignore else vm.vcpus


def sized(vm: VM, real: ObservedVM) -> bool:
    """Whether memory and vCPUs are what the tree says, where it says anything."""
    memory, vcpus = _memory(vm), _vcpus(vm)
    return (memory is None or memory_met(memory, real)) and (
        vcpus is None or vcpus_met(vcpus, real)
    )


def _set(change: VmChange) -> Call:
    vm, real = change.vm, change.real
    if "nameLabel" in change.aspects:
        assert vm.name_label is not None
        return SetNameLabel(vm=real.uuid, label=vm.name_label)
    if "tags" in change.aspects:
        return AddTag(vm=real.uuid, label=missing_tags(vm, real)[0])
    return _set_size(vm, real)


def _set_size(vm: VM, real: ObservedVM) -> Call:
    """The next setter. The maximum of vCPUs is raised before, and lowered after, the number in use."""
    memory, vcpus = _memory(vm), _vcpus(vm)
    if memory is not None and not memory_met(memory, real):
        return SetMemory(vm=real.uuid, size=memory, static_min=min(real.static_min, memory))
    assert vcpus is not None
    if vcpus > real.vcpus_max or real.vcpus_at_startup == vcpus:
        return SetVcpusMax(vm=real.uuid, count=vcpus)
    return SetVcpusAtStartup(vm=real.uuid, count=vcpus)


def nowhere(change: VmChange, choice: Choice, size: int) -> Blocked:
    """No node takes the VM: the numbers of the nearest miss, and every node's reason."""
    best = choice.best
    reasons = {rejection.reason for rejection in choice.rejected}
    if best is not None:
        reason, message = "InsufficientMemory", "no node has enough free memory"
    elif len(reasons) == 1:
        reason = next(iter(reasons))
        message = f"every node is refused: {reason}"
    elif not choice.rejected:
        reason, message = "NoNodes", "the tree has no node with role run in this pool"
    else:
        listed = ", ".join(f"{r.node} {r.reason}" for r in choice.rejected[:4])
        reason, message = "NoSuitableNode", f"every node is refused: {listed}"
    return Blocked(
        object=change.object,
        verb=change.verb,
        cause=change.cause,
        reason=reason,
        message=f"{change.message}; {message}",
        remedy=f"cxm why {change.object}",
        needs=size if best is not None else None,
        best=best,
        rejected=choice.rejected,
    )


_BLOCKABLE: dict[type, str] = {
    StartOn: "start_on",
    ResumeOn: "resume_on",
    CleanShutdown: "clean_shutdown",
    Suspend: "suspend",
    PoolMigrate: "pool_migrate",
    Unpause: "unpause",
}


def _unless_blocked(change: VmChange, step: Step | Blocked) -> Step | Blocked:
    """Whoever set blocked_operations on the VM meant it."""
    if isinstance(step, Blocked):
        return step
    operations = [_BLOCKABLE.get(type(step.call))]
    if change.verb is Verb.RESTART:
        operations.append("start_on")  # or it would stay down for good
    forbidden = change.real.blocked_operations
    operation = next((name for name in operations if name is not None and name in forbidden), None)
    if operation is None:
        return step
    code = forbidden[operation]
    return blocked(
        change,
        "OperationBlocked",
        f"the VM's blocked_operations forbid {operation}: {code}",
        f"remove {operation} from blocked_operations, or manage the VM less",
    )
