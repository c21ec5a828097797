"""The rows about dead nodes: whose record is reset, and when the pool writes the node off."""

from __future__ import annotations

from collections.abc import Iterator

from fencing.judgement import Belief, Verdict
from reconciler.actions import UP, Blocked, Cause, Told, Verb
from reconciler.adoption import Adoption
from reconciler.deaths import Deaths, recoverable
from reconciler.drift import NodeChange, VmChange
from reconciler.observed import Observed, ObservedNode
from schema.model import VM, Node

Row = VmChange | NodeChange | Blocked | Told


def recovery_rows(deaths: Deaths, adoption: Adoption, observed: Observed) -> Iterator[Row]:
    """Who has to join a new master first; for each certified node a reset of each VM that is to run again,
    then the write-off."""
    wishes = {real.uuid: vm for vm, real in adoption.vms}
    yield from _awaited(deaths, adoption)
    for node, host in adoption.nodes:
        proof = deaths.certified(host.uuid)
        if proof is None:
            continue
        died = f"{node.name} is dead (certificate {proof.certificate.id})"
        down = [
            (vm, real)
            for vm, real in adoption.vms
            if real.node == host.uuid and real.power in UP and recoverable(vm)
        ]
        for vm, real in down:
            message = f"{died}; its record is reset"
            yield VmChange(vm, real, Verb.RESET, Cause.RECOVERY, "NodeDead", message, ("power",))
        if not down and _to_write_off(host, observed):
            yield _write_off(node, host, died, deaths, wishes, observed)


def silence_rows(deaths: Deaths, adoption: Adoption) -> Iterator[Row | Told]:
    """For each node that may be dead: what keeps its death from being proven."""
    for node, host in adoption.nodes:
        yield from _unproven(node, host, deaths)


def _unproven(node: Node, host: ObservedNode, deaths: Deaths) -> Iterator[Row | Told]:
    """The row of a node that is silent, or to be powered off."""
    verdict = deaths.verdicts.get(node.name, Verdict(Belief.WELL))
    name = f"node/{node.name}"
    match verdict.belief:
        case Belief.REFUSED:
            message, remedy = verdict.message, verdict.remedy
            yield Blocked(
                object=name,
                verb=Verb.FENCE,
                cause=Cause.RECOVERY,
                reason=verdict.reason,
                message=message,
                remedy=remedy,
            )
        case Belief.DOOMED if held := deaths.held(node.name):
            yield Blocked(
                object=name,
                verb=Verb.FENCE,
                cause=Cause.RECOVERY,
                reason=verdict.reason or "Unproven",
                message=f"it is silent, and nothing proves that it is off: {held}",
                remedy=f"look at it; {verdict.remedy or f'when it is off: {deaths.way_out(node.name)}'}",
            )
        case Belief.DOOMED | Belief.WATCHED:
            message = "its death is looked for" if verdict.may_look else "silent"
            reason = "Doomed" if verdict.may_look else verdict.reason
            yield NodeChange(node, host, Verb.FENCE, Cause.RECOVERY, reason, message)
        case Belief.BLIND | Belief.SPARED:
            yield Told(object=name, reason=verdict.reason, message=verdict.message)


def _awaited(deaths: Deaths, adoption: Adoption) -> Iterator[Told]:
    """Members that keep every start waiting, since any VM may be found on them."""
    for host in deaths.awaited():
        name = adoption.node_name(host)
        message = "it has yet to join the pool's new master, and nothing starts anywhere before"
        yield Told(object=f"node/{name}", reason="NotJoined", message=message)


def _to_write_off(host: ObservedNode, observed: Observed) -> bool:
    """Whether the pool still counts on the host: VMs on it, its marks on their disks, its readiness."""
    return host.enabled or any(
        real.node == host.uuid or any(host.uuid in disk.locked_by for disk in real.disks)
        for real in observed.vms.values()
    )


def _write_off(
    node: Node,
    host: ObservedNode,
    died: str,
    deaths: Deaths,
    wishes: dict[str, VM],
    observed: Observed,
) -> Row:
    """It resets whatever is resident there, so all of that has to be proven first."""
    for uuid in sorted(observed.vms):
        real = observed.vms[uuid]
        if real.node != host.uuid:
            continue
        vm = wishes.get(uuid)
        accepted = (
            vm.recovery.proof if vm is not None else (deaths.proofs[host.uuid].certificate.kind,)
        )
        doubts = deaths.unproven(real, accepted)
        if doubts:
            name = f"vm/{vm.name}" if vm is not None else f'"{real.name}"'
            where = ", ".join(_name(doubt.host, observed) for doubt in doubts)
            return Blocked(
                object=f"node/{node.name}",
                verb=Verb.WRITE_OFF,
                cause=Cause.RECOVERY,
                reason="Unproven",
                message=f"{died}, but {name} may still run on {where}",
                remedy=f"cxm why node/{node.name}",
            )
    message = f"{died}; the pool frees what it holds"
    return NodeChange(node, host, Verb.WRITE_OFF, Cause.RECOVERY, "NodeDead", message)


def _name(uuid: str, observed: Observed) -> str:
    """The pool's own name for a host."""
    host = observed.nodes.get(uuid)
    return host.name if host is not None else uuid
