"""The servers on which the demo's nodes live: their controllers, and that daemons die with them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.demo.nodes import DemoNode
from cli.demo.typist import Typist

BMC = "bmc"
"""The secret with which the controllers are reached."""

_LOOK_AGAIN_S = 0.1
"""Sooner than any command begins: who waits right after a cut is to hear nothing of the dead any more."""
_ANSWER_WITHIN_S = 2.0
_OWN = frozenset({"ip", "ipport", "username", "password"})
"""Options of a controller that are no other's."""


def secret(bmcs: Sequence[Mapping[str, Any]]) -> str:
    """What `secrets.d/bmc` holds; all simulated controllers have the same user."""
    options = bmcs[0]["options"]
    return f"username={options['username']}\npassword={options['password']}\n"


def describe_controllers(bmcs: Sequence[Mapping[str, Any]], typist: Typist) -> None:
    """Say in the tree how each server is powered off."""
    if not bmcs:
        return
    typist.tell("Each server has a controller that can power it off, and read that it is off.")
    shared = {key: value for key, value in bmcs[0]["options"].items() if key not in _OWN}
    options = ", ".join(f'{key}: "{value}"' for key, value in sorted(shared.items()))
    agent = f"agent: {bmcs[0]['agent']}, credentialsRef: {BMC}, options: {{{options}}}"
    typist.type(f"echo 'fencing: {{{agent}}}' >> $WC/cluster.yaml")
    for bmc in bmcs:
        at = f"{bmc['options']['ip']}:{bmc['options']['ipport']}"
        file = f"$WC/nodes/{bmc['host']}.yaml"
        typist.type(f"sed -i 's|^unfenced:.*|bmc: {at}|' {file}")


class Mains:
    """Watches the power of the simulated servers: a daemon lives on one, and dies with it."""

    def __init__(self, control: Path, nodes: Sequence[DemoNode]) -> None:
        self._control = control
        self._nodes = [node for node in nodes if node.peering is not None and not node.witness]
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="mains")

    def start(self) -> None:
        if self._nodes:
            self._watcher.start()

    def end(self) -> None:
        """Every daemon may run from then on, and none is ended any more."""
        self._ending.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_AGAIN_S):
            try:
                hosts = _hosts(self._control)
            except (OSError, ValueError, KeyError):
                continue  # The simulator is busy, or ends.
            for node in self._nodes:
                _follow(node, hosts[node.name])


def _follow(node: DemoNode, host: Mapping[str, Any]) -> None:
    """A server that was switched on boots first, and then starts what runs on it."""
    if host["powered"] and not host["reachable"]:
        return
    if host["powered"] and not all(daemon.powered for daemon in node.daemons.values()):
        node.boots()
    for daemon in node.daemons.values():
        daemon.power(on=bool(host["powered"]))


def _hosts(control: Path) -> dict[str, Mapping[str, Any]]:
    """The simulated servers, by name. Raises OSError, ValueError, KeyError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(_ANSWER_WITHIN_S)
        link.connect(str(control))
        with link.makefile("rwb") as lines:
            lines.write(b'{"op": "status"}\n')
            lines.flush()
            answer = json.loads(lines.readline())
    return {host["name"]: host for host in answer["data"]["hosts"]}
