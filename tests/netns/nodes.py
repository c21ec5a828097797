"""One node: its folder, its settings, its two daemons in their namespace, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from cli.client import Control, NoDaemon
from reconciler.status import Status
from tests.netns.wires import HEARTBEATS, POOL_NUMBER, address, inside, namespace, run

BIN = Path(sys.executable).parent
CLUSTER_ID = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"
PASSWORD = "secret"
READER = "cxm"
DAEMONS = ("cxm-heartbeatd", "cxmd")
HEARTBEAT_PORT, SVN_PORT = 9850, 3690
_ANSWER_WITHIN_S = 3.0


class NotInTime(AssertionError):
    """Something that had to become true did not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node finds the others. `key` is the one that peers know each other by."""

    hosts: Sequence[Mapping[str, Any]]
    source: str
    key: str


def environment(folder: Path) -> dict[str, str]:
    """Of everything that is started: nothing of the caller's."""
    return {
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
    }


class Node:
    """Node `number`, counted from 1. `clock_ahead_s`: by so much its own clocks are ahead."""

    def __init__(self, name: str, number: int, folder: Path, disk: str) -> None:
        self.name, self.number, self.folder, self.disk = name, number, folder, disk
        self.clock_ahead_s = 0
        self.was_killed = False
        self.state = folder / "state"
        self.config = folder / "node.yaml"
        self._pages = folder / "pages"
        self._boot_id = folder / "boot-id"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # --- settings -------------------------------------------------------------------------------

    @property
    def heard_at(self) -> tuple[str, ...]:
        """Its heartbeat addresses."""
        return tuple(f"{address(self.number, link)}:{HEARTBEAT_PORT}" for link in HEARTBEATS)

    def write_settings(self, place: Place) -> None:
        (self.folder / "secrets.d").mkdir(parents=True)
        self.state.mkdir()
        self._pages.touch()
        self.boots()
        page = self.folder / "page"
        page.write_text(f"#!/bin/sh\nexec cat >> {self._pages}\n")
        page.chmod(0o755)
        self.config.write_text(json.dumps(self._settings(place, page)))
        secrets = {"pool": PASSWORD, "subversion": PASSWORD, "cluster-key": place.key}
        for name, secret in secrets.items():
            self.keep_secret(name, secret)

    def keep_secret(self, name: str, secret: str) -> None:
        file = self.folder / "secrets.d" / name
        file.touch(mode=0o600)
        file.write_text(f"{secret}\n")

    def _settings(self, place: Place, page: Path) -> dict[str, Any]:
        return {
            "node": self.name,
            "cluster": {"id": CLUSTER_ID},
            "source": {"url": place.source, "user": READER, "credentialsRef": "subversion"},
            "xenapi": {
                "addresses": [urlsplit(host["url"]).netloc for host in place.hosts],
                "credentialsRef": "pool",
                "fingerprints": [host["fingerprint"] for host in place.hosts],
            },
            "clusterKeyRef": "cluster-key",
            "engine": {"kind": "builtin"},
            "notify": [{"exec": str(page), "severity": "warning"}],
            "stateDir": str(self.state),
            "runDir": str(self.folder / "run"),
            "bootIdFile": str(self._boot_id),
        }

    def boots(self) -> None:
        """Its server starts anew: all of them share this machine, and its boot."""
        self._boot_id.write_text(f"{uuid4()}\n", "ascii")

    # --- daemons --------------------------------------------------------------------------------

    def start(self, *daemons: str) -> None:
        """Those daemons that do not run; all of them where none is named."""
        self.was_killed = False
        for daemon in daemons or DAEMONS:
            known = self._running.get(daemon)
            if known is None or known.poll() is not None:
                self._start(daemon)

    def _start(self, daemon: str) -> None:
        ahead = str(self.clock_ahead_s)
        clocks = ("unshare", "--time", "--boottime", ahead, "--monotonic", ahead, "--")
        command = (
            *inside(namespace(self.number)),
            *(clocks if self.clock_ahead_s else ()),
            *(str(BIN / daemon), "--config", str(self.config)),
        )
        with (self.folder / f"{daemon}.log").open("ab") as log:
            self._running[daemon] = subprocess.Popen(
                command,
                env=environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL to both daemons; they stay down until `start`. Frozen ones die, too."""
        self.was_killed = True
        for child in self._running.values():
            child.kill()
        for child in self._running.values():
            child.wait()
        self._running.clear()

    def freeze(self, *daemons: str) -> None:
        self._signal(signal.SIGSTOP, daemons or DAEMONS)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT, DAEMONS)

    def _signal(self, number: int, daemons: Sequence[str]) -> None:
        for daemon in daemons:
            os.kill(self._running[daemon].pid, number)

    @property
    def ended(self) -> dict[str, int]:
        """Exit status of those daemons that ended by themselves."""
        codes = {name: child.poll() for name, child in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def with_small_state(self, size: str) -> None:
        """Put the state on a file system of its own. Before `start`."""
        run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0750", "tmpfs", self.state)

    # --- what it says -----------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        return Control(self.folder / "run" / "cxmd.sock", _ANSWER_WITHIN_S)

    def status(self) -> Status | None:
        """None where it does not answer."""
        try:
            return self.control.status()
        except NoDaemon:
            return None

    @property
    def leader(self) -> str | None:
        """Whom it takes for the leader; None as well where it does not answer."""
        status = self.status()
        return status.leadership.leader if status is not None else None

    @property
    def acts(self) -> bool:
        status = self.status()
        if status is None:
            return False
        return status.leadership.leader == self.name and status.leadership.state == "acting"

    def peers(self) -> dict[str, str]:
        """The states of the other peers, as it sees them."""
        status = self.status()
        if status is None:
            return {}
        return {peer.name: str(peer.state) for peer in status.peers if peer.name != self.name}

    def channels(self, peer: str) -> dict[str, str]:
        """The states of a peer's channels, as this node sees them."""
        status = self.status()
        shown = status.peers if status is not None else ()
        return next((dict(row.channels) for row in shown if row.name == peer), {})

    def pages(self, key: str) -> list[str]:
        """The severities that people were told for `key`, in order."""
        told = [json.loads(line) for line in self._pages.read_text().splitlines()]
        return [page["severity"] for page in told if page["key"] == key]

    def __str__(self) -> str:
        status = self.status()
        if status is None:
            return f"{self.name}: silent, ended {self.ended}"
        led = status.leadership
        seen = {peer.name: f"{peer.state} {dict(peer.channels)}" for peer in status.peers}
        return (
            f"{self.name}: {led.state} leader={led.leader} term={led.term} stage={led.stage}"
            f" waits={led.waits_s} reason={led.reason!r} revision={status.revision.converged}"
            f"/{status.revision.target}/{status.revision.head} condition={status.condition}"
            f" {status.message!r} peers={seen} exceptions={list(status.exceptions)}"
            f" ended={self.ended}"
        )


def served_by_pool(folder: str) -> str:
    """The URL of a directory below svnserve's root, as nodes reach it."""
    return f"svn://{address(POOL_NUMBER, 0)}:{SVN_PORT}/{folder}"


def until(true: Callable[[], bool], within_s: float, what: str, *nodes: Node) -> float:
    """Wait for it; the seconds that it took. Raises NotInTime with what `nodes` say by then."""
    began_s = time.monotonic()
    while not true():
        if time.monotonic() - began_s > within_s:
            said = "".join(f"\n  {node}" for node in nodes)
            raise NotInTime(f"not within {within_s:g} s: {what}{said}")
        time.sleep(0.1)
    return time.monotonic() - began_s
