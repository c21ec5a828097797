"""A pool file becomes a database and running domains."""

from simulator import devices, guests, memory, occupancy
from simulator.database import Database, Row
from simulator.machines import Machine
from simulator.pool import HostState, Pool
from simulator.records import usual
from simulator.reigns import Reigns
from simulator.site import Guest
from simulator.spec import HostSpec, NetworkSpec, PoolSpec, SrSpec, VmSpec
from simulator.values import NEVER, NULL, Record, Value, as_map


def build(reigns: Reigns, addresses: dict[str, str]) -> None:
    """Fill the empty site by its specification; ``addresses`` is by host name."""
    site = reigns.site
    pool = Pool(site, Database(site.chance, site.clock))
    spec = site.spec
    row = pool.db.insert("pool", **usual("pool"), uuid=spec.uuid, name_label=spec.name)
    for host in spec.hosts:
        _machine(pool, host, addresses[host.name])
    pool.db.update(row, master=next(iter(pool.hosts.values())).row.ref, cpu_info=_level(spec))
    reigns.begin(pool.master.machine, pool)
    for kind in usual("SM_types"):
        _driver(pool, kind)
    networks = {net.name: _network(pool, net) for net in spec.networks}
    srs = {sr.name: _sr(pool, sr) for sr in spec.srs}
    shared = next((srs[sr.name].ref for sr in spec.srs if sr.shared), NULL)
    pool.db.update(row, default_SR=shared, suspend_image_SR=shared)
    vms = {vm.name: _vm(pool, vm, srs, networks) for vm in spec.vms}
    for vm in spec.vms:
        if vm.snapshot_of:
            original = vms[vm.snapshot_of].ref
            pool.db.update(vms[vm.name], snapshot_of=original, snapshot_time=pool.clock.date())
    reigns.settle()
    pool.links.copy_now()


def _machine(pool: Pool, spec: HostSpec, address: str) -> None:
    master = pool.spec.hosts[0].name
    booted = pool.clock.wall()
    machine = Machine(
        spec.name,
        spec.uuid,
        address,
        master=master,
        appointed=master,
        copy=pool.db.copy(pool.clock.now()),
        booted_at=booted,
    )
    pool.site.machines.add(machine)
    pool.know(machine, _host(pool, spec, address, booted))


def _host(pool: Pool, spec: HostSpec, address: str, booted: float) -> Row:
    db = pool.db
    metrics = db.insert(
        "host_metrics", memory_total=spec.memory, live=True, last_updated=pool.clock.date()
    )
    boot = f"{int(booted)}."
    known = usual("host")
    strings = {**as_map(known["bios_strings"]), "system-serial-number": spec.serial}
    row = db.insert(
        "host",
        **{**known, "bios_strings": strings},
        uuid=spec.uuid,
        name_label=spec.name,
        hostname=spec.name,
        address=address,
        enabled=True,
        metrics=metrics.ref,
        cpu_info=_cpu_info(spec),
        other_config={"agent_start_time": boot, "boot_time": boot},
    )
    _cores(pool, row, spec)
    _dom0(pool, row, spec)
    return row


def _cpu_info(spec: HostSpec) -> Record:
    levels = ("features_hvm", "features_pv", "features_hvm_host", "features_pv_host")
    return {
        **usual("cpu_info"),
        "cpu_count": str(spec.cpus),
        "socket_count": "1",
        "vendor": spec.vendor,
        **dict.fromkeys(levels, spec.features),
    }


def _level(spec: PoolSpec) -> Record:
    """What every host of the pool can do: the features that all of them have."""
    common = [int(word, 16) for word in spec.hosts[0].features.split("-")]
    for host in spec.hosts[1:]:
        words = [int(word, 16) for word in host.features.split("-")]
        common = [a & b for a, b in zip(common, words, strict=False)]
    features = "-".join(f"{word:08x}" for word in common)
    levels = ("features_hvm", "features_pv", "features_hvm_host", "features_pv_host")
    return {
        **dict.fromkeys(levels, features),
        "socket_count": str(len(spec.hosts)),
        "cpu_count": str(sum(host.cpus for host in spec.hosts)),
        "vendor": spec.hosts[0].vendor,
    }


def _cores(pool: Pool, host: Row, spec: HostSpec) -> None:
    known = usual("cpu_info")
    for number in range(spec.cpus):
        pool.db.insert(
            "host_cpu",
            host=host.ref,
            number=number,
            vendor=spec.vendor,
            speed=2400,
            modelname=known["modelname"],
            family=int(known["family"]),
            model=int(known["model"]),
            stepping=known["stepping"],
            flags=known["flags"],
        )


