"""Reigns: whose acts our ledger may not know of, and what becomes of everything then.

A reign is a term, and how often its leader has led alone in it. The pool knows the last one, the ledgers
tell of which one they have heard; and the one that claimed the last says whether it had missed any itself.
Where one is missing everything is held until a person says that it does not matter.
"""

from __future__ import annotations

from fencing.evidence import proofs
from membership.clock import Now
from membership.ledger import HOLD, NO_REIGN, Fact, Ledger, Reign, TermClaim, Withdrawn
from membership.proofs import MayRun
from reconciler.observed import Observed, Pool


class Reigns:
    """What one successor has found. `known` is the last reign of which its ledger had heard."""

    def __init__(self) -> None:
        self.known = NO_REIGN
        self._mark = ""
        self._unheard: dict[Reign, str] = {}

    def read(self, ledger: Ledger, pool: Pool | None, mark: str) -> None:
        """Take in what the ledgers that were gathered, and the pool, know of those who led before. `mark`
        is our own.

        To be read before our own term is announced: once announced, a ledger would seem to know all that
        went before. Whatever is claimed after our election by a leader of an earlier term never leads to
        an act: its lease is over, but where a disk decides, which promises nothing. So the claim looks
        once more: once the pool shows that, no predecessor is let say any more that it leads alone.
        """
        self.known, self._mark, self._unheard = _heard(ledger.facts.get("term")), mark, {}
        if pool is not None:
            self.judge((pool.term, pool.alone), pool.alone_by)
        claim = ledger.get("term", TermClaim)
        if claim is not None and claim.unheard != NO_REIGN:
            self._unheard[claim.unheard] = (
                f"{claim.node} found that the pool knew term {_named(claim.unheard)} and no ledger did,"
                " and nobody has said since that it does not matter"
            )

    def judge(self, pool: Reign, alone_by: str) -> None:
        """The pool knows this reign, of which `alone_by` said that it led alone: note it where our ledger
        has not heard of it. What we said ourselves, when we were alone, is in our own ledger."""
        own = pool[0] == self.known[0] and alone_by == self._mark
        if own or pool <= max((self.known, *self._unheard)):
            return
        known = f"of none above {_named(self.known)}" if self.known[0] else "of any"
        self._unheard[pool] = (
            f"the pool knows term {_named(pool)}, but no ledger here knows {known}: what was decided"
            " in it is lost or cannot be read, or another installation manages this pool"
        )

    def holds(self, ledger: Ledger) -> dict[str, str]:
        """The holds that this asks for, by id: why everything is to be held. Whoever finds a gap gives it
        the same id, so what a person has released stays released."""
        return {_hold_of(r): why for r, why in self._unheard.items() if not _settled(r, ledger)}

    def dead(self, ledger: Ledger, observed: Observed, now: Now) -> tuple[str, ...]:
        """The hosts (uuids) on which nothing was begun since a certificate that our ledger tells of: nobody
        led of whom it has not heard, the pool's database is no older one and shows them gone or closed and
        in no newer boot, and it tells of no newer place on them."""
        if self._unheard or (observed.pool.term, observed.pool.alone) < self.known:
            return ()
        places = [place for told in ledger.values(MayRun) for place in told.places]
        valid = proofs(ledger, now, observed.boots)
        shown = {uuid: host.live and host.enabled for uuid, host in observed.nodes.items()}
        gone = [uuid for uuid in valid if not shown.get(uuid, True)]
        return tuple(
            host
            for host in sorted(gone)
            if all(valid[host].covers(place) for place in places if place.host == host)
        )

    def claim(self, me: str, alone: int, ledger: Ledger) -> TermClaim:
        """What is said of our own term."""
        unheard = [reign for reign in self._unheard if not _settled(reign, ledger)]
        return TermClaim(node=me, alone=alone, unheard=max(unheard, default=NO_REIGN))


def led_alone(ledger: Ledger, pool: Pool | None, term: int) -> int:
    """How often the leader of this term, which is ours, has led alone in it: before a restart it may have."""
    known = _heard(ledger.facts.get("term"))
    shown = (pool.term, pool.alone) if pool is not None else NO_REIGN
    return max(alone if at == term else 0 for at, alone in (known, shown))


def _heard(fact: Fact | None) -> Reign:
    if fact is None or not isinstance(fact.value, TermClaim):
        return NO_REIGN
    return (fact.term, fact.value.alone)


def _named(reign: Reign) -> str:
    """As keys in the pool name it."""
    term, alone = reign
    return f"{term}.{alone}" if alone else f"{term}"


def _hold_of(reign: Reign) -> str:
    return f"H-term-{_named(reign)}"


def _settled(reign: Reign, ledger: Ledger) -> bool:
    return ledger.get(f"{HOLD}{_hold_of(reign)}", Withdrawn) is not None
