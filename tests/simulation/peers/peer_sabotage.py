"""Deliberately broken daemons of several nodes, by which the checkers prove that they can see.

A voter that keeps no promise is caught by a script (`tests/membership/test_heart_sabotage.py`): what a
leader begins has to be known to a quorum first, and a new one waits, so here two leaders that overlap for a
moment hardly ever come to act both.

`python -m tests.simulation.peers.peer_sabotage` tells the story, or looks for the first seed, that
catches each.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from membership.detector import Detector
from membership.election import DISK_VOTER, Election
from membership.heart import Heart
from membership.heartbeat import DISK, Ack, Beat
from membership.ledger import HOLD, Fact, Ledger
from membership.view import Standing
from reconciler.edge.converge import Converge
from reconciler.edge.outreach import Outreach
from reconciler.messages import ClaimTerm, Effect, Event, RevokeSession, SessionRevoked, TermClaimed
from tests.simulation.estate import HOSTS
from tests.simulation.peers.peer_episodes import run
from tests.simulation.peers.peer_site import WITNESS
from tests.simulation.peers.peer_stories import tell
from tests.simulation.sabotage import sabotaged

Patch = pytest.MonkeyPatch
MOST_SEEDS = 400


def counts_from_receipt(patch: Patch) -> None:
    """A lease begins when the agreement to it arrives."""
    acked = Heart._acked

    def late(heart: Any, voter: str, ack: Ack, now_s: float) -> None:
        if ack.seq in heart._sent:
            heart._sent[ack.seq] = now_s
        acked(heart, voter, ack, now_s)

    patch.setattr(Heart, "_acked", late)


def leaves_the_last_session(patch: Patch) -> None:
    """Neither is the term claimed in the pool, nor the predecessor's session ended."""
    carried_out = Outreach.carried_out

    async def lenient(outreach: Outreach, effect: Effect) -> Event | None:
        match effect:
            case ClaimTerm(term=term, alone=alone):
                return TermClaimed(term=term, result="won", highest=term, alone=alone)
            case RevokeSession(term=term):
                return SessionRevoked(term=term, done=True)
        return await carried_out(outreach, effect)

    patch.setattr(Outreach, "carried_out", lenient)


def waits_for_nothing(patch: Patch) -> None:
    """A new leader acts as soon as it is elected."""
    standing = Election.standing

    def hasty(election: Election) -> Standing:
        return replace(standing(election), acts_from_s=0.0)

    patch.setattr(Election, "standing", hasty)


def knows_one_hold(patch: Patch) -> None:
    """The latest hold, or its release, is all that counts."""
    merge = Ledger.merge

    def latest(ledger: Ledger, facts: Iterable[Fact]) -> Ledger:
        merged = merge(ledger, facts)
        holds = [fact for key, fact in merged.facts.items() if key.startswith(HOLD)]
        last = max(holds, key=lambda fact: (fact.term, fact.seq), default=None)
        kept = {k: f for k, f in merged.facts.items() if not k.startswith(HOLD) or f is last}
        return replace(merged, facts=kept)

    patch.setattr(Ledger, "merge", latest)


def acts_before_it_is_told(patch: Patch) -> None:
    """A call does not wait until the peers know of it."""

    async def at_once(converge: Converge) -> frozenset[str]:
        del converge
        return frozenset((*HOSTS, WITNESS))

    patch.setattr(Converge, "_shared", at_once)


def leads_without_cxmd(patch: Patch) -> None:
    """One sign of life is good for ever."""
    patch.setattr(Heart, "_candid", lambda *_: True)


def believes_recordings(patch: Patch) -> None:
    """Whoever is heard is alive, whether or not he has heard us."""
    patch.setattr(Detector, "_proves_life", lambda *_, **__: True)


def forgets_its_vote(patch: Patch) -> None:
    """Whom it voted for does not outlive a voter."""
    patch.setattr(Heart, "_remember", lambda _: None)


def never_loses_the_disk(patch: Patch) -> None:
    """What the other of two has written into its slot is a sign of life, and says nothing of who leads."""

    def won(heart: Any, contents: object, began_s: float, now_s: float) -> None:
        del contents
        heart._election.agreed(DISK_VOTER, began_s, now_s)

    def seen(heart: Any, beat: Beat, now_s: float, *, gap: bool) -> None:
        heart._detector.news(beat, DISK, now_s, gap=gap)

    patch.setattr(Heart, "_disk_vote", won)
    patch.setattr(Heart, "_seen", seen)


@dataclass(frozen=True)
class Variant:
    """A way to break the daemons, and a story, or a seed, that is known to catch it by a violation with
    `words`."""

    sabotage: Callable[[Patch], None]
    words: tuple[str, ...]
    story: str = ""
    seed: int = 0


SPLIT = ("two leases", "not waited", "leads in term", "outside its lease", "a term goes back")

VARIANTS: Mapping[str, Variant] = {
    "counts from receipt": Variant(counts_from_receipt, SPLIT, "acknowledgements are late"),
    "leaves the last session": Variant(
        leaves_the_last_session, ("was taken over",), "a call comes late"
    ),
    "waits for nothing": Variant(waits_for_nothing, ("not waited",), seed=1),
    "knows one hold": Variant(knows_one_hold, ("under",), "one of two holds ends"),
    "acts before it is told": Variant(acts_before_it_is_told, ("was not told",), seed=1),
    "leads without cxmd": Variant(leads_without_cxmd, ("after its last candidacy",), "cxmd stops"),
    "believes recordings": Variant(believes_recordings, ("for alive",), seed=4),
    "forgets its vote": Variant(forgets_its_vote, ("would forget",), seed=1),
    "never loses the disk": Variant(never_loses_the_disk, SPLIT, "the disk alone is left"),
}


def caught(variant: Variant, seed: int | None = None) -> list[str]:
    """What the checkers say of the broken daemons, as far as it is about this."""
    with sabotaged(variant.sabotage):
        violations = _violations(variant, variant.seed if seed is None else seed)
    return [v for v in violations if any(word in v for word in variant.words)]


def _violations(variant: Variant, seed: int) -> Sequence[str]:
    return tell(variant.story) if variant.story else run(seed).violations


def main(names: list[str]) -> int:
    """The story, or the first seed, that catches each variant."""
    logging.disable(logging.CRITICAL)
    missed = 0
    for name in names or VARIANTS:
        by = _found(VARIANTS[name])
        missed += by is None
        sys.stdout.write(f"{name}: {'not caught' if by is None else f'caught by {by}'}\n")
        sys.stdout.flush()
    return 1 if missed else 0


def _found(variant: Variant) -> str | None:
    if variant.story:
        return f'"{variant.story}"' if caught(variant) else None
    return next((f"seed {seed}" for seed in range(1, MOST_SEEDS) if caught(variant, seed)), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
