"""Real `cxm-heartbeatd` processes on loopback addresses, and what they are given and say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from membership.edge.stored import MEMORY, ROSTER
from membership.roster import Member, Roster, Timing, Voters
from membership.view import View

CLUSTER = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"
KEY = "a-key-of-more-than-32-characters-1"
FAST = Timing(interval_s=0.1, suspect_after_s=0.8, dead_after_s=1.6)
PATIENCE_S = 20.0


def until(true: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Raises AssertionError where it does not become true in time."""
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s, "not in time"
        time.sleep(0.02)


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((host, 0))
        port: int = door.getsockname()[1]
        return port


class Beater:
    """One node with its own folder, started as often as one likes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.state, self.run, self.log = folder / "state", folder / "run", folder / "log"
        self.config = folder / "node.yaml"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "secrets.d").mkdir(parents=True)
        self.state.mkdir()
        self.write_keys(KEY)
        self.config.write_text(json.dumps(self.settings()))

    def settings(self, **other: Any) -> dict[str, Any]:
        return {
            "node": self.name,
            "cluster": {"id": CLUSTER},
            "source": {"url": "file:///nowhere"},
            "xenapi": {
                "addresses": ["127.0.0.1:1"],
                "credentialsRef": "pool",
                "fingerprints": ["ab" * 32],
            },
            "clusterKeyRef": "cluster-key",
            "engine": {"kind": "builtin"},
            "stateDir": str(self.state),
            "runDir": str(self.run),
            **other,
        }

    def write_keys(self, *keys: str) -> None:
        path = self.folder / "secrets.d/cluster-key"
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(key + "\n" for key in keys))
        fresh.chmod(0o600)
        fresh.replace(path)

    def write_roster(self, roster: Roster) -> None:
        fresh = self.state / "fresh"
        own = msgspec.structs.replace(roster, me=self.name)
        fresh.write_bytes(msgspec.json.encode(own))
        fresh.replace(self.state / ROSTER)

    def start(self, *options: str) -> None:
        command = [sys.executable, *options, "-m", "membership.edge.heartbeatd"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, "--config", str(self.config)], stderr=log)
        until(lambda: self.answers or self.ended)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def answers(self) -> bool:
        try:
            self.view()
        except (OSError, msgspec.DecodeError):
            return False
        return True

    def view(self) -> View:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(2.0)
            door.connect(str(self.run / "heartbeatd.sock"))
            with door.makefile("rb") as lines:
                return msgspec.json.decode(lines.readline(), type=View)

    def states(self) -> dict[str, str]:
        """The other peers as this one sees them."""
        return {name: p.state.value for name, p in self.view().peers.items() if name != self.name}

    def memory(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / MEMORY).read_text())["memory"]
        return found

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status."""
        assert self.process is not None
        if not self.ended:
            os.kill(self.pid, number)
        return self.process.wait(10)


class Fleet:
    """Nodes `n1`, `n2`, ... on 127.0.1.1, 127.0.1.2, ... at one port."""

    def __init__(self, folder: Path, count: int, disk: Path | None = None) -> None:
        self.port = free_port("127.0.1.1")
        self.beaters = [Beater(folder / f"n{at}", f"n{at}") for at in range(1, count + 1)]
        self.roster = self.roster_of(self.names, disk)
        for beater in self.beaters:
            beater.write_roster(self.roster)

    @property
    def names(self) -> list[str]:
        return [beater.name for beater in self.beaters]

    def roster_of(self, names: Sequence[str], disk: Path | None = None) -> Roster:
        members = [
            Member(name=name, addresses=((f"127.0.1.{name[1:]}", self.port),), slot=int(name[1:]))
            for name in names
        ]
        return Roster(
            cluster_id=CLUSTER,
            me=names[0],
            members=tuple(members),
            voters=Voters(epoch=1, revision=1, names=tuple(names), disk=disk is not None),
            timing=FAST,
            disk=str(disk) if disk is not None else None,
        )

    def start(self) -> None:
        for beater in self.beaters:
            beater.start()

    def all_alive(self) -> bool:
        return all(set(beater.states().values()) == {"alive"} for beater in self.beaters)

    def close(self) -> None:
        for beater in self.beaters:
            if beater.process is not None and not beater.ended:
                beater.process.kill()
                beater.process.wait(10)
