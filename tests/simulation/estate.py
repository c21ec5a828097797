"""The estate under test: a simulated pool, and the tree of files in which its owner wishes for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import NAMESPACE_URL, uuid5

from simulator.clock import Clock
from simulator.database import Row
from simulator.spec import load_spec
from simulator.world import World

GRACE_S = 20.0
HOSTS = ("xen1", "xen2", "xen3", "xen4")
HOST_GIB = 16
VM_HOMES: Mapping[str, str] = {
    "web1": "xen1",
    "web2": "xen2",
    "app1": "xen3",
    "app2": "xen3",
    "db1": "xen2",
    "mail1": "xen4",
    "dns1": "xen1",
    "log1": "xen4",
    "ci1": "",
}
"""Where each VM runs in the beginning; nowhere: it is halted."""


def identity(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"estate/{kind}/{name}"))


CLUSTER_ID = identity("cluster", "lyon")
ADDRESSES = {name: f"127.88.0.{number}" for number, name in enumerate(HOSTS, start=1)}


def make_world(
    seed: int,
    feeds: Mapping[str, str] | None = None,
    outlets: Mapping[str, Sequence[str]] | None = None,
) -> World:
    """The pool as it is before anybody wishes for anything. `feeds`: what the controller of each host
    lives on, `own` or `host`; where it is not said, on its own. `outlets`: the distribution units that a
    host hangs on, at its own number on each."""
    lines = [
        f"pool: {{uuid: {identity('pool', 'lyon')}, name: lyon, seed: {seed}}}",
        "users: {root: secret}",
        "hosts:",
        *(
            f"  - {{name: {name}, uuid: {identity('host', name)}, memory: {HOST_GIB}GiB, cpus: 8,"
            " dom0_memory: 2GiB}"
            for name in HOSTS
        ),
        "bmcs:",
        *(f"  - {{name: {name}-bmc, host: {name}, feed: {_feed(feeds, name)}}}" for name in HOSTS),
        *(
            f"  - {{name: {pdu}-{number}, host: {name}, kind: outlet, pdu: {pdu}, outlet: {number}}}"
            for number, name in enumerate(HOSTS, start=1)
            for pdu in (outlets or {}).get(name, ())
        ),
        f"srs: [{{name: nfs, uuid: {identity('sr', 'nfs')}, type: nfs}}]",
        f"networks: [{{name: lan, uuid: {identity('network', 'lan')}}}]",
        "vms:",
        *(_vm_line(name, home) for name, home in VM_HOMES.items()),
    ]
    return World(load_spec("\n".join(lines)), Clock(), ADDRESSES)


def _feed(feeds: Mapping[str, str] | None, host: str) -> str:
    return (feeds or {}).get(host, "own")


def _vm_line(name: str, home: str) -> str:
    where = f"host: {home}, " if home else ""
    return (
        f"  - {{name: {name}, uuid: {identity('vm', name)}, {where}memory: 1GiB, vcpus: 1,"
        " sr: nfs, network: lan}"
    )


@dataclass(frozen=True)
class VmWish:
    """What the tree says of one VM. `label` is empty where the name in the pool is the file's."""

    name: str
    state: str = "running"
    memory_gib: int = 1
    only: tuple[str, ...] = ()
    label: str = ""
    tags: tuple[str, ...] = ()
    start: str = ""
    """What the tree says of its start, as JSON."""

    @property
    def uuid(self) -> str:
        return identity("vm", self.name)

    def text(self) -> str:
        lines = [
            "apiVersion: cxm/v1",
            "kind: VM",
            f"name: {self.name}",
            "manage: enforce",
            f"match: {{uuid: {self.uuid}}}",
            f"state: {self.state}",
            f"memory: {self.memory_gib}GiB",
            f"nameLabel: {self.label or self.name}",
        ]
        if self.only:
            lines.append(f"placement: {{only: [{', '.join(self.only)}]}}")
        if self.tags:
            lines.append(f"tags: {{add: [{', '.join(self.tags)}]}}")
        if self.start:
            lines.append(f"start: {self.start}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Wish:
    """One revision's tree, by what can differ between two of them."""

    vms: Mapping[str, VmWish] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()

    def with_vm(self, name: str, **changes: object) -> Wish:
        vm = replace(self.vms[name], **changes)  # type: ignore[arg-type]
        return replace(self, vms={**self.vms, name: vm})

    def files(self) -> dict[str, bytes]:
        texts = {"cluster.yaml": _cluster_text()}
        texts |= {f"nodes/{name}.yaml": self._node_text(name) for name in HOSTS}
        texts |= {f"vms/{vm.name}.yaml": vm.text() for vm in self.vms.values()}
        return {path: text.encode() for path, text in texts.items()}

    def _node_text(self, name: str) -> str:
        host = json.dumps({"uuid": identity("host", name), "address": ADDRESSES[name]})
        lines = ["apiVersion: cxm/v1", "kind: Node", f"name: {name}", f"host: {host}"]
        lines += ["roles: [run]", "unfenced: accepted"]
        if name in self.drained:
            lines.append("maintenance: {drain: true, reason: new memory}")
        return "\n".join(lines) + "\n"


def _cluster_text() -> str:
    lines = [
        "apiVersion: cxm/v1",
        "kind: Cluster",
        "name: lyon",
        f"id: {CLUSTER_ID}",
        "mode: auto",
        f"reconcile: {{driftGrace: {GRACE_S:.0f}s}}",
        "limits: {restartsPerRevision: 50}",
        "defaults: {vm: {restart: now}}",
    ]
    return "\n".join(lines) + "\n"


def as_it_is() -> Wish:
    """The tree that an import would write: the pool fulfils it already."""
    vms = {
        name: VmWish(name, state="running" if home else "halted") for name, home in VM_HOMES.items()
    }
    return Wish(vms=vms)


# --- is it so? --------------------------------------------------------------------------------------


def unfulfilled(world: World, wish: Wish) -> list[str]:
    """Where the world, as it really is, is not as wished."""
    return [*_vms_unfulfilled(world, wish), *_nodes_unfulfilled(world, wish)]


def _vms_unfulfilled(world: World, wish: Wish) -> Iterable[str]:
    for vm in wish.vms.values():
        where = world.running_on(vm.uuid)
        row = _row(world, vm)
        if where.power_state.lower() != vm.state:
            yield f"{vm.name} is {where.power_state}, not {vm.state}"
        for host in where.hosts:
            if host in wish.drained or (vm.only and host not in vm.only):
                yield f"{vm.name} is on {host}"
        size, real = vm.memory_gib << 30, memory_of(world, vm)
        if real != size:
            yield f"{vm.name} has {real} bytes, not {size}"
        if row.text("name_label") != (vm.label or vm.name):
            yield f"{vm.name} is called {row.text('name_label')}"
        if not set(vm.tags) <= set(row.list("tags")):
            yield f"{vm.name} has the tags {row.list('tags')}, not {vm.tags}"


def memory_of(world: World, vm: VmWish) -> int:
    """Its static maximum in bytes."""
    return _row(world, vm).number("memory_static_max")


def _row(world: World, vm: VmWish) -> Row:
    return next(row for row in world.pool.db.rows("VM") if row.text("uuid") == vm.uuid)


def _nodes_unfulfilled(world: World, wish: Wish) -> Iterable[str]:
    for name in HOSTS:
        enabled = world.pool.hosts[name].row.flag("enabled")
        if enabled is (name in wish.drained):
            yield f"{name} is {'enabled' if enabled else 'disabled'}"


def left_free(world: World) -> dict[str, int]:
    """Bytes that each host has left over after all that is there and on its way. Negative: too few.

    Arithmetic of its own: neither that of the plan nor that of the simulator.
    """
    free: dict[str, int] = {}
    rows = list(world.pool.db.rows("VM"))
    for name, host in world.pool.hosts.items():
        metrics = world.pool.metrics_of(host.row)
        taken = host.row.number("memory_overhead")
        for vm in rows:
            if host.row.ref in (vm.text("resident_on"), vm.text("scheduled_to_be_resident_on")):
                taken += vm.number("memory_dynamic_min") + vm.number("memory_overhead")
        free[name] = metrics.number("memory_total") - taken
    return free
