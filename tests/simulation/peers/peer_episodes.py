"""Episodes of several nodes: trouble from a seed, then everything heals and one of them has to converge.

`python -m tests.simulation.peers.peer_episodes --seeds N`, or `--hours H` of simulated time, runs fresh
seeds after the saved ones and ends with one line of figures; `--seed S` runs that one and tells all.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from simulator.clock import run_virtual
from tests.simulation.checkers import needless_refusals
from tests.simulation.crashes import memory_disk
from tests.simulation.episodes import blame, patient, quiet
from tests.simulation.estate import as_it_is, unfulfilled
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_site import PeerSite
from tests.simulation.peers.peer_trouble import PeerTrouble
from tests.simulation.series import Outcome, Series
from tests.simulation.trouble import within_reach

EPISODES = 2
MOST_TOLD = 3
LEADS_WITHIN_S = 60.0
"""After everything healed: from the last fault to a leader that acts."""


@dataclass(frozen=True)
class PeerOutcome(Outcome):
    """`fired` counts the faults that struck. As text the first violations alone: others follow of them."""

    fired: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return "\n".join(f"seed {self.seed}: {v}" for v in self.violations[:MOST_TOLD])


def run(seed: int, episodes: int = EPISODES) -> PeerOutcome:
    """All episodes of one seed, until the first violation."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_run(seed, episodes, Path(folder)))


def make_site(seed: int, folder: Path) -> PeerSite:
    """Two to five nodes; a disk more often where there are two."""
    chance = random.Random(f"site/{seed}")
    nodes = chance.choice((2, 2, 3, 3, 3, 4, 5))
    disk = chance.random() < (0.7 if nodes == 2 else 0.4)
    return PeerSite(seed, folder, nodes, disk=disk)


async def _run(seed: int, episodes: int, folder: Path) -> PeerOutcome:
    site = make_site(seed, folder)
    bench = Bench(site)
    chance = random.Random(seed)
    trouble = PeerTrouble(site, bench, chance)
    site.commit(as_it_is(), "as it is")
    site.open()
    if chance.random() < 0.8:
        await asyncio.sleep(20.0)
    done = 0
    while done < episodes and not site.scene.violations:
        await episode(site, trouble, bench, chance, LENGTH)
        done += 1
    await site.close()
    hours = asyncio.get_running_loop().time() / 3600
    violations = tuple(site.scene.violations)
    return PeerOutcome(seed, done, hours, violations, trace(site), site.fired)


class Length(NamedTuple):
    """How long an episode may be, in seconds, and how many things may happen in it: lowest and highest."""

    seconds: tuple[float, float]
    moments: tuple[int, int]


LENGTH = Length((40.0, 240.0), (4, 16))


async def episode(
    site: PeerSite, trouble: PeerTrouble, bench: Bench, chance: random.Random, length: Length
) -> None:
    """Trouble at moments drawn by chance, and then all heals."""
    bench.calm.since_s = None
    length_s = chance.uniform(*length.seconds)
    moments = sorted(chance.uniform(0, length_s) for _ in range(chance.randint(*length.moments)))
    before_s = 0.0
    for at_s in moments:
        await asyncio.sleep(at_s - before_s)
        before_s = at_s
        await trouble.happen()
    await trouble.end()
    await healed(site, trouble, bench)


async def healed(site: PeerSite, trouble: PeerTrouble, bench: Bench) -> None:
    """Nothing disturbs any more: one leads, it converges, and then keeps its hands off."""
    bench.calm.since_s = asyncio.get_running_loop().time()
    trouble.wish = within_reach(site, trouble.wish)
    late = await _one_leads(site)
    if late:
        site.scene.blame(f"nobody leads {LEADS_WITHIN_S:.0f} s after all healed: {late}")
        return
    revision = site.commit(trouble.wish, "as it is to be")
    await site.ping()
    late = await patient(site, revision)
    if late:
        site.scene.blame(f"r{revision} did not converge: {late}")
        return
    blame(site, unfulfilled(site.world, trouble.wish))
    blame(site, needless_refusals(site.scene))
    term = site.leader.view.term if site.leader is not None and site.leader.view is not None else 0
    await quiet(site, trouble.wish, revision)
    leader = site.leader
    if leader is None or leader.view is None or leader.view.term != term:
        site.scene.blame(f"the leader of term {term} did not last in a quiet world")


async def _one_leads(site: PeerSite) -> str:
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + LEADS_WITHIN_S
    while True:
        views = {name: node.view if node.heart_runs else None for name, node in site.nodes.items()}
        leaders = {view.leader if view is not None else None for view in views.values()}
        if len(leaders) == 1 and None not in leaders:
            return ""
        if loop.time() >= ends_s:
            told = [f"{n} says {v.leader}, {v.reason}" for n, v in views.items() if v is not None]
            return "; ".join(told)
        await asyncio.sleep(1.0)


def trace(site: PeerSite) -> tuple[str, ...]:
    """Everything that happened, in an order that a second run must repeat."""
    calls = [
        f"{e.time:.6f} {e.host} {e.originator} {e.method} {e.cls}/{e.name} {e.outcome}"
        for e in site.world.log
    ]
    records = [
        f"{node.name} {msgspec.json.encode(record).decode()}"
        for node in site.nodes.values()
        for record in node.records
    ]
    fired = [f"{what} {times}" for what, times in sorted(site.fired.items())]
    return (*calls, *records, *fired)


SERIES = Series(run, Path(__file__).with_name("seeds"))

if __name__ == "__main__":
    # People are told thousands of times, and nobody reads it.
    logging.disable(logging.CRITICAL)
    sys.exit(SERIES.main())
