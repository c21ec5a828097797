"""Episodes of live drills: trouble from a seed, then everything heals and one of the nodes has to converge.

`python -m tests.simulation.fencing.drill_episodes --seeds N` runs fresh seeds after the saved ones;
`--seed S` runs that one and tells all.
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
from tests.simulation.estate import as_it_is
from tests.simulation.fencing.drill_trouble import DrillTrouble
from tests.simulation.fencing.fence_checkers import FenceBench
from tests.simulation.fencing.fence_site import FenceSite, Layout
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_episodes import Length, PeerOutcome, episode, trace
from tests.simulation.series import Series

LENGTH = Length((200.0, 600.0), (2, 6))


def run(seed: int) -> PeerOutcome:
    """The one episode of this seed."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_run(seed, Path(folder)))


def layout_of(seed: int) -> Layout:
    """Two to four nodes with daemons, of four; two with a disk, without which nobody could be tried."""
    chance = random.Random(f"drills/{seed}")
    count = chance.choice((2, 3, 4, 4))
    return Layout(nodes_with_daemons=count, disk=count == 2 or chance.random() < 0.3)


async def _run(seed: int, folder: Path) -> PeerOutcome:
    site = FenceSite(seed, folder, layout_of(seed))
    bench = Bench(site)
    fences = FenceBench(site, bench)
    chance = random.Random(seed)
    site.commit(as_it_is(), "as it is")
    site.open()
    await asyncio.sleep(30.0)
    await episode(site, DrillTrouble(site, bench, fences, chance), bench, chance, LENGTH)
    await site.close()
    hours = asyncio.get_running_loop().time() / 3600
    return PeerOutcome(seed, 1, hours, tuple(site.scene.violations), trace(site), site.fired)


SERIES = Series(run, Path(__file__).with_name("drill_seeds"))

if __name__ == "__main__":
    # People are told thousands of times, and nobody reads it.
    logging.disable(logging.CRITICAL)
    sys.exit(SERIES.main())
