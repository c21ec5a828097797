"""Copying: the members' copies of the pool's database are kept as new as what is known of VMs.

Whoever becomes master does so on its own copy, and lets no domain live that is in another place than
this says. By itself the pool copies its database every few minutes; here it is told to whenever a VM
came to a host, by us or by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fencing.may_run import key
from membership.ledger import Ledger
from membership.proofs import MayRun, Place, Synced
from reconciler.accusing import Hearing
from reconciler.deaths import Deaths
from reconciler.leading import Moves
from reconciler.members import CopiesSent, SendCopies

EVERY_S = 5.0
"""At least so long from one to the next: what happens at the same time goes in one."""

AGAIN_S = 10.0
WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A copy on its way: what it will be good for, and whom it can reach."""

    synced: Synced
    at_s: float


class Copying:
    """One node's. What is on its way, and no more: the ledger says what the copies are good for."""

    def __init__(self) -> None:
        self._sent: _Sent | None = None
        self._next_s: float | None = None

    @property
    def deadline_s(self) -> float | None:
        """When time alone lets the next one go."""
        return self._next_s

    def step(self, at: Hearing, deaths: Deaths) -> Moves:
        """Send copies where something is known that they do not have. What this very step makes known
        has to be in the ledger first: it is called in steps that say nothing else."""
        wants = Moves()
        if not _may(at, deaths) or self._sent is not None:
            return wants
        if self._next_s is not None and at.now.mono_s < self._next_s:
            return wants
        self._next_s = None
        if not behind(at, deaths):
            return wants
        term, seq = at.stamp
        hosts = tuple(sorted(deaths.pool.reporting))
        going = tuple(_on_their_way(at, deaths))
        self._sent = _Sent(Synced(hosts=hosts, term=term, seq=seq, open=going), at.now.mono_s)
        wants.effects.append(SendCopies(within_s=WITHIN_S))
        return wants

    def sent(self, event: CopiesSent, at: Hearing, deaths: Deaths) -> Moves:
        """Take in what came of it. Who did not answer for itself all the while may not have got it."""
        wants = Moves()
        sent, self._sent = self._sent, None
        if sent is None:
            return wants
        self._next_s = sent.at_s + EVERY_S
        if event.message:
            self._next_s = at.now.mono_s + AGAIN_S
        elif _may(at, deaths):
            there = tuple(host for host in sent.synced.hosts if host in deaths.pool.reporting)
            synced = Synced(
                hosts=there, term=sent.synced.term, seq=sent.synced.seq, open=sent.synced.open
            )
            wants.facts.append(("synced", synced, at.view.term))
        return wants


def _may(at: Hearing, deaths: Deaths) -> bool:
    alone = at.view.alone or deaths.promotion is not None
    return at.acts and at.fresh and not alone and not at.ledger.holds


def _told(ledger: Ledger, vm: str) -> tuple[Place, ...] | None:
    """Where it was last known to be able to be, trusted or not: what may be lost here is a VM that runs,
    and never that it does not run twice."""
    fact = ledger.get(key(vm), MayRun)
    return fact.places if fact is not None else None


def behind(at: Hearing, deaths: Deaths) -> bool:
    """Whether something is known of VMs, or of members, that the copies do not have and could."""
    synced = at.ledger.get("synced", Synced)
    if synced is None or not deaths.pool.reporting <= {*synced.hosts}:
        return True
    going = {*_on_their_way(at, deaths)}
    for uuid in at.observed.vms:
        newer = any(place.stamp >= synced.stamp for place in _told(at.ledger, uuid) or ())
        if (newer or uuid in synced.open) and uuid not in going:
            return True
    return False


def stale(at: Hearing, deaths: Deaths, synced: Synced | None) -> tuple[str, ...]:
    """VMs (uuids) that such a copy may have in another place than they are. What can only have been on
    hosts that are dead by certificate is nowhere, whatever the copy says."""
    return tuple(
        uuid
        for uuid in sorted(at.observed.vms)
        if _may_differ(_told(at.ledger, uuid), uuid, deaths, synced)
    )


def _may_differ(
    places: tuple[Place, ...] | None, uuid: str, deaths: Deaths, synced: Synced | None
) -> bool:
    if places is None:
        return True
    living = [place for place in places if deaths.certified(place.host) is None]
    if synced is None:
        return bool(living)
    newer = any(place.stamp >= synced.stamp for place in living)
    return newer or (uuid in synced.open and bool(living))


def _on_their_way(at: Hearing, deaths: Deaths) -> Iterator[str]:
    """VMs that can be in another place than the pool shows: being started or moved, or not reported gone."""
    for uuid, real in at.observed.vms.items():
        told = _told(at.ledger, uuid)
        elsewhere = told is None or any(
            place.host != real.node and deaths.certified(place.host) is None for place in told
        )
        if real.operations or elsewhere:
            yield uuid
