"""The runs: what real processes do when cables, disks and daemons fail.

`python -m tests.netns.runs [NAME]...` runs them, tells what it sees, and ends with one line of figures.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import NoDaemon
from cli.envelope import Failure
from reconciler.messages import AskHold, AskRelease
from tests.netns.fence_runs import FENCE_RUNS
from tests.netns.harness import DEAD_AFTER_S, LOGS, Cluster
from tests.netns.nodes import Node, until
from tests.netns.servers import ServerCluster
from tests.netns.wires import HEARTBEATS, CommandFailed

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
    for node in cluster.nodes:
        cluster.paged(f"no-leader/{node.name}", "critical", [node], DEAD_AFTER_S + ALLOWANCE_S)
    revision = cluster.commit("vms/test1.yaml", "state: running", "state: halted")
    time.sleep(5)
    assert cluster.sim("vm", "test1")["power_state"] == "Running", "nobody leads, somebody acted"
    cluster.tell("all is mended")
    cluster.disk.heal()
    cluster.wires.heal()
    leader = cluster.one_leads()
    for node in cluster.nodes:
        cluster.paged(f"no-leader/{node.name}", "ok", [node], 15)
    cluster.all_alive()
    cluster.converged(revision)


def leader_killed(cluster: Cluster) -> None:
    """Both daemons of the leader are killed in the middle of a migration: it is neither repeated nor lost."""
    leader = cluster.start()
    source = cluster.sim("vm", _MOVED)["host"]
    revision = cluster.commit(f"vms/{_MOVED}.yaml", "", "placement: {only: [xen4]}\n")
    until(lambda: _migrations(cluster) == 1, 30, f"{_MOVED} is on its way", leader)
    assert cluster.sim("vm", _MOVED)["host"] == source, (
        "it had arrived before the leader was killed"
    )
    leader.kill()
    cluster.tell(f"{leader.name} is killed while {_MOVED} moves")
    rest = cluster.others(leader)
    cluster.one_leads(rest, but=leader)
    cluster.converged(revision, rest)
    assert cluster.sim("vm", _MOVED)["host"] == "xen4"
    assert _migrations(cluster) == 1
    leader.start()
    cluster.all_alive()
    cluster.one_leads()
    assert _migrations(cluster) == 1


def _migrations(cluster: Cluster) -> int:
    """How often the moved VM was asked to move."""
    return len(cluster.calls("VM.pool_migrate", _MOVED))


def one_way(cluster: Cluster) -> None:
    """Nobody hears the leader, which hears everybody: another one leads, and never both."""
    leader = cluster.start()
    rest = cluster.others(leader)
    _lose_disk(cluster)
    cluster.tell(f"nobody hears {leader.name} any more; it hears all of them")
    cluster.wires.deafen([node.number for node in rest], [leader.number], HEARTBEATS)
    with _Watch(cluster):
        cluster.one_leads(rest, but=leader)
        until(lambda: not leader.acts, 5, f"{leader.name} acts no more", leader)
        cluster.wires.heal()
        cluster.disk.heal()
        cluster.all_alive()
        cluster.one_leads()


def _lose_disk(cluster: Cluster) -> None:
    """The disk is lost by all nodes: what happens on the links decides alone."""
    for node in cluster.nodes:
        cluster.disk.cut(node.number)


class _Watch:
    """Looks all the while how many nodes say that they act. More than one ends the run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._both: list[str] = []
        self._thread = threading.Thread(target=self._look, name="watch")

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()
        if raised[0] is None:  # Else the run ends for that reason.
            assert self._both == []

    def _look(self) -> None:
        """Acting in one moment and in the next: two answers are not of the same moment."""
        before: set[str] = set()
        while not self._over.wait(0.2):
            acting = {node.name for node in self._cluster.nodes if node.acts}
            if len(acting & before) > 1:
                self._both.append(f"{sorted(acting)} act at the same time")
            before = acting


