"""The description of a simulated pool: its YAML file and the frozen model that it becomes."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from simulator.latency import MEDIANS

T = TypeVar("T")

MIB = 1 << 20
_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30, "TiB": 1 << 40}
_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATES = ("Halted", "Paused", "Running", "Suspended")


class SpecError(Exception):
    """A pool file that cannot be used: where in it, what is wrong, what would be right."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")
        self.place = place
        self.cause = cause


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One server. Memory in bytes; the first host of the pool is its master.

    ``serial`` is the manufacturer's, as the server's firmware tells it.
    """

    name: str
    uuid: str
    memory: int
    cpus: int
    dom0_memory: int
    vendor: str
    features: str
    serial: str


@dataclass(frozen=True, slots=True)
class SrSpec:
    """One storage repository, with a plugged PBD on each of ``hosts``."""

    name: str
    uuid: str
    type: str
    shared: bool
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One network, with an attached PIF on each of ``hosts``; none makes it an internal one."""

    name: str
    uuid: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """How the guest behaves: seconds to boot and to stop, bytes dirtied in a second."""

    boot: float = 3.0
    shutdown: float = 5.0
    ignores_shutdown: bool = False
    dirty: int = 20 * MIB


@dataclass(frozen=True, slots=True)
class VmSpec:
    """One VM, template or snapshot. Memory and disk in bytes; ``host`` empty if it does not run."""

    name: str
    uuid: str
    host: str
    power_state: str
    memory: int
    memory_min: int
    vcpus: int
    sr: str
    disk: int
    network: str
    tags: tuple[str, ...]
    tools: bool
    is_template: bool
    snapshot_of: str
    guest: GuestSpec


@dataclass(frozen=True, slots=True)
class BmcSpec:
    """A host's management controller. With ``feed`` host it lives on the host's own supplies and
    is mute when they fail; with ``own`` it has another supply."""

    name: str
    host: str
    feed: str


