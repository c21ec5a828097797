"""Placement: where a VM fits and where it is put. Rules of the tree, reach of the pool, then size."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.actions import UP, Rejection
from reconciler.adoption import Adoption
from reconciler.journal import JournalState
from reconciler.memory import Room, footprint, room, unused
from reconciler.observed import Observed, ObservedNode, ObservedVM, PowerState
from schema.model import VM, Node

Rank = tuple[int, str, str]
"""(minus the free bytes, node name, host uuid): sorts the node with most room first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: a home for `vm` that takes `size` bytes and `vcpus`.

    `leaving` is the host it stands on, for a restart: its own memory there becomes free first. `stay`
    is the host that it is not to be taken from without need.
    `live` adds what a live migration asks for beyond a start.
    """

    vm: VM
    real: ObservedVM
    size: int
    vcpus: int
    leaving: str | None = None
    stay: str | None = None
    live: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """`node` is None where every node was rejected; `best` is the one that came nearest."""

    node: Node | None
    rejected: tuple[Rejection, ...]

    @property
    def best(self) -> Rejection | None:
        """The rejection for memory with the most of it; else the one that is left when all agree."""
        short = [r for r in self.rejected if r.reason == "InsufficientMemory"]
        return max(short, key=lambda r: r.has or 0, default=None)


class Board:
    """The nodes as one plan fills them. `closed`: node name -> why nothing may be put there.

    Nodes are kept in the order of their free memory, so that the best one is found without asking all.
    """

    def __init__(
        self,
        observed: Observed,
        adoption: Adoption,
        closed: Mapping[str, str],
        journal: JournalState,
    ) -> None:
        self.refused = {subject: item.refused for subject, item in journal.backoff.items()}
        self.observed = observed
        self.adoption = adoption
        self.closed = closed
        self.taken = room(observed, journal.in_flight.values())
        self._nodes = {host.uuid: (node, host) for node, host in adoption.nodes}
        self._ranks = {uuid: self._rank(uuid) for uuid in self._nodes}
        self._order = sorted(self._ranks.values())

    def _rank(self, uuid: str) -> Rank:
        node, host = self._nodes[uuid]
        return (-unused(host, self.taken), node.name, uuid)

    def place(self, real: ObservedVM, uuid: str, size: int) -> None:
        """Count a VM on a host from now on. `size`: bytes beyond those that it takes there now."""
        if real.node == uuid:
            self.taken.grow(uuid, size)
        else:
            self.taken.add(uuid, size)
        self.taken.pin(real, uuid)
        if uuid in self._ranks:
            del self._order[bisect_left(self._order, self._ranks[uuid])]
            self._ranks[uuid] = self._rank(uuid)
            insort(self._order, self._ranks[uuid])

    def choose(self, wanted: Wanted) -> Choice:
        """The best node: preferred ones in their order, then where it is, then by free memory and name."""
        for uuid in self._candidates(wanted):
            node, host = self._nodes[uuid]
            if reject(wanted, node, host, self) is None:
                return Choice(node, ())
        return Choice(None, self.why_not(wanted))

    def _candidates(self, wanted: Wanted) -> Iterator[str]:
        preferred = [
            self.adoption.node_uuids[name]
            for name in wanted.vm.placement.prefer
            if name in self.adoption.node_uuids
        ]
        if wanted.stay is not None and wanted.stay in self._nodes:
            preferred.append(wanted.stay)
        yield from preferred
        for _, _, uuid in self._order:
            if uuid not in preferred:
                yield uuid

    def why_not(self, wanted: Wanted) -> tuple[Rejection, ...]:
        """Every node's reason to refuse the VM, for those that have one."""
        refusals = (reject(wanted, node, host, self) for node, host in self.adoption.nodes)
        return tuple(refusal for refusal in refusals if refusal is not None)


