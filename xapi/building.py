"""One object of the picture from its records; pure functions, no opaque reference in a result."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address

from reconciler.observed import (
    Disk,
    Network,
    ObservedNode,
    ObservedVM,
    Operation,
    Pool,
    PowerState,
    Storage,
)
from xapi.records import (
    LOCK_KEY,
    NULL,
    GuestMetricsRecord,
    HostRecord,
    NetworkRecord,
    PoolRecord,
    Record,
    SrRecord,
    VbdRecord,
    VmRecord,
)
from xapi.tables import Tables

SAME_BOOT_S = 60
"""Two boot times of a host that differ by less are taken for one boot, read twice: xapi derives the
moment anew from clock and uptime at each start, and the clock may have been set meanwhile."""

MOST_ADDRESSES = 8
"""More than so many addresses of one guest are of no use to anybody."""

TERM_KEY = "cxm-term-"
"""With a term behind it: a key in the pool's other_config, whose value begins with the node's name."""

ALONE_KEY = "cxm-alone-"
"""With a term, a point and a count behind it: its leader has led alone so often."""

# Written as we write it, and no longer than a 64-bit number: anything else is not ours.
_TERM = re.compile(re.escape(TERM_KEY) + r"([1-9][0-9]{0,17})")
_ALONE = re.compile(re.escape(ALONE_KEY) + r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,17})")


def copy_kind(vm: VmRecord) -> str:
    """Why a record of class VM is no machine: template, snapshot, or "" where it is one."""
    if vm.is_a_snapshot:
        return "snapshot"
    return "template" if vm.is_a_template else ""


def build_pool(pool: PoolRecord, tables: Tables, started_s: float) -> Pool:
    """The pool; `started_s` as `toolstack_start` says of its master."""
    terms = terms_of(pool.other_config)
    term = max(terms, default=0)
    alone = {count: mark for (at, count), mark in alone_of(pool.other_config).items() if at == term}
    return Pool(
        uuid=pool.uuid,
        name=pool.name_label,
        master=_uuid(tables.host, pool.master) or "",
        ha_enabled=pool.ha_enabled,
        rolling_upgrade="rolling_upgrade_in_progress" in pool.other_config,
        auto_poweron=_true(pool.other_config.get("auto_poweron")),
        fences_itself=tables.count("cluster_host") > 0,
        term=term,
        term_holder=terms.get(term, "").partition(" ")[0],
        alone=max(alone, default=0),
        alone_by=alone.get(max(alone, default=0), ""),
        toolstack_started_epoch_s=started_s,
    )


def terms_of(other_config: Mapping[str, str]) -> dict[int, str]:
    """The terms that were claimed in the pool, each with the mark of who claimed it."""
    found = ((_TERM.fullmatch(key), mark) for key, mark in other_config.items())
    return {int(match[1]): mark for match, mark in found if match is not None}


def alone_of(other_config: Mapping[str, str]) -> dict[tuple[int, int], str]:
    """The terms, each with how often its leader says that it led alone, and the mark of who said so."""
    found = ((_ALONE.fullmatch(key), mark) for key, mark in other_config.items())
    return {(int(match[1]), int(match[2])): mark for match, mark in found if match is not None}


def toolstack_start(host: HostRecord | None, before: float) -> float:
    """The epoch second, by the host's own clock, at which its toolstack started; `before` where that
    is not to be seen, as for a moment when it starts."""
    try:
        start = float(host.other_config["agent_start_time"]) if host is not None else before
    except (KeyError, ValueError):
        return before
    return start if math.isfinite(start) else before


def build_storage(sr: SrRecord) -> Storage:
    return Storage(uuid=sr.uuid, name=sr.name_label, kind=sr.type, shared=sr.shared)


def build_network(network: NetworkRecord) -> Network:
    shared = _true(network.other_config.get("assume_network_is_shared"))
    return Network(
        uuid=network.uuid, name=network.name_label, internal=not network.PIFs and not shared
    )


# --- nodes ----------------------------------------------------------------------------------------


def build_node(
    host: HostRecord,
    tables: Tables,
    control: Iterable[VmRecord],
    internal: frozenset[str],
    boot_hint: str,
    operations: tuple[Operation, ...],
) -> ObservedNode:
    """A host with what is attached on it. `internal` networks have no interface anywhere and can be
    made on any host. A host without readable metrics counts as silent: nothing is known of it."""
    metrics = tables.host_metrics.get(host.metrics)
    return ObservedNode(
        uuid=host.uuid,
        name=host.name_label,
        address=host.address,
        enabled=host.enabled,
        live=metrics is not None and metrics.live,
        memory_total=0 if metrics is None else metrics.memory_total,
        memory_overhead=host.memory_overhead,
        control_memory=sum(vm.memory_dynamic_min + vm.memory_overhead for vm in control),
        cpus=_number(host.cpu_info.get("cpu_count")),
        cpu_vendor=host.cpu_info.get("vendor", ""),
        srs=_attached_srs(host, tables),
        networks=_attached_networks(host, tables) | internal,
        hardware_platforms=tuple(sorted(host.virtual_hardware_platform_versions)) or (0,),
        operations=operations,
        serial=host.bios_strings.get("system-serial-number", ""),
        board_serial=host.bios_strings.get("baseboard-serial-number", ""),
        power_on_mode=host.power_on_mode,
        boot_hint=boot_hint,
        started=host.other_config.get("agent_start_time", ""),
    )


def hint_of_boot(host: HostRecord, before: str) -> str:
    """The epoch second at which the host says that it booted, as text; `before` as long as that is
    close. See `ObservedNode` for how little it says."""
    try:
        boot = round(float(host.other_config["boot_time"]))
    except (KeyError, ValueError, OverflowError):
        # Written when the toolstack starts: absent for a moment then, not another boot.
        return before
    if before.isdecimal() and abs(boot - int(before)) < SAME_BOOT_S:
        return before
    return str(boot)


def _attached_srs(host: HostRecord, tables: Tables) -> frozenset[str]:
    pbds = [tables.pbd[ref] for ref in host.PBDs if ref in tables.pbd]
    return frozenset(
        tables.sr[pbd.SR].uuid for pbd in pbds if pbd.currently_attached and pbd.SR in tables.sr
    )


def _attached_networks(host: HostRecord, tables: Tables) -> frozenset[str]:
    pifs = [tables.pif[ref] for ref in host.PIFs if ref in tables.pif]
    attached = [pif.network for pif in pifs if pif.currently_attached]
    return frozenset(tables.network[ref].uuid for ref in attached if ref in tables.network)


# --- virtual machines -----------------------------------------------------------------------------


def build_vm(
    vm: VmRecord, tables: Tables, operations: tuple[Operation, ...], crashed_at: str
) -> ObservedVM:
    """A machine with its drives and networks. `crashed_at`: when the pool last told of a crash."""
    power = _power(vm.power_state)
    domain = _domain_type(vm)
    guest = tables.vm_guest_metrics.get(vm.guest_metrics)
    metrics = tables.vm_metrics.get(vm.metrics)
    return ObservedVM(
        uuid=vm.uuid,
        name=vm.name_label,
        power=power,
        node=_uuid(tables.host, vm.resident_on),
        reserved_on=_uuid(tables.host, vm.scheduled_to_be_resident_on),
        domain_type=domain,
        static_min=vm.memory_static_min,
        dynamic_min=vm.memory_dynamic_min,
        dynamic_max=vm.memory_dynamic_max,
        static_max=vm.memory_static_max,
        overhead=vm.memory_overhead,
        vcpus_max=vm.VCPUs_max,
        vcpus_at_startup=vm.VCPUs_at_startup,
        shadow_multiplier=vm.HVM_shadow_multiplier,
        vcpu_unrestricted=_true(vm.platform.get("vcpu-unrestricted")),
        tags=tuple(sorted(vm.tags)),
        operations=operations,
        blocked_operations=dict(sorted(vm.blocked_operations.items())),
        disks=_disks(vm, tables),
        suspend_sr=_sr_of(vm.suspend_VDI, tables),
        networks=_networks(vm, tables),
        has_tools=_has_tools(vm, tables, power, domain),
        immobile=_immobile(vm, tables),
        crashed=_crashed(vm, tables, crashed_at),
        hardware_platform=vm.hardware_platform_version,
        started_epoch_s=_epoch_s(metrics.start_time) if metrics is not None else 0.0,
        reported=guest is not None and _reported(guest),
        addresses=_addresses(guest.networks) if guest is not None else (),
        auto_poweron=_true(vm.other_config.get("auto_poweron")),
    )


def _power(text: str) -> PowerState:
    try:
        return PowerState(text)
    except ValueError:
        return PowerState.UNKNOWN


def _domain_type(vm: VmRecord) -> str:
    if vm.domain_type != "unspecified":
        return vm.domain_type
    return "hvm" if vm.HVM_boot_policy else "pv"


def _disks(vm: VmRecord, tables: Tables) -> tuple[Disk, ...]:
    vbds = [tables.vbd[ref] for ref in vm.VBDs if ref in tables.vbd]
    return tuple(_disk(vbd, tables) for vbd in sorted(vbds, key=lambda vbd: vbd.uuid))


def _disk(vbd: VbdRecord, tables: Tables) -> Disk:
    medium = None if vbd.empty else tables.vdi.get(vbd.VDI)
    storage = _sr_of(vbd.VDI, tables) if medium else None
    marks = medium.sm_config if medium else {}
    return Disk(
        vbd=vbd.uuid,
        kind=vbd.type,
        vdi=medium.uuid if medium else None,
        sr=storage,
        read_only=vbd.mode == "RO",
        known=vbd.empty or vbd.VDI == NULL or storage is not None,
        locked_by=_locked_by(marks, tables),
    )


def _locked_by(marks: Mapping[str, str], tables: Tables) -> tuple[str, ...]:
    """A mark of a host that is not, or no longer, in the pool is a lock too."""
    refs = [key.removeprefix(LOCK_KEY) for key in marks if key.startswith(LOCK_KEY)]
    return tuple(sorted(_uuid(tables.host, ref) or ref for ref in refs))


def _sr_of(vdi: str, tables: Tables) -> str | None:
    found = tables.vdi.get(vdi)
    return _uuid(tables.sr, found.SR) if found else None


def _networks(vm: VmRecord, tables: Tables) -> tuple[str, ...]:
    vifs = [tables.vif[ref] for ref in vm.VIFs if ref in tables.vif]
    found = {tables.network[vif.network].uuid for vif in vifs if vif.network in tables.network}
    return tuple(sorted(found))


def _has_tools(vm: VmRecord, tables: Tables, power: PowerState, domain: str) -> bool:
    """Whether the guest can be asked to stop, suspend or move.

    As the server judges it: only a running HVM guest has to show its drivers, or else at least the
    features themselves, as a Linux kernel without an agent does.
    """
    if power is not PowerState.RUNNING or domain != "hvm":
        return True
    guest = tables.vm_guest_metrics.get(vm.guest_metrics)
    if guest is None:
        return False
    features = (guest.other.get("feature-suspend"), guest.other.get("feature-shutdown"))
    return guest.PV_drivers_detected or features == ("1", "1")


def _immobile(vm: VmRecord, tables: Tables) -> str:
    """Why the server would refuse to migrate it; the metrics tell how it was really booted."""
    if vm.attached_PCIs:
        return "it has a PCI device of its server"
    if vm.VGPUs:
        return "it has a virtual GPU"
    if vm.VUSBs:
        return "it has a USB device of its server"
    booted = tables.vm_metrics.get(vm.metrics)
    nested = _true(vm.platform.get("nested-virt")) or _true(vm.platform.get("exp-nested-hvm"))
    if booted.nomigrate if booted else _true(vm.platform.get("nomigrate")):
        return "its platform says nomigrate"
    if booted.nested_virt if booted else nested:
        return "it uses nested virtualisation"
    return ""


def _crashed(vm: VmRecord, tables: Tables, crashed_at: str) -> bool:
    if not crashed_at:
        return False
    metrics = tables.vm_metrics.get(vm.metrics)
    # The wire form of dates sorts as text; older servers leave the Z out.
    started = metrics.start_time.removesuffix("Z") if metrics else ""
    return crashed_at.removesuffix("Z") > started


def _reported(guest: GuestMetricsRecord) -> bool:
    """Whether its agent has spoken since the start, which throws away what an earlier guest said.

    A Linux kernel without an agent shows drivers and features; only an agent tells of versions,
    system and addresses.
    """
    return guest.live and bool(guest.PV_drivers_version or guest.os_version or guest.networks)


# As 0/ip (the first one of an interface), 0/ipv4/0, 0/ipv6/1.
_ADDRESS = re.compile(r"([0-9]{1,4})/(ip|ipv4/[0-9]{1,4}|ipv6/[0-9]{1,4})")


def _addresses(networks: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses by which the guest can be reached, as it says: a guest may say anything. One that is
    good on its own link only is none."""
    found: dict[str, tuple[int, int, str]] = {}
    for key, text in networks.items():
        match = _ADDRESS.fullmatch(key)
        try:
            address = ip_address(text.strip())
        except ValueError:
            continue
        own = address.is_link_local or address.is_loopback
        if match is None or own or address.is_unspecified or address.is_multicast:
            continue
        place = (int(match[1]), address.version, match[2])
        name = str(address)
        found[name] = min(found.get(name, place), place)
    return tuple(sorted(found, key=lambda name: found[name])[:MOST_ADDRESSES])


# --- small readings -------------------------------------------------------------------------------


def _uuid(table: Mapping[str, Record], ref: str) -> str | None:
    record = table.get(ref)
    return record.uuid if record else None


def _epoch_s(date: str) -> float:
    """Epoch seconds of a date in the wire form, whose Z older servers leave out; 0.0 where it is none."""
    try:
        return datetime.fromisoformat(date.removesuffix("Z")).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _true(text: str | None) -> bool:
    return text in {"true", "1"}


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
