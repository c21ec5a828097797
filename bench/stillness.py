"""False alarms: servers that stand still for less than is forgiven, and cores that are busy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.stage import Rig, pool_of, staged

LATENCY = "{host_boot: [110s, 112s], start: [20ms, 25ms]}"
TIMING = "heartbeat: {interval: 250ms, suspectAfter: 1s, deadAfter: 2s}"
DEAD_AFTER_S = 2.0
SHARE = 0.8
CUTS = 100
REST_S = 1.2
BUSY_S = 60.0
CALM_S = 10.0
PEERS = ("xen1", "xen2", "xen3")


@dataclass(frozen=True)
class Noise:
    """How often somebody was powered off, or about to be, and how many terms were begun meanwhile."""

    cuts: int
    cut_s: float
    fenced: int
    terms: int
    busy_s: float
    cores: int

    def lines(self) -> list[str]:
        return [
            "| standstills | each s, of deadAfter s | cores busy s | powered off | new terms |",
            "| --- | --- | --- | --- | --- |",
            (
                f"| {self.cuts} | {self.cut_s:g} of {DEAD_AFTER_S:g} |"
                f" {self.busy_s:g} ({self.cores} cores) | {self.fenced} | {self.terms} |"
            ),
        ]

    def summary(self) -> str:
        return (
            f"{self.fenced} powered off in {self.cuts} standstills of {SHARE:g} x deadAfter"
            f" and {self.busy_s:g} s of busy cores"
        )


def noise(cuts: int = CUTS, busy_s: float = BUSY_S) -> Noise:
    """One cluster lives through all of it."""
    with (
        tempfile.TemporaryDirectory(prefix="cxm-bench-") as folder,
        staged(Path(folder), pool_of(12, 3, LATENCY)) as rig,
    ):
        rig.type(f"sed -i 's/^heartbeat:.*/{TIMING}/' $WC/cluster.yaml")
        rig.type("svn commit -q -m 'less is forgiven' $WC && cxm wait all --timeout 60s")
        time.sleep(CALM_S)
        before = _term(rig)
        for number in range(cuts):
            stands_still(rig, PEERS[number % len(PEERS)], SHARE * DEAD_AFTER_S)
            time.sleep(REST_S)
        with _busy():
            time.sleep(busy_s)
        time.sleep(CALM_S)
        off = [host for host in rig.ask(op="status")["hosts"] if not host["powered"]]
        return Noise(
            cuts=cuts,
            cut_s=SHARE * DEAD_AFTER_S,
            fenced=max(len(off), len(rig.events("fenced")), len(rig.calls("VM.power_state_reset"))),
            terms=_term(rig) - before,
            busy_s=busy_s,
            cores=_cores(),
        )


def _term(rig: Rig) -> int:
    return max(int(row["entry"]["term"]) for row in rig.events("leader"))


def stands_still(rig: Rig, name: str, seconds: float) -> None:
    """Its toolstack and its daemons: as when its network is cut, or its kernel stops for a while."""
    pids = rig.pids(name)
    hang = {"host": name, "for": f"{seconds:g}s"}
    rig.ask(op="fault", do="start", name="hang", settings=hang)
    rig.freeze(pids)
    try:
        time.sleep(seconds)
    finally:
        rig.thaw(pids)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _busy() -> Iterator[None]:
    """A loop for every core."""
    with ExitStack() as ending:
        for _ in range(_cores()):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            ending.callback(loop.wait)
            ending.callback(loop.kill)
        yield
