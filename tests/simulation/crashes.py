"""A day's work of the daemon, killed at a chosen seam and brought back a second later.

`python -m tests.simulation.crashes` kills it at every seam, and at many pairs of seams.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reconciler.edge.journal_file import stored
from reconciler.journal import replay
from simulator.clock import run_virtual
from tests.simulation.checkers import BESIDE, OURS, REPEATABLE, needless_refusals
from tests.simulation.estate import Wish, as_it_is, unfulfilled
from tests.simulation.site import Site

SEED = 1
FIRST_COMMIT_S = 8.0
SECOND_COMMIT_S = 14.0
GUESTS_ARE_UP_S = 6.0
BOUND_S = 400.0

Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Told:
    """How it went. `seams` of the first life; `counts`: carried-out calls that must not be repeated."""

    seams: tuple[str, ...]
    counts: Counts
    faults: tuple[str, ...]
    lives: int
    lasted_s: float


def first_wish() -> Wish:
    """Move one, grow one (stop, set, start), start one, suspend one, rename one, tag one."""
    return (
        as_it_is()
        .with_vm("web1", only=("xen2",))
        .with_vm("db1", memory_gib=2)
        .with_vm("ci1", state="running")
        .with_vm("mail1", state="suspended")
        .with_vm("dns1", label="dns one")
        .with_vm("log1", tags=("audited",))
    )


def second_wish() -> Wish:
    """And empty the node of two more."""
    return Wish(vms=first_wish().vms, drained=frozenset({"xen3"}))


def lived(*kills: int) -> Told:
    """The whole scenario in virtual time; `kills`: the seam at which each life in turn ends."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_lived(Path(folder), kills))


def memory_disk() -> str | None:
    """The files are synced as ever; there it costs nothing, and the machine does not go down."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _lived(folder: Path, kills: tuple[int, ...]) -> Told:
    site = Site(SEED, folder)
    site.commit(as_it_is(), "as it is")
    first = site.start(*kills[:1])
    service = asyncio.create_task(_brought_back(site, kills[1:]))
    await _commit_at(site, FIRST_COMMIT_S, first_wish())
    await _commit_at(site, SECOND_COMMIT_S, second_wish())
    found = await _faults(site, second_wish())
    await _commit_at(site, asyncio.get_running_loop().time() + GUESTS_ARE_UP_S, as_it_is())
    found += await _faults(site, as_it_is())
    lasted_s = asyncio.get_running_loop().time()
    found += [*site.scene.violations, *needless_refusals(site.scene), *_refused(site)]
    service.cancel()
    await site.kill()
    found += _remembered(site, folder)
    return Told(tuple(first.labels), _counts(site), tuple(found), site.lives, lasted_s)


async def _faults(site: Site, wish: Wish) -> list[str]:
    revision = len(site.repository.commits)
    late = await site.converged(revision, BOUND_S)
    told = [f"r{revision} never converged: {late}"] if late else []
    return told + [f"r{revision}: {text}" for text in unfulfilled(site.world, wish)]


async def _brought_back(site: Site, kills: tuple[int, ...]) -> None:
    left = list(kills)
    while True:
        await site.process.died.wait()
        await site.kill()
        await asyncio.sleep(1.0)
        site.start(left.pop(0) if left else None)


async def _commit_at(site: Site, at_s: float, wish: Wish) -> None:
    await asyncio.sleep(at_s - asyncio.get_running_loop().time())
    site.commit(wish)
    await site.ping()


def _refused(site: Site) -> list[str]:
    """With nobody else about, a call that the pool refuses was made from a wrong picture."""
    return [
        f"{entry.method} of {entry.name} was refused: {entry.outcome}"
        for entry in site.world.log
        if entry.originator.startswith(OURS)
        and entry.cls not in BESIDE
        and entry.outcome != "success"
    ]


def _counts(site: Site) -> Counts:
    """How often each call that must not be repeated was carried out."""
    return Counter(
        (entry.method, entry.uuid)
        for entry in site.world.log
        if entry.originator.startswith(OURS)
        and entry.cls in ("VM", "host")
        and entry.method not in REPEATABLE
        and entry.outcome == "success"
    )


def _remembered(site: Site, folder: Path) -> list[str]:
    """The journal on disk is what became durable, and folds to a daemon at rest."""
    on_disk = stored(folder / "journal")
    faults = [] if on_disk == site.records else ["the journal is not what was written to it"]
    in_flight = replay(on_disk).in_flight
    return faults + [f"{txn} is still in flight" for txn in in_flight]


@cache
def undisturbed() -> Told:
    """The life without a kill, by which the others are measured."""
    return lived()


def faults(*kills: int) -> list[str]:
    """What a life with these kills does otherwise than the one without."""
    reference, told = undisturbed(), lived(*kills)
    found = list(told.faults)
    if told.counts != reference.counts:
        keys = sorted(told.counts.keys() | reference.counts.keys())
        odd = [key for key in keys if told.counts[key] != reference.counts[key]]
        found += [
            f"{method} of {uuid} carried out {told.counts[method, uuid]} times,"
            f" not {reference.counts[method, uuid]}"
            for method, uuid in odd
        ]
    where = " then ".join(str(kill) for kill in kills)
    seam = reference.seams[kills[0] - 1]
    return [f"killed at {where} ({seam}): {fault}" for fault in found]


def pairs(each: int) -> Iterator[tuple[int, int]]:
    """For each seam `each` seams of the next life, spread over what that life will do."""
    seams = len(undisturbed().seams)
    for first in range(1, seams + 1):
        for number in range(each):
            # Steps without a common divisor, so that neighbours are not struck alike.
            yield first, 1 + (7 * first + 61 * number) % max(20, seams - first)


PAIRS_EACH = 8


def main() -> int:
    """Every seam, and `PAIRS_EACH` pairs for each."""
    seams = len(undisturbed().seams)
    kills: list[tuple[int, ...]] = [(seam,) for seam in range(1, seams + 1)]
    kills += pairs(PAIRS_EACH)
    found = [fault for kill in kills for fault in faults(*kill)]
    for fault in found:
        sys.stdout.write(f"{fault}\n")
    twice = len(kills) - seams
    sys.stdout.write(f"{seams} seams, {twice} pairs of seams, {len(found)} violations\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