def one_channel(cluster: Cluster) -> None:
    """A cable of the leader is pulled out: the channel is dead, and nothing else changes."""
    leader = cluster.start()
    terms = _terms(cluster)
    for link in HEARTBEATS:
        cluster.tell(f"{leader.name} loses net{link}")
        cluster.wires.unplug(leader.number, link)
        lost, kept = f"net{link}", f"net{3 - link}"
        for node in cluster.others(leader):

            def dead(node: Node = node, lost: str = lost) -> bool:
                return node.channels(leader.name).get(lost) == "dead"

            until(dead, 10, f"{lost} of {leader.name} is dead", node)
            assert node.peers()[leader.name] == "alive"
            assert node.channels(leader.name)[kept] == "alive"
        assert _terms(cluster) == terms
        _hold_arrives(cluster, cluster.others(leader)[0])
        cluster.wires.plug(leader.number, link)
        until(lambda: _all_channels(cluster), 15, "every channel is alive", *cluster.nodes)
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision)
    assert _terms(cluster) == terms


def _hold_arrives(cluster: Cluster, asked: Node) -> None:
    """What daemons tell each other goes by any cable that is left."""
    hold = asked.control.hold(AskHold(reason="a look", by=""), cluster.tell).message
    assert all(_holds(node) == [hold] for node in cluster.nodes)
    asked.control.release(AskRelease(id=hold, by=""), cluster.tell)
    until(lambda: not any(map(_holds, cluster.nodes)), 10, "nobody is held", *cluster.nodes)


def _terms(cluster: Cluster) -> list[tuple[str | None, int]]:
    """Whom each node follows, and in which term."""
    said = [node.status() for node in cluster.nodes]
    return [(s.leadership.leader, s.leadership.term) for s in said if s is not None]


def _all_channels(cluster: Cluster) -> bool:
    return all(
        set(node.channels(peer.name).values()) == {"alive"}
        for node in cluster.nodes
        for peer in cluster.others(node)
    )


def leader_frozen(cluster: Cluster) -> None:
    """The leader is stopped in the middle of its work and wakes up later: it does nothing any more."""
    leader = cluster.start()
    rest = cluster.others(leader)
    cluster.commit(f"vms/{_MOVED}.yaml", "", "placement: {only: [xen4]}\n")
    until(lambda: _migrations(cluster) == 1, 30, f"{_MOVED} is on its way", leader)
    leader.freeze()
    cluster.tell(f"{leader.name} is frozen while {_MOVED} moves")
    cluster.one_leads(rest, but=leader)
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision, rest)
    before = cluster.changes()
    with _Watch(cluster):
        leader.thaw()
        cluster.tell(f"{leader.name} wakes up")
        cluster.all_alive()
        cluster.one_leads(but=leader)
        time.sleep(5)
    assert cluster.changes() == before, "somebody changed something after it woke up"
    assert _migrations(cluster) == 1


def cxmd_frozen(cluster: Cluster) -> None:
    """The leader's cxmd alone is stopped: the node stays alive, and another one leads."""
    leader = cluster.start()
    rest = cluster.others(leader)
    cluster.tell(f"cxmd of {leader.name} is frozen; its heartbeats go on")
    leader.freeze("cxmd")
    cluster.one_leads(rest, but=leader)
    assert all(node.peers()[leader.name] == "alive" for node in rest)
    with _Watch(cluster):
        leader.thaw()
        cluster.one_leads()


def clocks_apart(cluster: Cluster) -> None:
    """Each node counts its time from elsewhere, hours apart: nobody compares clocks of two nodes.

    A step while they run cannot be made here: the date is the whole machine's, and the clocks of a time
    namespace are set before the first process is in it. What a step does is shown in virtual time.
    """
    for node in cluster.nodes:
        node.clock_ahead_s = 40_000 * (node.number - 1)
    leader = cluster.start()
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision)
    leader.kill()
    cluster.tell(f"{leader.name} is killed")
    rest = cluster.others(leader)
    with _Watch(cluster):
        cluster.one_leads(rest, but=leader)
        leader.start()
        cluster.all_alive()
        cluster.one_leads()