def _dom0(pool: Pool, host: Row, spec: HostSpec) -> None:
    sizes = ("static_min", "dynamic_min", "dynamic_max", "static_max")
    limits: Record = {f"memory_{size}": spec.dom0_memory for size in sizes}
    dom0 = pool.db.insert(
        "VM",
        **usual("dom0"),
        **limits,
        name_label=f"Control domain on host: {spec.name}",
        memory_target=spec.dom0_memory,
        resident_on=host.ref,
        affinity=host.ref,
        metrics=pool.db.insert("VM_metrics", memory_actual=spec.dom0_memory).ref,
    )
    for protocol in ("vt100", "rfb"):
        guests.open_console(pool, dom0, host, protocol)
    pool.db.update(host, control_domain=dom0.ref)


def _driver(pool: Pool, kind: str) -> None:
    capabilities = usual("SM_capabilities")
    pool.db.insert(
        "SM",
        **usual("SM"),
        type=kind,
        capabilities=capabilities,
        features=dict.fromkeys(capabilities, 1),
        driver_filename=f"/opt/xensource/sm/{kind.upper()}SR",
    )


def _sr(pool: Pool, spec: SrSpec) -> Row:
    sr = pool.db.insert(
        "SR",
        **usual("SR"),
        uuid=spec.uuid,
        name_label=spec.name,
        type=spec.type,
        shared=spec.shared,
    )
    config = {"server": "storage.example", "serverpath": f"/{spec.name}"}
    for name in spec.hosts:
        pool.db.insert(
            "PBD",
            SR=sr.ref,
            host=pool.hosts[name].row.ref,
            device_config=config if spec.shared else {"device": "/dev/sda3"},
            currently_attached=True,
        )
    return sr


def _network(pool: Pool, spec: NetworkSpec) -> Row:
    number = pool.db.count("network")
    network = pool.db.insert(
        "network", uuid=spec.uuid, name_label=spec.name, bridge=f"xenbr{number}", MTU=1500,
        managed=True, default_locking_mode="unlocked",
    )  # fmt: skip
    for name in spec.hosts:
        _pif(pool, network, pool.hosts[name], number)
    return network


def _pif(pool: Pool, network: Row, host: HostState, number: int) -> None:
    management = number == 0
    metrics = pool.db.insert("PIF_metrics", carrier=True, speed=10000, duplex=True)
    pool.db.insert(
        "PIF",
        device=f"eth{number}",
        network=network.ref,
        host=host.row.ref,
        MAC=devices.fresh_mac(pool),
        MTU=1500,
        VLAN=-1,
        metrics=metrics.ref,
        physical=True,
        currently_attached=True,
        ip_configuration_mode="Static" if management else "None",
        IP=host.address if management else "",
        netmask="255.255.255.0" if management else "",
        management=management,
        primary_address_type="IPv4",
        ipv6_configuration_mode="None",
        properties={"gro": "on"},
        igmp_snooping_status="disabled",
        managed=True,
    )


def _vm(pool: Pool, spec: VmSpec, srs: dict[str, Row], networks: dict[str, Row]) -> Row:
    vm = pool.db.insert("VM", **_vm_fields(pool, spec))
    pool.db.update(vm, memory_overhead=memory.overhead_of(vm))
    pool.guests[spec.uuid] = Guest(spec.guest, spec.tools)
    if spec.sr:
        _disk(pool, vm, srs[spec.sr], spec)
    if spec.network:
        devices.insert_vif(pool, vm, networks[spec.network], "0")
    if spec.host:
        guests.place_running(pool, vm, pool.hosts[spec.host], paused=spec.power_state == "Paused")
    elif spec.power_state == "Suspended":
        pool.db.update(vm, suspend_VDI=devices.insert_suspend_image(pool, vm).ref)
    occupancy.refresh(pool, vm)
    return vm


def _vm_fields(pool: Pool, spec: VmSpec) -> Record:
    metrics = pool.db.insert("VM_metrics", install_time=pool.clock.date(), hvm=True)
    snapshot = bool(spec.snapshot_of)
    moment: Value = pool.clock.date() if snapshot else NEVER
    return {
        **usual("VM"),
        "uuid": spec.uuid,
        "name_label": spec.name,
        "power_state": spec.power_state,
        "is_a_template": spec.is_template or snapshot,
        "is_a_snapshot": snapshot,
        "snapshot_time": moment,
        "memory_static_max": spec.memory,
        "memory_dynamic_max": spec.memory,
        "memory_dynamic_min": spec.memory_min,
        "memory_static_min": min(spec.memory_min, 128 * memory.MIB),
        "VCPUs_max": spec.vcpus,
        "VCPUs_at_startup": spec.vcpus,
        "other_config": {"mac_seed": pool.db.fresh_uuid()},
        "tags": list(spec.tags),
        "metrics": metrics.ref,
    }


def _disk(pool: Pool, vm: Row, sr: Row, spec: VmSpec) -> None:
    vdi = devices.insert_vdi(pool, sr, f"{spec.name} disk", spec.disk, "user")
    devices.insert_vbd(pool, vm, vdi.ref, userdevice="0", mode="RW", kind="Disk", empty=False)
    devices.insert_vbd(pool, vm, NULL, userdevice="3", mode="RO", kind="CD", empty=True)
