"""Episodes of servers that die: trouble from a seed, then everything heals and one of them has to converge.

`python -m tests.simulation.fencing.fence_episodes --seeds N`, or `--hours H` of simulated time, runs
fresh seeds after the saved ones and ends with one line of figures; `--seed S` runs that one and tells
all.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import tempfile
from pathlib import Path

from simulator.clock import run_virtual
from tests.simulation.crashes import memory_disk
from tests.simulation.estate import HOSTS, as_it_is
from tests.simulation.fencing.fence_checkers import FenceBench
from tests.simulation.fencing.fence_site import FenceSite, Layout
from tests.simulation.fencing.fence_trouble import FenceTrouble
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_episodes import Length, PeerOutcome, episode, trace
from tests.simulation.series import Series

EPISODES = 2
LENGTH = Length((60.0, 300.0), (1, 8))

BUDGET = "{per 1h: 3, floor: 20%}"


def run(seed: int, episodes: int = EPISODES) -> PeerOutcome:
    """All episodes of one seed, until the first violation."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_run(seed, episodes, Path(folder)))


def layout_of(seed: int) -> Layout:
    """Two to four nodes with daemons, of four; controllers that fall with their server, some of them;
    and a budget that lets more than one be fenced, now and then."""
    chance = random.Random(f"layout/{seed}")
    count = chance.choice((2, 3, 3, 4, 4))
    feeds = {host: "host" for host in HOSTS if chance.random() < 0.25}
    generous = chance.random() < 0.5
    return Layout(
        nodes_with_daemons=count,
        disk=chance.random() < (0.7 if count == 2 else 0.3),
        feeds=feeds,
        nodes=dict(map(_by_policy, HOSTS)) if generous else {},
        files=dict(_policies()) if generous else {},
    )


def _by_policy(host: str) -> tuple[str, str]:
    return host, f"fencing: of-{host}\n"


def _policies() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for number, host in enumerate(HOSTS, start=1):
        device = [
            "apiVersion: cxm/v1",
            "kind: FenceDevice",
            f"name: bmc-{host}",
            "agent: fence_ipmilan",
            f"options: {{ip: 127.89.0.{number}, lanplus: '1'}}",
            "credentialsRef: bmc",
        ]
        policy = [
            "apiVersion: cxm/v1",
            "kind: FencingPolicy",
            f"name: of-{host}",
            f"levels: [[bmc-{host}]]",
            f"budget: {BUDGET}",
        ]
        found.append((f"fencing/bmc-{host}.yaml", "\n".join(device) + "\n"))
        found.append((f"fencing/of-{host}.yaml", "\n".join(policy) + "\n"))
    return found


async def _run(seed: int, episodes: int, folder: Path) -> PeerOutcome:
    site = FenceSite(seed, folder, layout_of(seed))
    bench = Bench(site)
    fences = FenceBench(site, bench)
    chance = random.Random(seed)
    trouble = FenceTrouble(site, bench, fences, chance)
    site.commit(as_it_is(), "as it is")
    site.open()
    await asyncio.sleep(30.0)
    done = 0
    while done < episodes and not site.scene.violations:
        await episode(site, trouble, bench, chance, LENGTH)
        done += 1
    await site.close()
    hours = asyncio.get_running_loop().time() / 3600
    violations = tuple(site.scene.violations)
    site.fired["shots"] += len(fences.shots.shots)
    site.fired["certificates"] += len(fences.certificates.issued)
    return PeerOutcome(seed, done, hours, violations, trace(site), site.fired)


SERIES = Series(run, Path(__file__).with_name("seeds"))

if __name__ == "__main__":
    # People are told thousands of times, and nobody reads it.
    logging.disable(logging.CRITICAL)
    sys.exit(SERIES.main())