@dataclass(frozen=True, slots=True)
class OutletSpec:
    """An outlet of a power distribution unit, which is always fed. A host with outlets has power
    while one of them is on."""

    name: str
    host: str
    pdu: str
    number: int


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A whole pool. ``latency`` maps operations to medians and 95th percentiles in seconds that
    replace the defaults; slaves copy the database every ``db_sync_interval_s``."""

    uuid: str
    name: str
    seed: int
    users: Mapping[str, str]
    hosts: tuple[HostSpec, ...]
    srs: tuple[SrSpec, ...] = ()
    networks: tuple[NetworkSpec, ...] = ()
    vms: tuple[VmSpec, ...] = ()
    bmcs: tuple[BmcSpec | OutletSpec, ...] = ()
    latency: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    db_sync_interval_s: float = 300.0


def load_spec(text: str) -> PoolSpec:
    """Read the YAML of a pool. ``SpecError`` names the first thing that is wrong."""
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        raise SpecError(place, str(error.problem)) from error
    top = _Table("pool file", document)
    pool = _pool(top)
    _check_names(pool)
    return pool


class _Table:
    """A YAML mapping that is read key by key and then must have no key left."""

    def __init__(self, place: str, node: object) -> None:
        if not isinstance(node, dict):
            raise SpecError(place, f"expected a mapping, found {node!r}")
        self.place = place
        self._left: dict[object, object] = dict(node)
        self._known: list[str] = []

    def take(self, key: str, read: Callable[[str, Any], T], default: T | None = None) -> T:
        """The value of ``key``; required if it has no default."""
        self._known.append(key)
        place = f"{self.place}.{key}"
        if key not in self._left:
            if default is None:
                raise SpecError(self.place, f"{key!r} is missing")
            return default
        return read(place, self._left.pop(key))

    def rows(self, key: str) -> list["_Table"]:
        """The mappings of the list ``key``; an absent list is empty."""
        nodes: list[object] = self.take(key, _list, [])
        return [_Table(f"{key}[{index}]", node) for index, node in enumerate(nodes)]

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for key in self._left:
            close = difflib.get_close_matches(str(key), self._known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self._known)}"
            raise SpecError(self.place, f"unknown key {key!r}; {hint}")


def _pool(top: _Table) -> PoolSpec:
    pool = top.take("pool", _Table)
    hosts = tuple(_host(row) for row in top.rows("hosts"))
    if not hosts:
        raise SpecError("hosts", "a pool has at least one host")
    names = tuple(host.name for host in hosts)
    spec = PoolSpec(
        uuid=pool.take("uuid", _uuid),
        name=pool.take("name", _text, ""),
        seed=pool.take("seed", _count, 1),
        users=top.take("users", _texts),
        hosts=hosts,
        srs=tuple(_sr(row, names) for row in top.rows("srs")),
        networks=tuple(_network(row, names) for row in top.rows("networks")),
        vms=tuple(_vm(row) for row in top.rows("vms")),
        bmcs=top.take("bmcs", _bmcs, tuple(BmcSpec(f"{name}-bmc", name, "own") for name in names)),
        latency=top.take("latency", _latency, {}),
        db_sync_interval_s=top.take("db_sync_interval", _interval, 300.0),
    )
    pool.done()
    top.done()
    return spec


def _host(row: _Table) -> HostSpec:
    uuid = row.take("uuid", _uuid)
    spec = HostSpec(
        name=row.take("name", _text),
        uuid=uuid,
        memory=row.take("memory", _bytes),
        cpus=row.take("cpus", _count),
        dom0_memory=row.take("dom0_memory", _bytes, 4 << 30),
        vendor=row.take("vendor", _text, "GenuineIntel"),
        features=row.take("features", _text, "1fc9cbf5-f6f83203-2991cbf5-00000123"),
        serial=row.take("serial", _serial, f"CXM{uuid[:8].upper()}"),
    )
    row.done()
    return spec


def _sr(row: _Table, all_hosts: tuple[str, ...]) -> SrSpec:
    spec = SrSpec(
        name=row.take("name", _text),
        uuid=row.take("uuid", _uuid),
        type=row.take("type", _text, "nfs"),
        shared=row.take("shared", _flag, True),
        hosts=row.take("hosts", _names, all_hosts),
    )
    row.done()
    return spec


def _network(row: _Table, all_hosts: tuple[str, ...]) -> NetworkSpec:
    spec = NetworkSpec(
        name=row.take("name", _text),
        uuid=row.take("uuid", _uuid),
        hosts=row.take("hosts", _names, all_hosts),
    )
    row.done()
    return spec


def _vm(row: _Table) -> VmSpec:
    memory = row.take("memory", _bytes)
    host = row.take("host", _text, "")
    spec = VmSpec(
        name=row.take("name", _text),
        uuid=row.take("uuid", _uuid),
        host=host,
        power_state=row.take("power_state", _state, "Running" if host else "Halted"),
        memory=memory,
        memory_min=row.take("memory_min", _bytes, memory),
        vcpus=row.take("vcpus", _count),
        sr=row.take("sr", _text, ""),
        disk=row.take("disk", _bytes, 8 << 30),
        network=row.take("network", _text, ""),
        tags=row.take("tags", _names, ()),
        tools=row.take("tools", _flag, True),
        is_template=row.take("is_template", _flag, False),
        snapshot_of=row.take("snapshot_of", _text, ""),
        guest=row.take("guest", _guest, GuestSpec()),
    )
    row.done()
    _check_vm(row.place, spec)
    return spec


def _guest(place: str, node: object) -> GuestSpec:
    row, usual = _Table(place, node), GuestSpec()
    spec = GuestSpec(
        boot=row.take("boot", _span, usual.boot),
        shutdown=row.take("shutdown", _span, usual.shutdown),
        ignores_shutdown=row.take("ignores_shutdown", _flag, False),
        dirty=row.take("dirty", _bytes, usual.dirty),
    )
    row.done()
    return spec


def _bmcs(_place: str, node: object) -> tuple[BmcSpec | OutletSpec, ...]:
    nodes = _list("bmcs", node)
    return tuple(_bmc(_Table(f"bmcs[{index}]", row)) for index, row in enumerate(nodes))


def _bmc(row: _Table) -> BmcSpec | OutletSpec:
    name, host = row.take("name", _word), row.take("host", _text)
    spec: BmcSpec | OutletSpec
    if row.take("kind", _one_of("bmc", "outlet"), "bmc") == "bmc":
        spec = BmcSpec(name, host, row.take("feed", _one_of("own", "host"), "own"))
    else:
        spec = OutletSpec(name, host, row.take("pdu", _text), row.take("outlet", _count))
    row.done()
    return spec


def _check_vm(place: str, vm: VmSpec) -> None:
    runs = vm.power_state in ("Running", "Paused")
    if runs and not vm.host:
        raise SpecError(place, f"{vm.name} is {vm.power_state}: say on which host")
    if vm.host and not runs:
        raise SpecError(place, f"{vm.name} is {vm.power_state}: it can be on no host")
    if (vm.is_template or vm.snapshot_of) and vm.power_state != "Halted":
        raise SpecError(place, f"{vm.name}: templates and snapshots are Halted")
    if vm.memory_min > vm.memory:
        raise SpecError(place, f"{vm.name}: memory_min is above memory")


def _check_names(pool: PoolSpec) -> None:
    hosts = {host.name for host in pool.hosts}
    srs = {sr.name for sr in pool.srs}
    networks = {network.name for network in pool.networks}
    for index, vm in enumerate(pool.vms):
        place = f"vms[{index}]"
        _refers(f"{place}.host", vm.host, hosts)
        _refers(f"{place}.sr", vm.sr, srs)
        _refers(f"{place}.network", vm.network, networks)
        _refers(f"{place}.snapshot_of", vm.snapshot_of, {other.name for other in pool.vms})
    reaches = {f"srs[{n}].hosts": sr.hosts for n, sr in enumerate(pool.srs)}
    reaches |= {f"networks[{n}].hosts": net.hosts for n, net in enumerate(pool.networks)}
    for place, names in reaches.items():
        for name in names:
            _refers(place, name, hosts)
    for index, bmc in enumerate(pool.bmcs):
        _refers(f"bmcs[{index}].host", bmc.host, hosts)
    _unique("hosts", [host.name for host in pool.hosts])
    _unique("bmcs", [bmc.name for bmc in pool.bmcs])
    outlets = [bmc for bmc in pool.bmcs if isinstance(bmc, OutletSpec)]
    _unique("bmcs", [f"outlet {outlet.number} of {outlet.pdu}" for outlet in outlets])
    rows: list[HostSpec | SrSpec | NetworkSpec | VmSpec] = [*pool.hosts, *pool.srs]
    rows += [*pool.networks, *pool.vms]
    _unique("pool file", [row.uuid for row in rows] + [pool.uuid])


def _refers(place: str, name: str, known: set[str]) -> None:
    if name and name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
        raise SpecError(place, f"no such name {name!r}; {hint}")


def _unique(place: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpecError(place, f"{name!r} stands twice")
        seen.add(name)


def _text(place: str, node: object) -> str:
    if not isinstance(node, str):
        raise SpecError(place, f"expected text, found {node!r}")
    return node


def _word(place: str, node: object) -> str:
    """A name that goes over wires and into settings of other programs."""
    text = _text(place, node)
    if not re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_.]*", text):
        raise SpecError(place, f"expected letters, digits and -_. only, found {text!r}")
    return text


def _serial(place: str, node: object) -> str:
    """An inventory (IPMI FRU) holds short ASCII texts, and none of one letter."""
    text = _text(place, node)
    if not re.fullmatch(r"([ -~]{2,32})?", text):
        raise SpecError(place, f"expected 2 to 32 ASCII characters or none, found {text!r}")
    return text


def _flag(place: str, node: object) -> bool:
    if not isinstance(node, bool):
        raise SpecError(place, f"expected true or false, found {node!r}")
    return node


def _count(place: str, node: object) -> int:
    if isinstance(node, bool) or not isinstance(node, int) or node < 1:
        raise SpecError(place, f"expected a whole number above 0, found {node!r}")
    return node


def _list(place: str, node: object) -> list[object]:
    if not isinstance(node, list):
        raise SpecError(place, f"expected a list, found {node!r}")
    return node


def _names(place: str, node: object) -> tuple[str, ...]:
    return tuple(_text(place, item) for item in _list(place, node))


def _texts(place: str, node: object) -> dict[str, str]:
    if not isinstance(node, dict):
        raise SpecError(place, f"expected a mapping, found {node!r}")
    return {_text(place, key): _text(place, value) for key, value in node.items()}


def _latency(place: str, node: object) -> dict[str, tuple[float, float]]:
    if not isinstance(node, dict):
        raise SpecError(place, f"expected a mapping, found {node!r}")
    for key in node:
        _refers(place, _text(place, key), set(MEDIANS))
    return {key: _spread(f"{place}.{key}", value, MEDIANS[key]) for key, value in node.items()}


def _spread(place: str, node: object, usual: tuple[float, float]) -> tuple[float, float]:
    """A median, whose 95th percentile is as far from it as usual; or both, in a list."""
    if not isinstance(node, list):
        median = _span(place, node)
        return median, median * (usual[1] / usual[0])
    if len(node) != 2:
        raise SpecError(place, f"expected a median, or [median, 95th percentile], found {node!r}")
    median, p95 = (_span(place, item) for item in node)
    if not 0.0 < median <= p95:
        raise SpecError(place, f"the 95th percentile is below the median, or that is 0: {node!r}")
    return median, p95


def _uuid(place: str, node: object) -> str:
    text = _text(place, node)
    if not _UUID.fullmatch(text):
        raise SpecError(place, f"{text!r} is no uuid (8-4-4-4-12 lower-case hex digits)")
    return text


def _one_of(*known: str) -> Callable[[str, object], str]:
    def read(place: str, node: object) -> str:
        if node not in known:
            raise SpecError(place, f"expected one of {', '.join(known)}, found {node!r}")
        return str(node)

    return read


def _state(place: str, node: object) -> str:
    text = _text(place, node)
    if text not in _STATES:
        raise SpecError(place, f"no such power state {text!r}; known: {', '.join(_STATES)}")
    return text


def _bytes(place: str, node: object) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(node))
    if isinstance(node, bool) or match is None or match[2] not in _UNITS:
        raise SpecError(place, f"expected a size such as 4GiB or 512MiB, found {node!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def _interval(place: str, node: object) -> float:
    seconds = _span(place, node)
    if seconds <= 0:
        raise SpecError(place, f"expected more than 0 s, found {node!r}")
    return seconds


def _span(place: str, node: object) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(node))
    if match is None:
        raise SpecError(place, f"expected a span of time such as 5s or 200ms, found {node!r}")
    return float(match[1]) * _SPANS[match[2]]
