"""Episodes: trouble from a seed, then everything heals and the daemon has to converge in time.

`python -m tests.simulation.episodes --seeds N`, or `--hours H` of simulated time, runs fresh seeds after
the saved ones and ends with one line of figures; `--seed S` runs that one and tells all that happened.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from reconciler.messages import AskRetry
from simulator.clock import run_virtual
from tests.simulation.checkers import BESIDE, OURS, needless_refusals
from tests.simulation.crashes import memory_disk
from tests.simulation.estate import VM_HOMES, Wish, as_it_is, unfulfilled
from tests.simulation.series import Outcome, Series
from tests.simulation.site import Site
from tests.simulation.trouble import Trouble, within_reach

EPISODES = 3
"""In each run, in the same world and with the same memory."""

TROUBLE_S = (40.0, 300.0)
BOUND_S = 1200.0
"""After everything healed. A call that nobody answers any more may take long to be given up."""

QUIET_S = 90.0


def run(seed: int, episodes: int = EPISODES) -> Outcome:
    """All episodes of one seed, until the first violation."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_run(seed, episodes, Path(folder)))


async def _run(seed: int, episodes: int, folder: Path) -> Outcome:
    site = Site(seed, folder)
    chance = random.Random(seed)
    trouble = Trouble(site, chance)
    site.commit(as_it_is(), "as it is")
    site.start()
    service = asyncio.create_task(site.live_on())
    done = 0
    while done < episodes and not site.scene.violations:
        await _episode(site, trouble, chance)
        done += 1
    service.cancel()
    await site.kill()
    hours = asyncio.get_running_loop().time() / 3600
    return Outcome(seed, done, hours, tuple(site.scene.violations), trace(site))


async def _episode(site: Site, trouble: Trouble, chance: random.Random) -> None:
    length_s = chance.uniform(*TROUBLE_S)
    pauses = sorted(chance.uniform(0, length_s) for _ in range(chance.randint(3, 12)))
    before_s = 0.0
    for at_s in pauses:
        await asyncio.sleep(at_s - before_s)
        before_s = at_s
        await trouble.happen()
    await trouble.end()
    await _healed(site, trouble)


async def _healed(site: Site, trouble: Trouble) -> None:
    """Nothing disturbs any more: it converges, rightly, and then keeps its hands off."""
    trouble.wish = within_reach(site, trouble.wish)
    revision = site.commit(trouble.wish, "as it is to be")
    await site.ping()
    late = await patient(site, revision)
    if late:
        site.scene.blame(f"r{revision} did not converge within {BOUND_S:.0f} s: {late}")
        return
    blame(site, unfulfilled(site.world, trouble.wish))
    blame(site, needless_refusals(site.scene))
    await quiet(site, trouble.wish, revision)


async def patient(site: Site, revision: int) -> str:
    """Wait, and play the operator who reads what is blocked and asks for another try."""
    late = await site.converged(revision, BOUND_S / 4)
    for _ in range(3):
        if not late:
            break
        await tools_back(site)
        await site.ask(AskRetry(objects=tuple(f"vm/{name}" for name in VM_HOMES), by="alice"))
        late = await site.converged(revision, BOUND_S / 4)
    return late


async def tools_back(site: Site) -> None:
    """A guest whose start was cut short never shows its tools in the simulated pool: boot it anew."""
    status = await site.status()
    blocked = status.plan.blocked if status is not None else ()
    for row in blocked:
        if row.reason == "NoTools":
            uuid = as_it_is().vms[row.object.removeprefix("vm/")].uuid
            await site.world.act("VM.hard_reboot", uuid)


async def quiet(site: Site, wish: Wish, revision: int) -> None:
    calls = len(ours(site))
    await asyncio.sleep(QUIET_S)
    blame(site, (f"in a quiet world: {call}" for call in ours(site)[calls:]))
    late = await site.converged(revision, 1.0)
    blame(site, [f"did not stay converged: {late}"] if late else [])
    blame(site, unfulfilled(site.world, wish))


def blame(site: Site, faults: Iterable[str]) -> None:
    for fault in faults:
        site.scene.blame(fault)


def ours(site: Site) -> Sequence[str]:
    return [
        f"{entry.method} of {entry.name}"
        for entry in site.world.log
        if entry.originator.startswith(OURS) and entry.cls not in BESIDE
    ]


def trace(site: Site) -> tuple[str, ...]:
    """Everything that happened, in an order that a second run must repeat."""
    calls = [
        f"{e.time:.6f} {e.host} {e.originator} {e.method} {e.cls}/{e.name} {e.outcome}"
        for e in site.world.log
    ]
    return (*calls, *(msgspec.json.encode(record).decode() for record in site.records))


SERIES = Series(run, Path(__file__).with_name("seeds"))

if __name__ == "__main__":
    sys.exit(SERIES.main())