def disk_full(cluster: Cluster) -> None:
    """The leader's disk runs full: it stands no more, another one leads; with room it takes part again."""
    for node in cluster.nodes:
        node.with_small_state("24m")
    leader = cluster.start()
    rest = cluster.others(leader)
    cluster.tell(f"the disk of {leader.name} runs full")
    filler = leader.state / "filler"
    _fill(filler)
    with _Watch(cluster):
        cluster.one_leads(rest, but=leader)
        revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
        cluster.converged(revision, rest)
        filler.unlink()
        cluster.tell(
            f"there is room again; of {leader.name} had ended: {leader.ended or 'nothing'}"
        )
        leader.start()
        cluster.all_alive()
        cluster.one_leads()


def _fill(path: Path) -> None:
    """Until there is no room for another byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def disk_hurt(cluster: Cluster) -> None:
    """The leader's disk shows old content, then fails: with the links kept, nothing else changes."""
    leader = cluster.start()
    terms = _terms(cluster)
    for hurt, word in ((cluster.disk.age, "shows old content"), (cluster.disk.cut, "fails")):
        cluster.tell(f"the disk of {leader.name} {word}")
        hurt(leader.number)
        for node in cluster.others(leader):

            def silent(node: Node = node) -> bool:
                return node.channels(leader.name).get("disk") == "dead"

            until(silent, 12, f"the disk of {leader.name} is silent", node)
            assert node.peers()[leader.name] == "alive"
        assert _terms(cluster) == terms
        cluster.disk.heal()
        until(lambda: _all_channels(cluster), 15, "every channel is alive", *cluster.nodes)
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision)
    assert _terms(cluster) == terms


def disk_hangs(cluster: Cluster) -> None:
    """The shared disk does not answer at all: one of two leads on by the links, without them nobody does."""
    leader = cluster.start()
    other = cluster.others(leader)[0]
    terms = _terms(cluster)
    cluster.disk.hang()
    cluster.tell("whoever writes to the disk waits")
    # Who cannot read the disk itself learns nothing of others from it.
    until(
        lambda: other.channels(leader.name).get("disk") == "unknown",
        12,
        "nothing is known by the disk",
        other,
    )
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision)
    assert _terms(cluster) == terms
    cluster.tell("both links are cut, too")
    cluster.wires.part([leader.number])
    with _Watch(cluster):
        cluster.nobody_leads(cluster.nodes, DEAD_AFTER_S + ALLOWANCE_S)
        cluster.disk.heal()
        cluster.tell("the disk answers again")
        cluster.one_leads()
        cluster.wires.heal()
        cluster.all_alive()


def five_peers(cluster: Cluster) -> None:
    """Five nodes lose two, and go on; lose a third, and nobody leads; have one back, and one leads."""
    leader = cluster.start()
    gone = [leader, *cluster.others(leader)[:1]]
    for node in gone:
        node.kill()
    cluster.tell(f"{gone[0].name} and {gone[1].name} are killed")
    rest = cluster.others(*gone)
    leader = cluster.one_leads(rest)
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    cluster.converged(revision, rest)
    leader.kill()
    cluster.tell(f"{leader.name} is killed")
    last = cluster.others(*gone, leader)
    cluster.nobody_leads(last, DEAD_AFTER_S + ALLOWANCE_S)
    for node in last:
        cluster.paged(f"no-leader/{node.name}", "critical", [node], DEAD_AFTER_S + ALLOWANCE_S)
    gone[0].start()
    cluster.tell(f"{gone[0].name} is back")
    cluster.one_leads((*last, gone[0]))
    gone[1].start()
    leader.start()
    cluster.all_alive()
    cluster.one_leads()