def reject(wanted: Wanted, node: Node, host: ObservedNode, board: Board) -> Rejection | None:
    """Why this node cannot take the VM, or None. Rules from the operator first, then the pool's."""
    reason = _by_rule(wanted, node, board) or _by_reach(wanted, host, board)
    if reason is None and host.uuid in board.refused.get(wanted.real.uuid, ()):
        reason = "RefusedBefore"
    if reason is not None:
        return Rejection(node=node.name, reason=reason)
    return _by_size(wanted, node, host, board.taken)


def _by_rule(wanted: Wanted, node: Node, board: Board) -> str | None:
    placement = wanted.vm.placement
    if placement.only and node.name not in placement.only:
        return "NotInOnly"
    if node.name in placement.avoid:
        return "Avoided"
    return board.closed.get(node.name)


def _by_reach(wanted: Wanted, host: ObservedNode, board: Board) -> str | None:
    real = wanted.real
    if not host.live:
        return "NotLive"
    if not host.enabled:
        return "Disabled"
    if any(operation.kind in _GOING_DOWN for operation in host.operations):
        return "GoingDown"
    if any(disk.sr is not None and disk.sr not in host.srs for disk in real.disks):
        return "StorageNotAttached"
    if not all(disk.known for disk in real.disks):
        return "StorageUnknown"
    suspended = real.power is PowerState.SUSPENDED
    if suspended and real.suspend_sr is not None and real.suspend_sr not in host.srs:
        return "StorageNotAttached"
    if _network_lacks(wanted, host, board):
        return "NetworkNotAttached"
    if real.hardware_platform not in host.hardware_platforms:
        return "HardwarePlatform"
    if wanted.live and not _same_vendor(real, host, board):
        return "CpuVendor"
    return None


_GOING_DOWN = frozenset({"evacuate", "shutdown", "reboot"})


def _network_lacks(wanted: Wanted, host: ObservedNode, board: Board) -> bool:
    for uuid in wanted.real.networks:
        homes = board.taken.internal.get(uuid)
        if homes is None and uuid not in host.networks:
            return True
        if homes and any(home != host.uuid for home in _pins(homes, wanted)):
            return True
    return False


def _pins(homes: Mapping[str, str], wanted: Wanted) -> Iterator[str]:
    """The hosts that hold an internal network: by its VMs, by the wanted one only while it stays up."""
    own = wanted.real.uuid
    return (home for vm, home in homes.items() if vm != own or wanted.live)


def _same_vendor(real: ObservedVM, host: ObservedNode, board: Board) -> bool:
    """Vendors must agree; features are left to the call, since only Xen's own rule compares them."""
    source = board.observed.nodes.get(real.node) if real.node is not None else None
    return source is None or not source.cpu_vendor or source.cpu_vendor == host.cpu_vendor


def _left(wanted: Wanted, host: ObservedNode, taken: Room) -> int:
    own = footprint(wanted.real) if wanted.leaving == host.uuid else 0
    return unused(host, taken) + own


def _by_size(wanted: Wanted, node: Node, host: ObservedNode, taken: Room) -> Rejection | None:
    if wanted.vcpus > host.cpus and not wanted.real.vcpu_unrestricted:
        return Rejection(node=node.name, reason="NotEnoughCpus", needs=wanted.vcpus, has=host.cpus)
    stays = 1 if wanted.leaving == host.uuid else 0
    there = taken.present.get(host.uuid, 0) - stays
    if node.capacity.max_vms and there >= node.capacity.max_vms:
        return Rejection(
            node=node.name, reason="MaxVms", needs=there + 1, has=node.capacity.max_vms
        )
    has = max(0, _left(wanted, host, taken) - node.reserve.memory)
    if wanted.size > has:
        return Rejection(node=node.name, reason="InsufficientMemory", needs=wanted.size, has=has)
    return None


def allowed_here(vm: VM, name: str) -> bool:
    """Whether the hard rules of the tree let this VM stay on the node of this name."""
    placement = vm.placement
    return name not in placement.avoid and (not placement.only or name in placement.only)


def has_domain(real: ObservedVM) -> bool:
    return real.power in UP
