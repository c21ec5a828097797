"""The servers' memory arithmetic, exact to the byte (MiB = 2**20).

Published rules of the toolstack: a guest counts with its dynamic minimum plus overhead, on the host
where it is and on the host where it is about to be.
"""

from collections.abc import Iterable

from simulator.database import Row

MIB = 1 << 20
_PAGES_PER_VCPU = 256
_APPROXIMATE_VCPUS = 64


def overhead(domain_type: str, vcpus: int, static_max: int, shadow_multiplier: float) -> int:
    """Bytes that a domain needs beside its own memory."""
    static_mib = static_max // MIB
    base = -(-(_PAGES_PER_VCPU * vcpus + 2 * static_mib) // 256)
    shadow = max(1, int(shadow_multiplier * base))
    per_vcpu = -(-38 * vcpus // 256)
    extra = {
        "pv": 1 + shadow,
        "pv_in_pvh": 2 + shadow + 23 + static_mib // 90,
    }.get(domain_type, 2 + shadow)
    return (extra + per_vcpu) * MIB


def overhead_of(vm: Row) -> int:
    """The overhead of a VM as its record stands."""
    multiplier = vm.fields["HVM_shadow_multiplier"]
    assert isinstance(multiplier, float | int)
    kind = vm.text("domain_type")
    return overhead(kind, vm.number("VCPUs_max"), vm.number("memory_static_max"), float(multiplier))


def needed(vm: Row) -> int:
    """Bytes that a host must have free before this VM may come."""
    base = "memory_static_max" if vm.text("domain_type") == "pv_in_pvh" else "memory_dynamic_min"
    return vm.number(base) + overhead_of(vm)


def free(host: Row, metrics: Row, vms: Iterable[Row]) -> int:
    """Bytes free on the host if all its guests were squeezed to their minimum."""
    taken = sum(
        vm.number("memory_dynamic_min") + vm.number("memory_overhead")
        for vm in vms
        if host.ref in (vm.text("resident_on"), vm.text("scheduled_to_be_resident_on"))
    )
    return max(0, metrics.number("memory_total") - host.number("memory_overhead") - taken)


def largest_static_max(vm: Row, total: int, approximate: bool) -> int:
    """The most memory, in whole MiB, that the VM can have within ``total`` bytes.

    ``approximate`` counts with 64 vCPUs, whatever the VM has: recorded exchanges show it.
    """
    multiplier = vm.fields["HVM_shadow_multiplier"]
    assert isinstance(multiplier, float | int)
    vcpus = _APPROXIMATE_VCPUS if approximate else vm.number("VCPUs_max")
    kind = vm.text("domain_type")
    low, high = 0, max(0, total // MIB)
    while low < high:
        middle = (low + high + 1) // 2
        whole = middle * MIB + overhead(kind, vcpus, middle * MIB, float(multiplier))
        low, high = (middle, high) if whole <= total else (low, middle - 1)
    return low * MIB


def in_order(vm: Row) -> bool:
    """Whether static min <= dynamic min <= dynamic max <= static max."""
    names = ("static_min", "dynamic_min", "dynamic_max", "static_max")
    limits = [vm.number(f"memory_{name}") for name in names]
    return limits == sorted(limits)
