"""Placement: where a VM fits, by XenAPI's own arithmetic, and where it is put.

Admission follows what `host.compute_free_memory` counts: a VM takes its dynamic minimum and overhead on
every node where it is resident or reserved, so a VM under migration counts twice. Actions that were
begun but are not yet to be seen in the pool are counted too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, floor

from reconciler.actions import UP, PoolMigrate, Rejection, ResumeOn, StartOn
from reconciler.adoption import Adoption
from reconciler.journal import InFlight
from reconciler.observed import Observed, ObservedNode, ObservedVM, PowerState
from schema.model import VM, Node

MIB = 1 << 20
PLENTY = 1 << 60


def overhead(domain_type: str, vcpus_max: int, static_max: int, multiplier: float) -> int:
    """Bytes that a domain costs beyond its own memory, rounded as XenAPI rounds them.

    Used to foresee a change of size; the stored overhead of the record is used otherwise. The term for
    the vCPUs' own structures exists only since xapi 26.1: counting it everywhere errs by one MiB.
    """
    static_mib = static_max // MIB
    shadow = max(1, floor(multiplier * ceil((256 * vcpus_max + 2 * static_mib) / 256)))
    vcpus = ceil(38 * vcpus_max / 256)
    match domain_type:
        case "pv":
            return (1 + shadow) * MIB
        case "pv_in_pvh":
            return (2 + shadow + 23 + ceil(static_mib / 90) + vcpus) * MIB
        case _:
            return (2 + shadow + vcpus) * MIB


def need(vm: ObservedVM) -> int:
    """Bytes that XenAPI asks of a node before it lets this VM start or arrive."""
    own = vm.static_max if vm.domain_type == "pv_in_pvh" else vm.dynamic_min
    return own + vm.overhead


def need_after(vm: ObservedVM, memory: int | None, vcpus: int | None) -> int:
    """As `need`, once memory (bytes) and vCPUs are what the tree says; None leaves them."""
    if memory is None and vcpus is None:
        return need(vm)
    static_max = vm.static_max if memory is None else memory
    own = static_max if vm.domain_type == "pv_in_pvh" or memory is not None else vm.dynamic_min
    return own + overhead(
        vm.domain_type, vm.vcpus_max if vcpus is None else vcpus, static_max, vm.shadow_multiplier
    )


@dataclass(slots=True)
class Room:
    """Memory in use and VMs present, per host uuid, as the actions of one plan are added up."""

    used: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    internal: dict[str, str] = field(default_factory=dict)
    """Internal network -> the host that it is pinned to, since a VM on it is there."""

    def add(self, node: str, size: int) -> None:
        self.used[node] = self.used.get(node, 0) + size
        self.present[node] = self.present.get(node, 0) + 1

    def remove(self, node: str, size: int) -> None:
        self.used[node] = self.used.get(node, 0) - size
        self.present[node] = self.present.get(node, 0) - 1


def room(observed: Observed, flights: Iterable[InFlight]) -> Room:
    """What is taken now, including what is on its way."""
    result = Room()
    internal = {uuid for uuid, network in observed.networks.items() if network.internal}
    for vm in observed.vms.values():
        homes = {home for home in (vm.node, vm.reserved_on) if home is not None}
        for home in homes:
            result.add(home, need(vm))
        if vm.node is not None and internal:
            result.internal.update({n: vm.node for n in vm.networks if n in internal})
    for flight in flights:
        _count_flight(result, observed, flight)
    return result


def _count_flight(result: Room, observed: Observed, flight: InFlight) -> None:
    call = flight.call
    if not isinstance(call, StartOn | ResumeOn | PoolMigrate):
        return
    vm = observed.vms.get(call.vm)
    if vm is not None and call.node not in (vm.node, vm.reserved_on):
        result.add(call.node, need(vm))


def free(node: ObservedNode, taken: Room) -> int:
    """What `host.compute_free_memory` would answer, less what is on its way. Bytes, never negative."""
    return max(0, _unused(node, taken))


def _unused(node: ObservedNode, taken: Room) -> int:
    """As `free`, but negative where the node is over-committed."""
    used = taken.used.get(node.uuid, 0)
    return node.memory_total - node.memory_overhead - node.control_memory - used


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: a home for `vm` that takes `size` bytes and `vcpus`.

    `leaving` is the host it stands on, for a restart: its own memory there becomes free first.
    `live` adds what a live migration asks for beyond a start.
    """

    vm: VM
    real: ObservedVM
    size: int
    vcpus: int
    leaving: str | None = None
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


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything about the nodes that placement asks, gathered once per plan."""

    observed: Observed
    adoption: Adoption
    closed: Mapping[str, str]
    """Node name -> why nothing may be put there (Cordoned, Draining, Frozen)."""


def choose(wanted: Wanted, ground: Ground, taken: Room) -> Choice:
    """The best node: preferred ones in their order, then the most free memory, then by name."""
    rejected: list[Rejection] = []
    fitting: list[tuple[int, int, str, Node]] = []
    for node, host in ground.adoption.nodes:
        refusal = reject(wanted, node, host, ground, taken)
        if refusal is None:
            rank = _rank(node.name, wanted.vm.placement.prefer)
            fitting.append((rank, -_left(wanted, host, taken), node.name, node))
        else:
            rejected.append(refusal)
    best = min(fitting, default=None, key=lambda item: item[:3])
    return Choice(None if best is None else best[3], tuple(rejected))


def _rank(name: str, prefer: tuple[str, ...]) -> int:
    return prefer.index(name) if name in prefer else len(prefer)


def _left(wanted: Wanted, host: ObservedNode, taken: Room) -> int:
    own = need(wanted.real) if wanted.leaving == host.uuid else 0
    return _unused(host, taken) + own


def reject(
    wanted: Wanted, node: Node, host: ObservedNode, ground: Ground, taken: Room
) -> Rejection | None:
    """Why this node cannot take the VM, or None. Rules from the operator first, then the pool's."""
    reason = _by_rule(wanted, node, ground) or _by_reach(wanted, host, ground, taken)
    if reason is not None:
        return Rejection(node=node.name, reason=reason)
    return _by_size(wanted, node, host, taken)


