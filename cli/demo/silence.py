"""What the demo has of peers: their place in the tree, and the act in which the leader falls silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cli.demo.nodes import DemoNode
from cli.demo.stage import Stage
from cli.demo.typist import Typist
from cli.envelope import failure

# Short, so that an audience sees it; on a real network the defaults are 1 s, 5 s and 10 s.
_TIMING = "heartbeat: {interval: 500ms, suspectAfter: 2s, deadAfter: 4s}"
_ANOTHER_LEADS_WITHIN_S = 15.0
_ALL_ALIVE_WITHIN_S = 15.0
_LOOK_AGAIN_S = 0.5


def describe_peers(stage: Stage, typist: Typist) -> None:
    """Say in the tree which nodes are peers, and where they are heard. Nothing for one alone."""
    if not stage.peers:
        return
    names = ", ".join(node.name for node in stage.peers)
    typist.tell(f"Daemons run on {names}: where each is heard, by two networks and a shared disk.")
    for node in stage.peers:
        typist.type(_into_the_tree(node))
    typist.type(f"echo '{_TIMING}' >> $WC/cluster.yaml")
    typist.type(f"cxm heartbeat format {stage.folder / 'heartbeat.disk'}")


def _into_the_tree(node: DemoNode) -> str:
    assert node.peering is not None
    one, two = node.peering.addresses
    heard = f"heartbeat: {{addresses: [{one}, {two}], disk: {node.peering.disk}}}"
    file = f"$WC/nodes/{node.name}.yaml"
    if not node.witness:
        return f"sed -i 's|^roles:.*|roles: [run, peer]|; $a {heard}' {file}"
    head = f"apiVersion: cxm/v1\\nkind: Node\\nname: {node.name}\\nroles: [witness]"
    return f"printf '{head}\\n{heard}\\n' > {file}"


def leader_falls_silent(stage: Stage, typist: Typist) -> None:
    """Both daemons of the leader are frozen; another one leads; nobody acts twice."""
    typist.tell("The peers, as two of them see them, and who of them leads.")
    first, second = stage.peers[:2]
    typist.type(f"cxm --config {settings_of(first)} members")
    typist.type(f"cxm --config {settings_of(second)} members")
    _await(
        lambda: leader_seen_by(typist, first) is not None, _ANOTHER_LEADS_WITHIN_S, "nobody leads"
    )
    typist.type("cxm leader")
    old = leader_seen_by(typist, first)
    silent = next(node for node in stage.peers if node.name == old)
    other = next(node for node in stage.peers if node.name != old)
    pids = f"{silent.pids['heartbeatd']} {silent.pids['cxmd']}"
    typist.tell(f"{old} freezes: its daemons neither speak nor act. Its VMs run on.")
    typist.type(f"kill -STOP {pids}")

    def another_leads() -> bool:
        return leader_seen_by(typist, other) not in (None, old)

    _await(another_leads, _ANOTHER_LEADS_WITHIN_S, f"nobody leads in the place of {old}")
    typist.type(f"cxm --config {settings_of(other)} leader")
    typist.type(f"cxm --config {settings_of(other)} members", expect=2)
    typist.tell(f"{old} wakes up, sees that another one leads, and follows.")
    typist.type(f"kill -CONT {pids}")

    def all_well() -> bool:
        peers = typist.ask("cxm", "--config", str(other.config), "members", "-o", "json")["peers"]
        return len(peers) == len(stage.peers) and all(map(_well, peers))

    _await(all_well, _ALL_ALIVE_WITHIN_S, "not all of the peers are alive again")
    typist.type(f"cxm --config {settings_of(other)} members")


def settings_of(node: DemoNode) -> str:
    """As one would type it after `. D/env`."""
    return f"$NODES/{node.name}/node.yaml"


def leader_seen_by(typist: Typist, asked: DemoNode) -> str | None:
    """The name of whom `asked` takes for the leader."""
    leader: str | None = _status(typist, asked)["leadership"]["leader"]
    return leader


def _well(peer: Any) -> bool:
    """Heard on every channel, and it hears all others: the channels do not come back at once."""
    states = {peer["state"], *peer["channels"].values()}
    return states == {"alive"} and not peer["not_seen"]


def _status(typist: Typist, asked: DemoNode) -> Any:
    return typist.ask("cxm", "--config", str(asked.config), "status", "-o", "json")


def _await(ready: Callable[[], bool], within_s: float, otherwise: str) -> None:
    until_s = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > until_s:
            raise failure("error", "DemoFailed", f"after {within_s:g} s {otherwise}")
        time.sleep(_LOOK_AGAIN_S)
