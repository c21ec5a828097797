"""Runs in which servers die: what real daemons, agents and controllers make of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.netns.nodes import Node, until
from tests.netns.servers import ServerCluster

FENCED_WITHIN_S = 40.0
_QUIET_S = 20.0


def power_cut(cluster: ServerCluster) -> None:
    """A server loses its power, its controller does not: what ran on it runs elsewhere."""
    leader = cluster.start()
    lost = _somebody_else(cluster, leader)
    vms = cluster.running_on(lost.name)
    cluster.tell(f"{lost.name} loses its power, with {', '.join(vms)}")
    cluster.sim("power", lost.name, "off")
    cluster.recovered(vms, lost.name)
    assert _offs(cluster, lost.name) == [], "it was off already"
    cluster.sim("power", lost.name, "on")
    until(lambda: lost.status() is not None, 120, f"{lost.name} is back", *cluster.nodes)
    cluster.all_alive()
    assert cluster.running_on(lost.name) == [], "nothing moves back by itself"
    status = leader.status()
    assert status is not None
    assert status.exceptions == (), "who came back by a new boot voids no certificate"


def hang(cluster: ServerCluster) -> None:
    """A server hangs, and all that runs on it with it: it is switched off before anything else runs."""
    leader = cluster.start()
    lost = _somebody_else(cluster, leader)
    vms = cluster.running_on(lost.name)
    cluster.tell(f"{lost.name} hangs, with {', '.join(vms)}")
    cluster.sim("fault", "start", "hang", f"host={lost.name}", "for=600s")
    lost.freeze()
    until(lambda: not cluster.powered(lost.name), FENCED_WITHIN_S, "it is switched off", leader)
    cluster.recovered(vms, lost.name)


def daemons_killed(cluster: ServerCluster) -> None:
    """The daemons of a node are gone, its server is well: nobody is shot, nothing moves."""
    leader = cluster.start()
    blind = _somebody_else(cluster, leader)
    vms = cluster.running_on(blind.name)
    cluster.started = False  # Nobody starts them again.
    blind.kill()
    cluster.tell(f"the daemons of {blind.name} are killed")
    cluster.paged(f"peer/{blind.name}", "warning", cluster.others(blind), 20)
    time.sleep(_QUIET_S)
    assert cluster.powered(blind.name)
    assert cluster.running_on(blind.name) == vms
    assert _offs(cluster, blind.name) == []
    blind.start()
    cluster.all_alive()


def lying_controller(cluster: ServerCluster) -> None:
    """A controller says that it switched off, and did not: nothing of that server is started."""
    leader = cluster.start()
    lost = _somebody_else(cluster, leader)
    vms = cluster.running_on(lost.name)
    cluster.sim("fault", "start", "bmc-lies", f"host={lost.name}", "says=done", "for=600s")
    cluster.sim("fault", "start", "hang", f"host={lost.name}", "for=600s")
    lost.freeze()
    cluster.tell(f"{lost.name} hangs, and its controller lies")
    time.sleep(FENCED_WITHIN_S)
    assert cluster.powered(lost.name)
    for vm in vms:
        assert cluster.calls("VM.start_on", vm) == []
    assert cluster.calls("power_state_reset") == []


def cross_wired(cluster: ServerCluster) -> None:
    """The controller of one server is another's: neither is switched off."""
    leader = cluster.start()
    lost, other = cluster.others(leader)
    where = f"onto={other.name}"
    cluster.sim("fault", "start", "bmc-crosswired", f"host={lost.name}", where, "for=600s")
    cluster.sim("fault", "start", "hang", f"host={lost.name}", "for=600s")
    lost.freeze()
    cluster.tell(f"{lost.name} hangs, and its controller is in {other.name}")
    time.sleep(FENCED_WITHIN_S)
    assert cluster.powered(lost.name)
    assert cluster.powered(other.name)
    assert cluster.calls("power_state_reset") == []


def leader_killed_while_fencing(cluster: ServerCluster) -> None:
    """The leader dies as it is about to switch a server off: its successor comes to the same end."""
    leader = cluster.start()
    lost = _somebody_else(cluster, leader)
    vms = cluster.running_on(lost.name)
    cluster.sim("fault", "start", "hang", f"host={lost.name}", "for=600s")
    cluster.sim("fault", "start", "bmc-slow", f"host={lost.name}", "ms=4000", "for=600s")
    lost.freeze()
    cluster.started = False
    until(lambda: _begun(leader), FENCED_WITHIN_S, "it is about to be switched off", leader)
    leader.kill()
    cluster.tell(f"{leader.name} is killed while it switches {lost.name} off")
    cluster.recovered(vms, lost.name, within_s=150)


def _begun(node: Node) -> bool:
    """Whether its journal says that a server is about to be switched off."""
    files = (node.state / "journal").glob("*.jsonl")
    return any('"entry":"fenced"' in file.read_text("utf-8") for file in files)


def _somebody_else(cluster: ServerCluster, leader: Node) -> Node:
    """A node that neither leads nor is the pool's master."""
    return next(node for node in cluster.others(leader) if node.name != "xen1")


def _offs(cluster: ServerCluster, name: str) -> list[str]:
    """Commands to switch off that reached this server's controller."""
    rows = cluster.sim("status")["bmcs"]
    return [row["name"] for row in rows if row["host"] == name and row.get("offs", 0)]


FENCE_RUNS: tuple[tuple[str, int, Callable[[ServerCluster], None], bool], ...] = (
    ("power-cut", 3, power_cut, False),
    ("hang", 3, hang, True),
    ("daemons-killed", 3, daemons_killed, True),
    ("lying-controller", 3, lying_controller, False),
    ("cross-wired", 3, cross_wired, False),
    ("leader-killed-while-fencing", 5, leader_killed_while_fencing, False),
)
"""Name, number of nodes, what happens, and whether it is part of `make test`."""
