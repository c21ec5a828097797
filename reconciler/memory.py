"""Memory: XenAPI's own arithmetic of what a VM takes and what a node has left.

Admission follows what `host.compute_free_memory` counts: a VM takes its dynamic minimum and overhead on
every node where it is resident or reserved, so a VM under migration counts twice. Actions that were
begun but are not yet to be seen in the pool are counted too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, floor

from reconciler.actions import PoolMigrate, ResumeOn, StartOn
from reconciler.journal import InFlight
from reconciler.observed import Observed, ObservedNode, ObservedVM

MIB = 1 << 20


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


def footprint(vm: ObservedVM) -> int:
    """Bytes that XenAPI counts for this VM on a node where it is: what it can be squeezed to."""
    return vm.dynamic_min + vm.overhead


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
    internal: dict[str, dict[str, str]] = field(default_factory=dict)
    """Internal network -> the VMs on it that are on a host, or will be: VM uuid -> host uuid."""

    def add(self, node: str, size: int) -> None:
        self.grow(node, size)
        self.present[node] = self.present.get(node, 0) + 1

    def grow(self, node: str, size: int) -> None:
        self.used[node] = self.used.get(node, 0) + size

    def pin(self, vm: ObservedVM, node: str) -> None:
        """An internal network is where its VMs are: from now on also where this one is."""
        for network in vm.networks:
            if network in self.internal:
                self.internal[network][vm.uuid] = node


def room(observed: Observed, flights: Iterable[InFlight]) -> Room:
    """What is taken now, including what is on its way."""
    internal = [uuid for uuid, network in observed.networks.items() if network.internal]
    result = Room(internal={uuid: {} for uuid in internal})
    for vm in observed.vms.values():
        homes = {home for home in (vm.node, vm.reserved_on) if home is not None}
        for home in homes:
            result.add(home, footprint(vm))
        standing = vm.node or vm.reserved_on
        if internal and standing is not None:
            result.pin(vm, standing)
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
        result.pin(vm, call.node)


def free(node: ObservedNode, taken: Room) -> int:
    """What `host.compute_free_memory` would answer, less what is on its way. Bytes, never negative."""
    return max(0, unused(node, taken))


def unused(node: ObservedNode, taken: Room) -> int:
    """As `free`, but negative where the node is over-committed."""
    used = taken.used.get(node.uuid, 0)
    return node.memory_total - node.memory_overhead - node.control_memory - used
