"""The nodes of the demo: a folder each, with settings, secrets and the daemons that run by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from cli.demo.children import Child, free_port

ALONE = "manager"
CLUSTER_ID = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"
PASSWORD = "secret"  # noqa: S105 - the simulated pool's, also written in pool.yaml
READER = "cxm"
SERVERS = ("xen1", "xen2", "xen3", "xen4")
"""The hosts of pool.yaml. Peers beyond them are witnesses."""
MOST_PEERS = 8


@dataclass(frozen=True, slots=True)
class Ports:
    """The same for all nodes: each has loopback addresses of its own."""

    heartbeat: int
    peer: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Peering:
    """What makes a node one of several. `number` counts from 1; `disk` is the shared one."""

    number: int
    ports: Ports
    disk: Path

    @property
    def addresses(self) -> tuple[str, str]:
        """Where its heartbeats are heard, on two networks: 127.0.1 and 127.0.2."""
        port, number = self.ports.heartbeat, self.number
        return f"127.0.1.{number}:{port}", f"127.0.2.{number}:{port}"


@dataclass(slots=True)
class DemoNode:
    """One node. Without `peering` it is the only one. `daemons` by program, once started."""

    name: str
    folder: Path
    peering: Peering | None = None
    daemons: dict[str, Child] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "node.yaml"

    @property
    def control(self) -> Path:
        """The control socket of its cxmd."""
        return self.folder / "run" / "cxmd.sock"

    def boots(self) -> None:
        """The server that it runs on starts anew: all of them share this machine, and its boot."""
        (self.folder / "boot-id").write_text(f"{uuid4()}\n", encoding="ascii")

    @property
    def programs(self) -> tuple[str, ...]:
        return ("cxmd",) if self.peering is None else ("cxm-heartbeatd", "cxmd")

    @property
    def witness(self) -> bool:
        return self.peering is not None and self.name not in SERVERS

    @property
    def pids(self) -> dict[str, int]:
        """By name, and cxmd's as the one of the daemon that acts."""
        known = {name.removeprefix("cxm-"): child.pid for name, child in self.daemons.items()}
        return {**known, "daemon": known["cxmd"]} if "cxmd" in known else known

    def write_settings(
        self, source: str, hosts: Sequence[Mapping[str, Any]], key: str, bmc: str
    ) -> None:
        """node.yaml and the secrets that it names. `key` is the one that peers know each other by, `bmc`
        the secret of the servers' controllers."""
        (self.folder / "secrets.d").mkdir(parents=True, exist_ok=True)
        self.boots()
        addresses = ", ".join(f'"{urlsplit(host["url"]).netloc}"' for host in hosts)
        pins = ", ".join(f'"{host["fingerprint"]}"' for host in hosts)
        self.config.write_text(
            f"node: {self.name}\n"
            f"cluster: {{id: {CLUSTER_ID}}}\n"
            f'source: {{url: "{source}", user: {READER}, credentialsRef: subversion}}\n'
            f"xenapi: {{addresses: [{addresses}], credentialsRef: pool, fingerprints: [{pins}]}}\n"
            f'stateDir: "{self.folder / "state"}"\nrunDir: "{self.folder / "run"}"\n'
            f'bootIdFile: "{self.folder / "boot-id"}"\n'
            f"{self._peering_settings()}",
            encoding="utf-8",
        )
        secrets = {"pool": PASSWORD, "subversion": PASSWORD, "bmc": bmc.rstrip()}
        if self.peering is not None:
            secrets["cluster-key"] = key
        for name, secret in secrets.items():
            file = self.folder / "secrets.d" / name
            file.touch(mode=0o600)
            file.write_text(f"{secret}\n", encoding="utf-8")

    def _peering_settings(self) -> str:
        if self.peering is None:
            return ""
        ports = self.peering.ports
        metrics = f"127.0.1.{self.peering.number}:{ports.metrics}"
        return (
            "clusterKeyRef: cluster-key\n"
            "engine: {kind: builtin}\n"
            f"listen: {{heartbeat: {ports.heartbeat}/udp, peer: {ports.peer}, "
            f'metrics: "{metrics}"}}\n'
        )


def demo_nodes(folder: Path, peers: int) -> tuple[DemoNode, ...]:
    """So many peers below `folder`/nodes; none: the one node that is alone, in `folder`/node."""
    if not peers:
        return (DemoNode(ALONE, folder / "node"),)
    ports = Ports(*(free_port("127.0.1.1") for _ in range(3)))
    witnesses = (f"witness{number}" for number in range(1, peers))
    names = (*SERVERS[:peers], *witnesses)[:peers]
    disk = folder / "heartbeat.disk"
    return tuple(
        DemoNode(name, folder / "nodes" / name, Peering(number, ports, disk))
        for number, name in enumerate(names, 1)
    )
