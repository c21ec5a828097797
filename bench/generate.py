"""Clusters of any size, made from a seed: as a tree of YAML files, and as the values these mean.

Servers of mixed size filled to about two thirds, VMs of 1 to 64 GiB with many small and few large
ones, a profile for some and a preferred node for others: a pool such as grows over the years. The
starting placement obeys memory and CPUs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from reconciler.observed import (
    Disk,
    Network,
    Observed,
    ObservedNode,
    ObservedVM,
    Pool,
    PowerState,
    Storage,
)
from schema.model import (
    VM,
    Cluster,
    Desired,
    HostIdentity,
    Manage,
    Match,
    Mode,
    Node,
    Placement,
    Profile,
    Role,
    Start,
    VmState,
)

GIB = 1 << 30
MIB = 1 << 20

SERVERS = ((128, 16), (192, 24), (256, 32), (384, 48), (512, 64))
"""(GiB, CPUs)"""

GUESTS = ((1, 10), (2, 25), (4, 25), (8, 20), (16, 12), (32, 6), (64, 2))
"""(GiB, how many of a hundred VMs)"""

ROLES = ("web", "app", "db", "ci", "mail")
FILLED = 0.65


@dataclass(frozen=True)
class Size:
    hosts: int
    vms: int

    def __str__(self) -> str:
        return f"{self.hosts}x{self.vms}"


SIZES = (Size(16, 200), Size(64, 1000), Size(256, 5000), Size(1024, 20000))


@dataclass(frozen=True)
class Server:
    name: str
    uuid: str
    address: str
    memory: int
    cpus: int


@dataclass(frozen=True)
class Guest:
    name: str
    uuid: str
    memory_gib: int
    vcpus: int
    role: str
    on: Server
    prefers: bool


@dataclass(frozen=True)
class Drawn:
    """A cluster, drawn from the seed."""

    id: str
    storage: str
    network: str
    servers: tuple[Server, ...]
    guests: tuple[Guest, ...]


def draw(size: Size, seed: int = 1) -> Drawn:
    chance = random.Random(f"cxm {size} {seed}")  # noqa: S311
    weights = [weight for _, weight in GUESTS]
    memories = chance.choices([gib for gib, _ in GUESTS], weights, k=size.vms)
    servers = _servers(size.hosts, sum(memories), chance)
    return Drawn(
        id=_uuid(chance),
        storage=_uuid(chance),
        network=_uuid(chance),
        servers=servers,
        guests=_guests(memories, servers, chance),
    )


def _uuid(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


def _servers(count: int, wanted_gib: int, chance: random.Random) -> tuple[Server, ...]:
    """Mixed classes, changed one by one until the VMs fill them as far as they should."""
    classes = [chance.choices(range(4), (3, 3, 3, 1))[0] for _ in range(count)]
    for _ in range(20 * count):
        filled = wanted_gib / sum(SERVERS[kind][0] for kind in classes)
        if abs(filled - FILLED) < 0.01:
            break
        place = chance.randrange(count)
        step = 1 if filled > FILLED else -1
        classes[place] = min(len(SERVERS) - 1, max(0, classes[place] + step))
    return tuple(
        Server(
            name=f"h{number:04d}",
            uuid=_uuid(chance),
            address=f"10.{20 + number // 250}.{number % 250}.1",
            memory=SERVERS[kind][0] * GIB,
            cpus=SERVERS[kind][1],
        )
        for number, kind in enumerate(classes)
    )


def _guests(
    memories: Sequence[int], servers: Sequence[Server], chance: random.Random
) -> tuple[Guest, ...]:
    """The large ones find a place first, so that all fit; some servers are more popular."""
    popularity = [chance.lognormvariate(0, 0.4) * server.memory for server in servers]
    left = {server.name: 0.95 * server.memory - 4 * GIB for server in servers}
    places: dict[int, Server] = {}
    for number in sorted(range(len(memories)), key=lambda n: (-memories[n], n)):
        need = memories[number] * GIB + 64 * MIB
        place = chance.choices(servers, popularity)[0]
        for _ in range(40):
            if left[place.name] >= need:
                break
            place = chance.choices(servers, popularity)[0]
        else:
            place = max(servers, key=lambda server: (left[server.name], server.name))
        left[place.name] -= need
        places[number] = place
    return tuple(
        Guest(
            name=f"v{number:05d}",
            uuid=_uuid(chance),
            memory_gib=gib,
            vcpus=min(16, max(1, gib // chance.choice((1, 2, 4)))),
            role=chance.choice(ROLES),
            on=places[number],
            prefers=chance.random() < 0.2,
        )
        for number, gib in enumerate(memories)
    )


# --- as files -------------------------------------------------------------------------------------

HEAD = "# yaml-language-server: $schema={up}.schema/{kind}.schema.json\napiVersion: cxm/v1\n"


def files(drawn: Drawn) -> dict[str, bytes]:
    """The tree, path to content."""
    texts = {
        "cluster.yaml": f"apiVersion: cxm/v1\nkind: Cluster\nname: bench\nid: {drawn.id}\nmode: auto\n",
        "profiles/web.yaml": "apiVersion: cxm/v1\nkind: Profile\nname: web\nstart: {wave: 20}\n",
    }
    texts |= {f"nodes/{server.name}.yaml": _node_text(server) for server in drawn.servers}
    texts |= {path(guest): vm_text(guest) for guest in drawn.guests}
    return {name: text.encode() for name, text in texts.items()}


def path(guest: Guest) -> str:
    return f"vms/{guest.role}/{guest.name}.yaml"


def _node_text(server: Server) -> str:
    return (
        HEAD.format(up="../", kind="node") + f"kind: Node\nname: {server.name}\n"
        f"host: {{uuid: {server.uuid}, address: {server.address}}}\n"
        "roles: [run]\nunfenced: accepted\n"
    )


def vm_text(guest: Guest, memory_gib: int | None = None) -> str:
    """One VM's file. `memory_gib` is what somebody changed it to."""
    text = (
        HEAD.format(up="../../", kind="vm") + f"kind: VM\nname: {guest.name}\nmanage: enforce\n"
        f"match: {{uuid: {guest.uuid}}}\nstate: running\n"
        f"memory: {memory_gib or guest.memory_gib}GiB\nlabels: {{role: {guest.role}}}\n"
    )
    if guest.role == "web":
        text += "extends: profile/web\n"
    if guest.prefers:
        text += f"placement:\n  prefer: [{guest.on.name}]\n"
    return text


