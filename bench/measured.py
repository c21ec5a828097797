"""The measured part of `bench.core`, alone in its process: prints one JSON object of figures.

python -m bench.measured cold|loader|plan|step 64x1000 SEED
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import msgspec

from bench import generate
from bench.generate import Drawn, Size
from membership.clock import Now
from membership.ledger import Drain, Fact, Ledger
from membership.view import single
from reconciler.actions import Plan
from reconciler.deaths import calm
from reconciler.diff import diff
from reconciler.journal import JournalState
from reconciler.messages import Head, PoolObserved, TreeLoaded
from reconciler.observed import Observed
from reconciler.plan import plan
from reconciler.reconciler import Reconciler
from schema import tree
from schema.model import Desired

NOW = Now(mono_s=100.0, epoch_s=1_800_000_000.0)
ENOUGH_S = 2.0
MOST_RUNS = 7


def peak_mib() -> float:
    """The most memory that this process ever had; not what its parent had, as getrusage would say."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def cpu_s(work: Callable[[], object]) -> float:
    """The least CPU seconds of several runs: as many as fit into ENOUGH_S, at least one."""
    runs: list[float] = []
    while not runs or (sum(runs) < ENOUGH_S and len(runs) < MOST_RUNS):
        gc.collect()
        begun = time.process_time()
        work()
        runs.append(time.process_time() - begun)
    return min(runs)


def planned(desired: Desired, observed: Observed, ledger: Ledger) -> Plan:
    journal = JournalState()
    drift = diff(desired, observed, ledger, journal, calm(observed, ledger), {}, NOW)
    return plan(drift, desired, observed, single("bench", 1), ledger, journal, None, NOW)


def touched(found: Plan) -> set[str]:
    """The objects that a plan does something about, or says why not."""
    return {row.object for row in found.actions} | {row.object for row in found.blocked}


def cold(drawn: Drawn) -> dict[str, float]:
    """The whole tree, and then one changed file: read, validated, compared, planned."""
    texts = generate.files(drawn)
    before = peak_mib()
    seconds = cpu_s(lambda: tree.load(texts))
    loaded = tree.load(texts)
    assert loaded.desired == generate.desired(drawn), "the files do not mean what they should"
    peak = peak_mib()
    observed = generate.observed(drawn)
    changed = drawn.guests[len(drawn.guests) // 2]
    text = generate.vm_text(changed, memory_gib=changed.memory_gib + 1).encode()
    after = {**texts, generate.path(changed): text}

    def commit() -> Plan:
        again = tree.load(after, loaded.cache)
        assert again.desired is not None
        return planned(again.desired, observed, Ledger())

    found = commit()
    assert touched(found) == {f"vm/{changed.name}"}
    return {"cold": seconds, "cold_mib": peak, "before_mib": before, "commit": cpu_s(commit)}


def loader(drawn: Drawn) -> dict[str, float]:
    """The peer: PyYAML over libyaml, file by file, no places, no checks."""
    import yaml  # noqa: PLC0415

    texts = generate.files(drawn)

    def load() -> None:
        for text in texts.values():
            yaml.load(text, yaml.CSafeLoader)

    return {"loader": cpu_s(load)}


def plans(drawn: Drawn) -> dict[str, float]:
    """Diff and plan from values at hand: nothing differs, a node is drained, a node is lost."""
    desired = generate.desired(drawn)
    observed = generate.observed(drawn)
    assert planned(desired, observed, Ledger()) == Plan()
    fullest = Counter(guest.on.name for guest in drawn.guests).most_common(1)[0][0]
    theirs = frozenset(guest.name for guest in drawn.guests if guest.on.name == fullest)
    drained = Drain(node=fullest, until_epoch_s=None, reason="", by="bench")
    ledger = Ledger().merge([Fact(key="drain", term=1, seq=1, at_epoch_s=0.0, value=drained)])
    lost = generate.observed(drawn, halted=theirs)
    for pool, facts in ((observed, ledger), (lost, Ledger())):
        found = planned(desired, pool, facts)
        assert touched(found) >= {f"vm/{name}" for name in theirs}, "a VM was forgotten"
    figures = {
        "quiet": cpu_s(lambda: planned(desired, observed, Ledger())),
        "drain": cpu_s(lambda: planned(desired, observed, ledger)),
        "lost": cpu_s(lambda: planned(desired, lost, Ledger())),
    }
    return {**figures, "plan_mib": peak_mib(), "affected": float(len(theirs))}


def step(drawn: Drawn) -> dict[str, float]:
    """A daemon's core, in a pool where nothing differs: what each look at the pool costs it."""
    head = Head(repository=drawn.id, path="/", revision=1, author=None, message="")
    core = Reconciler(
        me="bench",
        version="1.0.0",
        cluster_id=drawn.id,
        journal=JournalState(),
        ledger=Ledger(),
        view=single("bench", 1),
        kept=TreeLoaded(head=head, digest="", desired=generate.desired(drawn)),
        random=Random(1),  # noqa: S311
    )
    core.start(NOW)
    observed = generate.observed(drawn)
    moments = count(1)

    def look() -> None:
        now = Now(mono_s=NOW.mono_s + 5.0 * next(moments), epoch_s=NOW.epoch_s)
        seen = msgspec.structs.replace(observed, as_of_s=now.mono_s)
        core.handle(PoolObserved(observed=seen), now)

    look()
    look()
    assert core.status(NOW).plan == Plan()
    return {"step": cpu_s(look), "step_mib": peak_mib()}


WORK = {"cold": cold, "loader": loader, "plan": plans, "step": step}


def main(what: str, size: str, seed: str) -> None:
    hosts, vms = size.split("x")
    drawn = generate.draw(Size(int(hosts), int(vms)), int(seed))
    sys.stdout.write(json.dumps(WORK[what](drawn)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
