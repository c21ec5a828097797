"""Guests: asks those that were started whether they answer, where that is how they are known to be ready.

The leader asks, and what it finds is a fact about one start. It asks of every VM of the tree that has such
a rule and was started of late: of starts, only so many go on at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from membership.clock import Now
from membership.ledger import GuestReady, Ledger
from reconciler.drift import Drift
from reconciler.leading import Moves
from reconciler.messages import GuestProbed, ProbeGuest
from reconciler.observed import Observed, ObservedVM
from reconciler.readiness import Runs, by_answer, followed, key, port_of

WITHIN_S = 2.0
EVERY_S = 2.0
LATE_EVERY_S = 30.0
"""The same for one that nobody waits for any more: it may still come up."""


class Guests:
    """One node's. `runs` is since when VMs run, as far as this node has seen."""

    def __init__(self) -> None:
        self.runs: Runs = {}
        self._next_s: dict[str, float] = {}

    def seen(self, observed: Observed, now: Now) -> None:
        """Take in an observation."""
        self.runs = followed(self.runs, observed, now)

    @property
    def deadline_s(self) -> float | None:
        """When the next question is due."""
        return min(self._next_s.values(), default=None)

    def due(self, drift: Drift | None, now: Now, *, leads: bool) -> Moves:
        """The questions to be asked now. Whoever is no longer asked about is forgotten."""
        moves, before, self._next_s = Moves(), self._next_s, {}
        for real, by, every_s in _asked(drift) if drift is not None and leads else ():
            next_s = before.get(real.uuid, now.mono_s)
            if next_s <= now.mono_s:
                moves.effects.append(_question(real, by))
                next_s = now.mono_s + every_s
            self._next_s[real.uuid] = next_s
        return moves

    def answered(self, event: GuestProbed, ledger: Ledger, term: int) -> Moves:
        """What is worth knowing of an answer. One that nobody asks for any more says nothing."""
        moves = Moves()
        if not event.answers or event.vm not in self._next_s:
            return moves
        ready = GuestReady(vm=event.vm, started_epoch_s=event.started_epoch_s, by=event.by)
        if ledger.get(key(event.vm), GuestReady) != ready:
            moves.facts.append((key(event.vm), ready, term))
        return moves


def _asked(drift: Drift) -> Iterator[tuple[ObservedVM, str, float]]:
    """Each VM of which an answer is missing, with its rule, and how often it is asked. Where it is not
    known which start an answer would be about, there is no use in asking."""
    for vm, real in drift.adoption.vms if drift.unready else ():
        lack, by = drift.unready.get(real.uuid), vm.start.ready.by
        if lack is not None and by_answer(by) and real.addresses and real.started_epoch_s:
            yield real, by, LATE_EVERY_S if lack.late else EVERY_S


def _question(real: ObservedVM, by: str) -> ProbeGuest:
    return ProbeGuest(
        vm=real.uuid,
        started_epoch_s=real.started_epoch_s,
        by=by,
        addresses=real.addresses,
        port=port_of(by),
        within_s=WITHIN_S,
    )
