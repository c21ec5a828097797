"""Adoption: which object of the tree is which object of the pool.

Identity is the uuid in the YAML. A name identifies only until the uuid is written down, and only if it
hits exactly one VM that is no template, snapshot or copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.observed import Observed, ObservedNode, ObservedVM
from schema.model import VM, Desired, Node, Role, VmState


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A VM of the tree that is no VM of the pool, or not surely one. `reason` is for machines."""

    vm: VM
    reason: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Adoption:
    """`vms` and `nodes` are in the order of their names. `node_names` names every host of the pool.

    A host that the tree does not know keeps the pool's own name for it, in brackets, which no node
    of a tree can have.
    """

    vms: tuple[tuple[VM, ObservedVM], ...]
    nodes: tuple[tuple[Node, ObservedNode], ...]
    node_names: Mapping[str, str]
    node_uuids: Mapping[str, str]
    unmatched: tuple[Unmatched, ...]
    absent_nodes: tuple[Node, ...]

    def node_name(self, uuid: str | None) -> str:
        return "no node" if uuid is None else self.node_names.get(uuid, "an unknown host")


def adopt(desired: Desired, observed: Observed) -> Adoption:
    """Match every run node and every VM of the tree with the pool."""
    nodes, absent = _nodes(desired, observed)
    names = {uuid: f"[{host.name}]" for uuid, host in observed.nodes.items()}
    names.update({host.uuid: node.name for node, host in nodes})
    vms, unmatched = _vms(desired, observed)
    return Adoption(
        vms=tuple(vms),
        nodes=tuple(nodes),
        node_names=names,
        node_uuids={node.name: host.uuid for node, host in nodes},
        unmatched=tuple(unmatched),
        absent_nodes=tuple(absent),
    )


def _nodes(
    desired: Desired, observed: Observed
) -> tuple[list[tuple[Node, ObservedNode]], list[Node]]:
    found: list[tuple[Node, ObservedNode]] = []
    absent: list[Node] = []
    for node in desired.nodes.values():
        if Role.RUN not in node.roles or node.host is None:
            continue
        host = observed.nodes.get(node.host.uuid)
        if host is None:
            absent.append(node)
        else:
            found.append((node, host))
    return found, absent


def _vms(
    desired: Desired, observed: Observed
) -> tuple[list[tuple[VM, ObservedVM]], list[Unmatched]]:
    found: list[tuple[VM, ObservedVM]] = []
    unmatched: list[Unmatched] = []
    seen = observed.vms
    service = service_vms(desired)
    owners = _owners(desired)
    for vm in desired.vms.values():
        if vm.state is VmState.IGNORED or vm.match.uuid in service:
            continue
        uuid = vm.match.uuid
        real = seen.get(uuid) if uuid is not None else None
        if real is not None:
            found.append((vm, real))
            continue
        match = _by_name(vm, observed, owners) if uuid is None else _missing(vm, uuid, observed)
        if isinstance(match, Unmatched):
            unmatched.append(match)
        else:
            found.append((vm, match))
    return found, unmatched


def service_vms(desired: Desired) -> frozenset[str]:
    """VMs in which cxm's own daemons run: they belong to their node and are left out of placement."""
    return frozenset(
        node.daemon.vm
        for node in desired.nodes.values()
        if node.daemon is not None and node.daemon.vm is not None
    )


def started_by_pool(desired: Desired, observed: Observed) -> tuple[str, ...]:
    """Names in the pool of the VMs that it starts by itself at every boot of any host. A service VM may
    be started so: nobody else would start it."""
    if not observed.pool.auto_poweron:
        return ()
    own = service_vms(desired)
    flagged = (vm for uuid, vm in observed.vms.items() if vm.auto_poweron and uuid not in own)
    return tuple(sorted(vm.name for vm in flagged))


def _missing(vm: VM, uuid: str, observed: Observed) -> Unmatched:
    copy = next((copy for copy in observed.copies if copy.uuid == uuid), None)
    if copy is not None:
        return Unmatched(
            vm,
            "NotAVm",
            f"uuid {uuid} is a {copy.kind} ({copy.name})",
            "put the uuid of the virtual machine itself into match.uuid",
        )
    if not observed.complete:
        return Unmatched(
            vm,
            "Unknown",
            f"uuid {uuid} was not seen, and the observation is incomplete",
            "wait until the whole pool answers",
        )
    return Unmatched(
        vm,
        "VmNotFound",
        f"no VM of the pool has uuid {uuid}",
        "correct match.uuid, or remove the file if the VM is gone for good",
    )


def _owners(desired: Desired) -> Mapping[str, str]:
    """Which object of the tree claims a VM by its uuid, as its own or as its service VM."""
    files = {vm.match.uuid: f"vm/{vm.name}" for vm in desired.vms.values() if vm.match.uuid}
    daemons = {
        node.daemon.vm: f"node/{node.name}"
        for node in desired.nodes.values()
        if node.daemon is not None and node.daemon.vm is not None
    }
    return files | daemons


def _by_name(vm: VM, observed: Observed, owners: Mapping[str, str]) -> ObservedVM | Unmatched:
    """The one VM of this name. In an incomplete picture there may be another, so there is none."""
    hits = [real for real in observed.vms.values() if real.name == vm.match.name]
    if len(hits) == 1 and observed.complete:
        return _unless_owned(vm, hits[0], owners)
    if len(hits) < 2 and not observed.complete:
        return Unmatched(
            vm,
            "Unknown",
            f'which VMs are named "{vm.match.name}" is not known: the observation is incomplete',
            "wait until the whole pool answers, or write match.uuid",
        )
    if hits:
        uuids = ", ".join(sorted(real.uuid for real in hits))
        return Unmatched(
            vm,
            "AmbiguousMatch",
            f'{len(hits)} VMs are named "{vm.match.name}": {uuids}',
            "write the uuid of the right one into match.uuid",
        )
    return Unmatched(
        vm,
        "VmNotFound",
        f'no VM of the pool is named "{vm.match.name}"',
        "correct match.name, or write match.uuid",
    )


def _unless_owned(vm: VM, real: ObservedVM, owners: Mapping[str, str]) -> ObservedVM | Unmatched:
    owner = owners.get(real.uuid)
    if owner is None:
        return real
    return Unmatched(
        vm,
        "AmbiguousMatch",
        f'the only VM named "{vm.match.name}" is that of {owner}, by its uuid {real.uuid}',
        "write the uuid of the VM that is meant into match.uuid",
    )
