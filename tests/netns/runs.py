"""The runs: what real processes do when cables, disks and daemons fail.

`python -m tests.netns.runs [NAME]...` runs them, tells what it sees, and ends with one line of figures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.netns.harness import DEAD_AFTER_S, Cluster
from tests.netns.nodes import until

ALLOWANCE_S = 3.0
"""For ticks, the page's own program and a machine that has other things to do."""

_MOVED = "web1"


def two_peers(cluster: Cluster) -> None:
    """Two nodes: with the disk one leads, without link and disk nobody does, and it ends by itself."""
    leader = cluster.start()
    other = cluster.others(leader)[0]
    cluster.tell("both links are cut, the disk is kept")
    cluster.wires.part([leader.number])
    silent = {"net1": "dead", "net2": "dead", "disk": "alive"}
    until(lambda: other.channels(leader.name) == silent, 10, "the links are dead", other)
    leader = cluster.one_leads()
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision)
    assert cluster.sim("vm", "test1")["power_state"] == "Running"
    cluster.tell("now the disk, too")
    for node in cluster.nodes:
        cluster.disk.cut(node.number)
    cluster.nobody_leads(cluster.nodes, DEAD_AFTER_S + ALLOWANCE_S)
    cluster.paged("no-leader", "critical", cluster.nodes, DEAD_AFTER_S + ALLOWANCE_S)
    revision = cluster.commit("vms/test1.yaml", "state: running", "state: halted")
    time.sleep(5)
    assert cluster.sim("vm", "test1")["power_state"] == "Running", "nobody leads, somebody acted"
    cluster.tell("all is mended")
    cluster.disk.heal()
    cluster.wires.heal()
    cluster.one_leads()
    cluster.paged("no-leader", "ok", cluster.nodes, 15)
    cluster.all_alive()
    cluster.converged(revision)


@dataclass(frozen=True, slots=True)
class Run:
    """`often`: also a part of `make test`."""

    name: str
    nodes: int
    act: Callable[[Cluster], None]
    often: bool = False


RUNS = (
    Run("two-peers", 2, two_peers, often=True),
)


def carry_out(run: Run) -> float:
    """The seconds that it took. Raises AssertionError where something is not as it must be."""
    began_s = time.monotonic()

    def tell(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began_s:6.1f} s  {text}\n")
        sys.stdout.flush()

    with Cluster(run.nodes, tell) as cluster:
        run.act(cluster)
        cluster.unhurt()
    return time.monotonic() - began_s


if __name__ == "__main__":
    for r in RUNS:
        print(carry_out(r))
