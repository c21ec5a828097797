"""Whether a host can take a VM: the prechecks of a start, a resume and a migration, in order."""

from simulator import devices, memory
from simulator.database import Row
from simulator.pool import HostState, Pool
from simulator.values import NULL, ApiError


def free_memory(pool: Pool, host: Row) -> int:
    """host.compute_free_memory, in bytes."""
    return memory.free(host, pool.metrics_of(host), pool.db.rows("VM"))


def assert_can_host(pool: Pool, vm: Row, host_ref: str) -> HostState:
    """The first failing precheck; the host if none fails. The CPU is a check of its own."""
    host = pool.db.find("host", host_ref)
    if host is None or not pool.is_live(host):
        raise ApiError("HOST_NOT_LIVE")
    if not host.flag("enabled"):
        raise ApiError("HOST_DISABLED", host.ref)
    _assert_storage(pool, vm, host)
    _assert_networks(pool, vm, host)
    _assert_memory(pool, vm, host)
    _assert_cpus(vm, host)
    return pool.host_of(host_ref)


def assert_memory_limits(vm: Row) -> None:
    """The sanity of the VM's memory range, which ``force`` skips."""
    if not memory.in_order(vm):
        raise ApiError("MEMORY_CONSTRAINT_VIOLATION")


def assert_cpu_fits(vm: Row, host: Row) -> None:
    """A VM with a memory of its own needs the CPU features that it was started with."""
    flags, cpu = vm.map("last_boot_CPU_flags"), host.map("cpu_info")
    if not flags.get("features") or vm.text("power_state") == "Halted":
        return
    reason = ""
    if flags["vendor"] != cpu["vendor"]:
        reason = "VM last booted on a host which had a CPU from a different vendor."
    elif not _within(flags["features"], cpu["features_hvm"]):
        reason = "VM last booted on a CPU with features this host's CPU does not have."
    if reason:
        raise ApiError("VM_INCOMPATIBLE_WITH_THIS_HOST", vm.ref, host.ref, reason)


def possible_hosts(pool: Pool, vm: Row) -> list[HostState]:
    """VM.get_possible_hosts: all hosts that pass the prechecks, the CPU's not asked."""
    return [host for host in pool.hosts.values() if _passes(pool, vm, host)]


def choose(pool: Pool, vm: Row) -> HostState:
    """Where VM.start goes: the affinity host, else any, the master last. NO_HOSTS_AVAILABLE."""
    hosts = possible_hosts(pool, vm)
    if not hosts:
        raise ApiError("NO_HOSTS_AVAILABLE")
    for host in hosts:
        if host.row.ref == vm.text("affinity"):
            return host
    others = [host for host in hosts if host is not pool.master]
    return pool.chance.choice(others or hosts)


def _passes(pool: Pool, vm: Row, host: HostState) -> bool:
    try:
        assert_can_host(pool, vm, host.row.ref)
    except ApiError:
        return False
    return True


def _assert_storage(pool: Pool, vm: Row, host: Row) -> None:
    plugged = {
        pbd.text("SR")
        for pbd in pool.db.referred(host, "PBDs", "PBD")
        if pbd.flag("currently_attached")
    }
    wanted = [vdi.text("SR") for _, vdi in devices.vdis_of(pool, vm)]
    image = pool.db.find("VDI", vm.text("suspend_VDI"))
    for sr in [*wanted, *([image.text("SR")] if image else [])]:
        if sr not in plugged:
            raise ApiError("VM_REQUIRES_SR", vm.ref, sr)


def _assert_networks(pool: Pool, vm: Row, host: Row) -> None:
    for vif in pool.db.referred(vm, "VIFs", "VIF"):
        network = pool.db.find("network", vif.text("network"))
        if network is None:
            continue
        pifs = list(pool.db.referred(network, "PIFs", "PIF"))
        here = [pif for pif in pifs if pif.text("host") == host.ref]
        if pifs and not here:
            raise ApiError("VM_REQUIRES_NETWORK", vm.ref, network.ref)
        unplugged = here and not here[0].flag("currently_attached")
        if unplugged or (not pifs and _pinned_elsewhere(pool, vm, network, host)):
            raise ApiError("HOST_CANNOT_ATTACH_NETWORK", host.ref, network.ref)


def _pinned_elsewhere(pool: Pool, vm: Row, network: Row, host: Row) -> bool:
    """A network without cards is inside one host as soon as one of its VMs runs there."""
    if network.map("other_config").get("assume_network_is_shared") == "true":
        return False
    places = set()
    for vif in pool.db.referred(network, "VIFs", "VIF"):
        other = pool.db.find("VM", vif.text("VM"))
        if other is not None and other is not vm:
            places.add(other.text("resident_on"))
    return bool(places - {NULL, host.ref})


def _assert_memory(pool: Pool, vm: Row, host: Row) -> None:
    needed, available = memory.needed(vm), free_memory(pool, host)
    if needed > available:
        raise ApiError("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(available))


def _assert_cpus(vm: Row, host: Row) -> None:
    wanted, there = vm.number("VCPUs_max"), int(host.map("cpu_info")["cpu_count"])
    unrestricted = vm.map("platform").get("vcpu-unrestricted") == "true"
    if wanted > there and not unrestricted:
        raise ApiError("HOST_NOT_ENOUGH_PCPUS", str(wanted), str(there))


def _within(needed: str, offered: str) -> bool:
    """Whether every feature bit of the one is in the other; missing words are zero."""
    have = [int(word, 16) for word in offered.split("-")]
    want = [int(word, 16) for word in needed.split("-")]
    have += [0] * (len(want) - len(have))
    return all(word & ~have[index] == 0 for index, word in enumerate(want))
