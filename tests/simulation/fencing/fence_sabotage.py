"""Deliberately broken daemons that fence, by which the checkers prove that they can see.

`python -m tests.simulation.fencing.fence_sabotage NAME...` tries those of that name.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fencing import brake, may_run
from fencing.judgement import Probes, Verdict
from fencing.ladder import Ladder, Order, Prove, Rung
from membership.proofs import Certificate, Tie
from reconciler import accusing, recovery_rows
from reconciler.accusing import Hearing
from reconciler.drilling import Drilling
from reconciler.edge.assembly import Assembly
from reconciler.guarding import Guarding
from reconciler.probing import Probing
from reconciler.reconciler import Reconciler
from tests.simulation.fencing.fence_story import tell
from tests.simulation.sabotage import sabotaged

Patch = pytest.MonkeyPatch


def certifies_by_silence(patch: Patch) -> None:
    """Whoever is silent for long enough is dead."""

    def step(
        ladder: Any, verdict: Verdict, levels: Sequence[Sequence[str]], now_s: float
    ) -> list[Order]:
        del levels, now_s
        if not verdict.may_look or ladder.rung is Rung.PROVEN:
            return []
        ladder.rung = Rung.PROVEN
        return [Prove((), "silent")]

    patch.setattr(Ladder, "step", step)


def believes_the_answer(patch: Patch) -> None:
    """A device that has taken the command has carried it out."""
    due = Ladder._due

    def hasty(ladder: Any, levels: Sequence[Sequence[str]], now_s: float) -> list[Order]:
        if ladder.rung is Rung.VERIFY:
            ladder.rung = Rung.PROVEN
            return [Prove(tuple(levels[ladder._level]), "switched")]
        return due(ladder, levels, now_s)

    patch.setattr(Ladder, "_due", hasty)


def believes_any_device(patch: Patch) -> None:
    """Whatever stands at the address of a controller is that of the node."""
    patch.setattr(Drilling, "_tie", lambda *_: (Tie.IDENTITY, ""))


def asks_no_toolstack(patch: Patch) -> None:
    """A daemon that is silent is a server that is dead."""
    patch.setattr(Probing, "of", lambda *_: Probes(failing_s=60.0, failed=9))
    patch.setattr(Probing, "answers", lambda *_: False)


def has_no_brake(patch: Patch) -> None:
    patch.setattr(brake, "storm", lambda *_: "")


def fences_under_a_hold(patch: Patch) -> None:
    """What is held is started by nobody, but nodes are switched off all the same."""
    forbidden = accusing.forbidden

    def careless(at: Hearing) -> tuple[str, str, str] | None:
        found = forbidden(at)
        return None if found is not None and found[0] == "Held" else found

    patch.setattr(accusing, "forbidden", careless)
    patch.setattr(Assembly, "may_switch", Assembly.may_go_on)


def writes_no_attempt(patch: Patch) -> None:
    """Nobody knows of a power-off before it is sent."""
    switch = Guarding._switch

    def silently(guard: Any, *given: Any) -> None:
        wants = given[-1]
        before = list(wants.facts)
        switch(guard, *given)
        wants.facts[:] = before

    patch.setattr(Guarding, "_switch", silently)


def fences_without_a_lease(patch: Patch) -> None:
    """Whoever was asked to switch off does so, however long ago that was."""
    patch.setattr(Reconciler, "fences", lambda *_: True)


def resets_on_suspicion(patch: Patch) -> None:
    """The records of a node that nobody hears are reset, and what ran there is started elsewhere."""
    rows = recovery_rows.recovery_rows

    def eager(deaths: Any, adoption: Any, observed: Any) -> Iterator[Any]:
        yield from rows(_believing(deaths), adoption, observed)

    patch.setattr("reconciler.diff.recovery_rows", eager)
    patch.setattr(may_run, "doubts", lambda *_: ())


def _believing(deaths: Any) -> Any:
    class Believing:
        def __getattr__(self, name: str) -> Any:
            return getattr(deaths, name)

        def certified(self, host: str) -> Any:
            return None if host in deaths.pool.reporting else _Suspected()

    return Believing()


class _Suspected:
    certificate = Certificate(
        id="C-0-0", node="", host="", kind="power-off", by="nobody", evidence="suspicion"
    )


def starts_without_proof(patch: Patch) -> None:
    """Whatever is halted by its record may be started."""
    patch.setattr(may_run, "doubts", lambda *_: ())


@dataclass(frozen=True)
class Variant:
    """A way to break the daemons, and the story that catches it by a violation with one of `words`."""

    sabotage: Callable[[Patch], None]
    words: tuple[str, ...]
    story: str


TWICE = ("double-run", "which is on", "nothing is certified")
FALSE = ("has not lost its power",)

VARIANTS: Mapping[str, Variant] = {
    "certifies by silence": Variant(certifies_by_silence, FALSE, "hang"),
    "believes the answer": Variant(believes_the_answer, FALSE, "bmc-lies-done"),
    "believes any device": Variant(believes_any_device, FALSE, "bmc-crosswired"),
    "asks no toolstack": Variant(
        asks_no_toolstack, ("whose toolstack has answered",), "service-vm-oom-host-healthy"
    ),
    "has no brake": Variant(has_no_brake, ("which fell with",), "storm-of-two-of-three"),
    "fences under a hold": Variant(fences_under_a_hold, ("under",), "held-while-fencing"),
    "writes no attempt": Variant(writes_no_attempt, ("would forget it",), "isolated-host-runs-on"),
    "fences without a lease": Variant(
        fences_without_a_lease, ("outside its lease",), "leader-frozen-before-off"
    ),
    "resets on suspicion": Variant(resets_on_suspicion, TWICE, "bmc-dead"),
    "starts without proof": Variant(starts_without_proof, TWICE, "reset-by-somebody"),
}


def caught(variant: Variant) -> list[str]:
    """What the checkers say of the broken daemons, as far as it is about this."""
    with sabotaged(variant.sabotage):
        violations = tell(variant.story).violations
    return [v for v in violations if any(word in v for word in variant.words)]


def main(names: list[str]) -> int:
    """Whether its story catches each variant."""
    logging.disable(logging.CRITICAL)
    missed = 0
    for name in names or VARIANTS:
        variant = VARIANTS[name]
        violations = caught(variant)
        missed += not violations
        said = f"caught by {variant.story}" if violations else "not caught"
        sys.stdout.write(f"{name}: {said}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(names or VARIANTS)} variants, {missed} not caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