def held(cluster: Cluster) -> None:
    """A hold outlives the death of every daemon, and only its own release ends it."""
    leader = cluster.start()
    asked = cluster.others(leader)[0]
    asked.control.hold(AskHold(reason="a smell of smoke", by=""), cluster.tell)
    cluster.tell(f"held by way of {asked.name}")
    until(lambda: all(map(_holds, cluster.nodes)), 10, "all are held", *cluster.nodes)
    for node in cluster.nodes:
        node.kill()
    cluster.tell("every daemon is killed, and started again")
    for node in cluster.nodes:
        node.start()
    cluster.one_leads()
    (hold,) = {hold for node in cluster.nodes for hold in _holds(node)}
    assert all(_holds(node) == [hold] for node in cluster.nodes)
    revision = cluster.commit("vms/test1.yaml", "state: halted", "state: running")
    time.sleep(6)
    assert cluster.sim("vm", "test1")["power_state"] == "Halted"
    assert not _released(asked, "another"), "a hold that nobody raised was released"
    time.sleep(2)
    assert all(_holds(node) == [hold] for node in cluster.nodes)
    assert _released(asked, hold)
    until(lambda: not any(map(_holds, cluster.nodes)), 10, "released", *cluster.nodes)
    cluster.converged(revision)
    assert cluster.sim("vm", "test1")["power_state"] == "Running"


def _released(asked: Node, hold: str) -> bool:
    """Whether the release of that hold was accepted."""
    try:
        ask = AskRelease(id=hold, reason="it was the coffee", by="")
        asked.control.release(ask, print)
    except Failure:
        return False
    return True


def _holds(node: Node) -> list[str]:
    """The ids of the holds that it knows of."""
    status = node.status()
    rows = status.exceptions if status is not None else ()
    return [row.object for row in rows if row.kind == "hold"]


@dataclass(frozen=True, slots=True)
class Run:
    """`often`: also a part of `make test`. `servers`: its servers may die, and its nodes with them."""

    name: str
    nodes: int
    act: Callable[[Any], None]
    often: bool = False
    servers: bool = False


RUNS = (
    Run("two-peers", 2, two_peers, often=True),
    Run("leader-killed", 3, leader_killed, often=True),
    Run("one-way", 3, one_way, often=True),
    Run("one-channel", 3, one_channel),
    Run("leader-frozen", 3, leader_frozen, often=True),
    Run("cxmd-frozen", 3, cxmd_frozen),
    Run("clocks-apart", 3, clocks_apart),
    Run("disk-full", 3, disk_full),
    Run("disk-hurt", 3, disk_hurt),
    Run("disk-hangs", 2, disk_hangs),
    Run("five-peers", 5, five_peers),
    Run("held", 3, held, often=True),
    *(Run(name, count, act, often, servers=True) for name, count, act, often in FENCE_RUNS),
)


def carry_out(run: Run) -> None:
    """Raises AssertionError where something is not as it must be."""
    began_s = time.monotonic()

    def tell(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began_s:6.1f} s  {text}\n")
        sys.stdout.flush()

    kind = ServerCluster if run.servers else Cluster
    with kind(run.name, run.nodes, tell) as cluster:
        run.act(cluster)
        cluster.safe() if isinstance(cluster, ServerCluster) else cluster.unhurt()
        ended = [str(node) for node in cluster.nodes if node.ended]
        assert ended == [], "daemons ended by themselves"


def main(names: Sequence[str]) -> int:
    known = {run.name: run for run in RUNS}
    if wrong := [name for name in names if name not in known]:
        sys.stderr.write(f"no run is named {wrong[0]}; there are {', '.join(known)}\n")
        return 64
    if os.geteuid() != 0:
        sys.stderr.write("network namespaces need root: run it as root, or with sudo\n")
        return 1
    chosen = [known[name] for name in names] or list(RUNS)
    began_s, failed = time.monotonic(), 0
    for run in chosen:
        sys.stdout.write(f"{run.name}: {(run.act.__doc__ or '').splitlines()[0]}\n")
        try:
            carry_out(run)
        except (AssertionError, CommandFailed, NoDaemon, Failure) as error:
            failed += 1
            sys.stdout.write(f"{run.name} FAILED: {error}\n  logs: {LOGS / run.name}\n")
    took_s = time.monotonic() - began_s
    sys.stdout.write(f"{len(chosen)} runs, {failed} failed, {took_s:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
