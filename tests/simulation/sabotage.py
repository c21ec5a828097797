"""Deliberately broken daemons, by which the checkers prove that they can see.

`python -m tests.simulation.sabotage` looks for the first seed, or seam, that catches each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler import inflight, placement, reconciler
from reconciler.edge import lines
from reconciler.edge.converge import Converge
from reconciler.journal import InFlight, JournalState
from reconciler.observed import Observed
from reconciler.records import Record
from reconciler.refusals import Refusals
from tests.simulation.crashes import faults, undisturbed
from tests.simulation.episodes import run
from xapi import perform

Patch = pytest.MonkeyPatch
FOR_EVER_S = 1e9
MOST_SEEDS = 1000


def late_journal(patch: Patch) -> None:
    """What is to be durable becomes so with the next step only."""
    held: dict[int, list[Record]] = {}

    def write(hands: Any, records: list[Record]) -> None:
        waiting = held.setdefault(id(hands), [])
        if records and waiting:
            hands._journal.append(tuple(waiting))
            waiting.clear()
        waiting.extend(records)
        records.clear()

    patch.setattr(Converge, "_write", write)


def believes_the_return(patch: Patch) -> None:
    """A call is over when it returns, whatever the picture of the pool is as old as."""

    def over(flight: InFlight, observed: Observed) -> bool:
        del observed
        return flight.answered_s is not None

    patch.setattr(inflight, "_over", over)


def takes_silence_for_failure(patch: Patch) -> None:
    """No answer is an answer: it has failed."""
    patch.setattr(InFlight, "sure", property(lambda flight: flight.answer is not None))


def acts_on_old_pictures(patch: Patch) -> None:
    patch.setattr(reconciler, "STALE_AFTER_S", FOR_EVER_S)
    patch.setattr(perform, "STALE_AFTER_S", FOR_EVER_S)


def forgets_what_is_in_flight(patch: Patch) -> None:
    """A second call is made while the first one runs."""
    begin = Refusals.__init__

    def blind(refusals: Any, *given: Any, **named: Any) -> None:
        begin(refusals, *given, **named)
        refusals._flights = {}

    patch.setattr(Refusals, "__init__", blind)
    patch.setattr(JournalState, "busy", property(lambda _: frozenset[str]()))


def has_no_patience_with_others(patch: Patch) -> None:
    """Drift is mended at once."""
    patch.setattr(Refusals, "_grace", lambda *_: None)


def waits_for_no_latecomer(patch: Patch) -> None:
    """A call whose answer was lost is over as soon as nothing of it is to be seen."""
    patch.setattr(inflight, "SETTLE_S", 0.0)


def takes_a_hang_for_quiet(patch: Patch) -> None:
    """What a hung toolstack took in and has not yet begun is taken for lost."""
    over = inflight._over

    def hasty(flight: InFlight, observed: Observed) -> bool:
        return over(flight, replace(observed, steady_since_s=0.0))

    patch.setattr(inflight, "_over", hasty)


def puts_them_anywhere(patch: Patch) -> None:
    """Only, avoid and closed nodes count for nothing."""
    patch.setattr(placement, "_by_rule", lambda *_: None)


def counts_no_memory(patch: Patch) -> None:
    patch.setattr(placement, "_by_size", lambda *_: None)


def writes_half_steps(patch: Patch) -> None:
    """The records of one step are not one thing on disk."""
    seal = lines.seal
    patch.setattr(lines, "seal", lambda payload, **_: seal(payload))


@dataclass(frozen=True)
class Variant:
    """A way to break the daemon, and what is known to catch it: a seed, or a seam of the crashes."""

    sabotage: Callable[[Patch], None]
    seed: int = 0
    seam: str = ""


@contextmanager
def sabotaged(sabotage: Callable[[Patch], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sabotage(patch)
        yield


def caught(variant: Variant) -> list[str]:
    """What the known seed or seam says of the broken daemon."""
    undisturbed()
    with sabotaged(variant.sabotage):
        if variant.seam:
            return list(chain(*(faults(number) for number in _numbers(variant.seam))))
        return list(run(variant.seed).violations)


def _numbers(label: str) -> list[int]:
    return [n for n, seam in enumerate(undisturbed().seams, start=1) if seam == label]


VARIANTS: Mapping[str, Variant] = {
    "late journal": Variant(late_journal, seed=1),
    "believes the return": Variant(believes_the_return, seed=1),
    "takes silence for failure": Variant(takes_silence_for_failure, seed=1),
    "acts on old pictures": Variant(acts_on_old_pictures, seed=2),
    "forgets what is in flight": Variant(forgets_what_is_in_flight, seed=1),
    "has no patience with others": Variant(has_no_patience_with_others, seed=1),
    "takes a hang for quiet": Variant(takes_a_hang_for_quiet, seed=7),
    "puts them anywhere": Variant(puts_them_anywhere, seed=1),
    "counts no memory": Variant(counts_no_memory, seed=2),
    "waits for no latecomer": Variant(
        waits_for_no_latecomer, seam="on its way: Async.VM.pool_migrate"
    ),
    "writes half steps": Variant(writes_half_steps, seam="half in the journal: Settled, Sighted"),
}


def main() -> int:
    """The first seed that catches each variant, among so many."""
    missed = 0
    for name, variant in VARIANTS.items():
        found = _searched(variant)
        missed += found is None
        sys.stdout.write(f"{name}: {'not caught' if found is None else f'caught by {found}'}\n")
    sys.stdout.write(f"{len(VARIANTS)} variants, {missed} not caught\n")
    return 1 if missed else 0


def _searched(variant: Variant) -> str | None:
    if variant.seam:
        return f"a kill when {variant.seam}" if caught(variant) else None
    with sabotaged(variant.sabotage):
        for seed in range(1, MOST_SEEDS):
            violations = run(seed).violations
            if violations:
                return f"seed {seed}: {violations[0]}"
    return None


if __name__ == "__main__":
    sys.exit(main())
