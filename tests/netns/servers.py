"""A cluster whose nodes die with their servers, and have real controllers on the network."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from tests.netns.harness import Cluster
from tests.netns.nodes import Node, until
from tests.netns.wires import CommandFailed

RECOVERED_WITHIN_S = 90.0
QUICK = "latency: {host_boot: [62s, 63s], unreachable: 3s}\n"
"""A server boots in the time that one takes at least, and TCP is not kept waiting for one that is gone."""

_LOOK_EVERY_S = 0.3


class ServerCluster(Cluster):
    """Each node's daemons are killed when its server loses its power, whoever took it, and are started
    when it has power again and its toolstack is up: as those in a service VM are."""

    def __enter__(self) -> ServerCluster:
        super().__enter__()
        self._over = threading.Event()
        self._lives = threading.Thread(target=self._die_with_servers, name="servers")
        self._lives.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._lives.join()
        super().__exit__(*raised)

    # --- setting up -------------------------------------------------------------------------------

    def pool_options(self) -> tuple[str, ...]:
        return ("--bmcs",)

    def pool_as(self, text: str) -> str:
        return re.sub(r"^latency:.*\n", QUICK, text, flags=re.M)

    def pool_is_ready(self, shown: Mapping[str, Any]) -> None:
        self._controllers = {row["host"]: row["options"] for row in shown["bmcs"]}

    def settled(self, node: Node) -> None:
        """Its secrets, too: how to log in at every controller."""
        options = next(iter(self._controllers.values()))
        node.keep_secret("bmc", f"username={options['username']}\npassword={options['password']}")

    def described(self, name: str, text: str) -> str:
        options = self._controllers.get(name)
        if options is None:
            return text
        where = f"{options['ip']}:{options['ipport']}"
        return re.sub(r"^bmc:.*", f'bmc: "{where}"', text, flags=re.M)

    # --- servers ----------------------------------------------------------------------------------

    def _die_with_servers(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            try:
                hosts = {host["name"]: host for host in self.sim("status")["hosts"]}
            except CommandFailed:
                continue  # The simulator is being taken down.
            for node in self.nodes:
                host = hosts.get(node.name)
                if host is None or not self.started:
                    continue
                if not host["powered"]:
                    node.kill()
                elif host["reachable"] and node.was_killed:
                    node.boots()
                    node.start()

    def powered(self, name: str) -> bool:
        return bool(self._host(name)["powered"])

    def running_on(self, name: str) -> list[str]:
        return list(self._host(name)["running"])

    def _host(self, name: str) -> Mapping[str, Any]:
        hosts: list[Mapping[str, Any]] = self.sim("status")["hosts"]
        return next(host for host in hosts if host["name"] == name)

    def recovered(self, vms: list[str], lost: str, within_s: float = RECOVERED_WITHIN_S) -> float:
        """All of these VMs run on other servers."""

        def all_run() -> bool:
            found = [self.sim("vm", vm) for vm in vms]
            return all(f["power_state"] == "Running" and f["host"] != lost for f in found)

        living = [node for node in self.nodes if node.status() is not None]
        took_s = until(all_run, within_s, f"{', '.join(vms)} run elsewhere", *living)
        self.tell(f"{', '.join(vms)} run elsewhere, after {took_s:.1f} s")
        return took_s

    def safe(self) -> None:
        """Nothing ever ran twice."""
        assert self.sim("corruption")["count"] == 0
