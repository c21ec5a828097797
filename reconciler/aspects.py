"""Aspects: the single things about a VM that a tree can wish for, and whether they are fulfilled.

A wish is a short text, so that the journal can remember which wish was last seen fulfilled: a wish
that was met and is no longer is drift, a wish never met is intent.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.observed import ObservedVM, PowerState
from reconciler.placement import allowed_here, has_domain
from reconciler.records import Aspect
from schema.model import VM, VmState

POWER: dict[VmState, PowerState] = {
    VmState.RUNNING: PowerState.RUNNING,
    VmState.HALTED: PowerState.HALTED,
    VmState.SUSPENDED: PowerState.SUSPENDED,
    VmState.RETIRED: PowerState.HALTED,
}


def desired_power(vm: VM) -> PowerState | None:
    """None where cxm neither starts nor stops the VM."""
    return None if vm.state is None or "state" in vm.ignore else POWER.get(vm.state)


def power_met(wish: PowerState, real: ObservedVM) -> bool:
    return real.power is wish


def memory_met(size: int, real: ObservedVM) -> bool:
    return real.static_max == size and real.dynamic_max == size and real.dynamic_min == size


def vcpus_met(count: int, real: ObservedVM) -> bool:
    return real.vcpus_max == count and real.vcpus_at_startup == count


def missing_tags(vm: VM, real: ObservedVM) -> tuple[str, ...]:
    return tuple(tag for tag in vm.tags_add if tag not in real.tags)


def wishes(vm: VM, real: ObservedVM, node: str | None) -> Iterator[tuple[Aspect, str, bool]]:
    """Every managed aspect of a VM: its name, the wish, and whether it is fulfilled.

    `node` is the name of the node that the VM is on. A retired VM is managed in nothing but its stop.
    """
    power = desired_power(vm)
    if power is not None:
        yield "power", power.value, power_met(power, real)
    if vm.state is VmState.RETIRED:
        return
    ignore = vm.ignore
    placement = vm.placement
    restricted = bool(placement.only or placement.avoid) and "placement" not in ignore
    if restricted and has_domain(real) and node is not None:
        yield "placement", _placement_wish(vm), allowed_here(vm, node)
    if vm.memory is not None and "memory" not in ignore:
        yield "memory", str(vm.memory), memory_met(vm.memory, real)
    if vm.vcpus is not None and "vcpus" not in ignore:
        yield "vcpus", str(vm.vcpus), vcpus_met(vm.vcpus, real)
    if vm.name_label is not None and "nameLabel" not in ignore:
        yield "nameLabel", vm.name_label, vm.name_label == real.name
    if vm.tags_add and "tags" not in ignore:
        yield "tags", ",".join(vm.tags_add), not missing_tags(vm, real)


def _placement_wish(vm: VM) -> str:
    return f"only={','.join(vm.placement.only)};avoid={','.join(vm.placement.avoid)}"