# --- as values ------------------------------------------------------------------------------------


def desired(drawn: Drawn) -> Desired:
    """What the files mean, without reading them."""
    return Desired(
        cluster=Cluster(name="bench", id=drawn.id, mode=Mode.AUTO),
        nodes={server.name: _node(server) for server in drawn.servers},
        vms={guest.name: vm(guest) for guest in drawn.guests},
        profiles={"web": Profile(name="web", spec={"start": {"wave": 20}})},
    )


def _node(server: Server) -> Node:
    return Node(
        name=server.name,
        host=HostIdentity(uuid=server.uuid, address=server.address),
        roles=(Role.RUN,),
        unfenced="accepted",
    )


def vm(guest: Guest, memory_gib: int | None = None) -> VM:
    web = guest.role == "web"
    return VM(
        name=guest.name,
        labels=MappingProxyType({"role": guest.role}),
        manage=Manage.ENFORCE,
        match=Match(uuid=guest.uuid),
        state=VmState.RUNNING,
        memory=(memory_gib or guest.memory_gib) * GIB,
        extends="web" if web else None,
        start=Start(wave=20) if web else Start(),
        placement=Placement(prefer=(guest.on.name,)) if guest.prefers else Placement(),
    )


def observed(
    drawn: Drawn, *, halted: frozenset[str] = frozenset(), as_of_s: float = 0.0
) -> Observed:
    """The pool that the tree describes; `halted` names VMs that do not run."""
    reach = {"srs": frozenset({drawn.storage}), "networks": frozenset({drawn.network})}
    return Observed(
        as_of_s=as_of_s,
        epoch_s=0.0,
        by="bench",
        pool=Pool(uuid=drawn.id),
        nodes={server.uuid: _host(server, reach) for server in drawn.servers},
        vms={guest.uuid: _real(guest, drawn, guest.name in halted) for guest in drawn.guests},
        storages={drawn.storage: Storage(uuid=drawn.storage, name="nfs")},
        networks={drawn.network: Network(uuid=drawn.network, name="lan")},
    )


def _host(server: Server, reach: Mapping[str, frozenset[str]]) -> ObservedNode:
    return ObservedNode(
        uuid=server.uuid,
        name=server.name,
        address=server.address,
        memory_total=server.memory,
        memory_overhead=512 * MIB,
        control_memory=3 * GIB,
        cpus=server.cpus,
        cpu_vendor="GenuineIntel",
        srs=reach["srs"],
        networks=reach["networks"],
        boot_hint="1",
    )


def _real(guest: Guest, drawn: Drawn, halted: bool) -> ObservedVM:
    size = guest.memory_gib * GIB
    disk = Disk(vbd=guest.uuid, kind="Disk", vdi=guest.uuid, sr=drawn.storage)
    return ObservedVM(
        uuid=guest.uuid,
        name=guest.name,
        power=PowerState.HALTED if halted else PowerState.RUNNING,
        node=None if halted else guest.on.uuid,
        static_min=size // 2,
        dynamic_min=size,
        dynamic_max=size,
        static_max=size,
        overhead=37 * MIB,
        vcpus_max=guest.vcpus,
        vcpus_at_startup=guest.vcpus,
        disks=(disk,),
        networks=(drawn.network,),
    )