def _by_rule(wanted: Wanted, node: Node, ground: Ground) -> str | None:
    placement = wanted.vm.placement
    if placement.only and node.name not in placement.only:
        return "NotInOnly"
    if node.name in placement.avoid:
        return "Avoided"
    return ground.closed.get(node.name)


def _by_reach(wanted: Wanted, host: ObservedNode, ground: Ground, taken: Room) -> str | None:
    real = wanted.real
    if not host.live:
        return "NotLive"
    if not host.enabled:
        return "Disabled"
    if any(operation.kind in _GOING_DOWN for operation in host.operations):
        return "GoingDown"
    if any(disk.sr is not None and disk.sr not in host.srs for disk in real.disks):
        return "StorageNotAttached"
    suspended = real.power is PowerState.SUSPENDED
    if suspended and real.suspend_sr is not None and real.suspend_sr not in host.srs:
        return "StorageNotAttached"
    if _network_lacks(real, host, ground, taken):
        return "NetworkNotAttached"
    if real.hardware_platform not in host.hardware_platforms:
        return "HardwarePlatform"
    if wanted.live and not _same_vendor(real, host, ground):
        return "CpuVendor"
    return None


_GOING_DOWN = frozenset({"evacuate", "shutdown", "reboot"})


def _network_lacks(real: ObservedVM, host: ObservedNode, ground: Ground, taken: Room) -> bool:
    networks = ground.observed.networks
    for uuid in real.networks:
        network = networks.get(uuid)
        if network is not None and network.internal:
            if taken.internal.get(uuid, host.uuid) != host.uuid:
                return True
        elif uuid not in host.networks:
            return True
    return False


def _same_vendor(real: ObservedVM, host: ObservedNode, ground: Ground) -> bool:
    """Vendors must agree; features are left to the call, since only Xen's own rule compares them."""
    source = ground.observed.nodes.get(real.node) if real.node is not None else None
    return source is None or not source.cpu_vendor or source.cpu_vendor == host.cpu_vendor


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
