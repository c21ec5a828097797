"""May-run: every host on which a domain of a VM can exist, and what that forbids.

It grows with whatever an observation shows and with the target of each call of ours, before the call.
It shrinks by a host's own report alone: never by time, by silence, or because a record says Halted
while the host that had the VM cannot be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from fencing.evidence import Proof
from membership.ledger import Ledger
from membership.proofs import UNREAD, MayRun, Place, Stamp, Unread


@dataclass(frozen=True, slots=True)
class Shown:
    """What an observation shows of one VM: the hosts (uuids) on which it is or may be arriving, whether
    an operation is under way on it, and whether somebody reset its record, which then says nothing."""

    vm: str
    hosts: frozenset[str] = frozenset()
    busy: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    """All hosts of the pool, and those among them that answer for themselves. `boots` are hints."""

    hosts: frozenset[str]
    reporting: frozenset[str]
    boots: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A host that may still run the VM: nothing proves that it does not. `refused` is the certificate
    that there is, where its kind is none that the VM accepts."""

    host: str
    refused: Proof | None = None


def known(ledger: Ledger, vm: str) -> tuple[Place, ...] | None:
    """The places of which the ledger tells; None where it tells nothing that is to be trusted."""
    told = _told(ledger, vm)
    return None if told is None else told.places


def _told(ledger: Ledger, vm: str) -> MayRun | None:
    fact = ledger.facts.get(key(vm))
    if fact is None or not isinstance(fact.value, MayRun):
        return None
    return fact.value if (fact.term, fact.seq) > _unread_since(ledger) else None


def key(vm: str) -> str:
    return f"{UNREAD}/{vm}"


def places(ledger: Ledger, vm: str, pool: Pool, stamp: Stamp) -> tuple[Place, ...]:
    """Where a domain of this VM can exist as far as the ledger tells; anywhere, where it does not.

    Of what it never told anything, that is as of now (`stamp`): no certificate that there is already covers
    it. Where it told and is not trusted, as of the fact that says so: whatever is begun later is told anew.
    """
    told = known(ledger, vm)
    if told is not None:
        return told
    unread = ledger.get(UNREAD, Unread)
    if unread is None:
        return _anywhere(pool, stamp)
    since = _unread_since(ledger)
    return tuple(
        _place(host, pool, _EVER if host in unread.dead else since) for host in sorted(pool.hosts)
    )


def _anywhere(pool: Pool, stamp: Stamp) -> tuple[Place, ...]:
    return tuple(_place(host, pool, stamp) for host in sorted(pool.hosts))


def _before(ledger: Ledger, shown: Shown, pool: Pool, stamp: Stamp) -> tuple[Place, ...]:
    """Where it can have been until now. Of a VM whose record was reset nobody knows where it ran last:
    it may have been started since the ledger was told."""
    told = places(ledger, shown.vm, pool, stamp)
    if not shown.reset:
        return told
    had = {place.host for place in told}
    return (*told, *(place for place in _anywhere(pool, stamp) if place.host not in had))


def _place(host: str, pool: Pool, stamp: Stamp) -> Place:
    return Place(host=host, term=stamp[0], seq=stamp[1], boot=pool.boots.get(host, ""))


def followed(
    ledger: Ledger, shown: Shown, targets: Collection[str], pool: Pool, stamp: Stamp
) -> MayRun | None:
    """May-run as it is after this observation, or None where the ledger says so already.

    `targets` are hosts on which calls of ours, begun or about to be, can make a domain. `stamp` is that
    of the fact which would say it.
    """
    there = shown.hosts | frozenset(targets)
    shown = _latched(ledger, shown)
    before = _before(ledger, shown, pool, stamp)
    kept = [place for place in before if place.host in there or not _absent(place, shown, pool)]
    had = {place.host for place in kept}
    new = [_place(host, pool, stamp) for host in there - had]
    after = tuple(sorted((*kept, *new), key=lambda place: place.host))
    said = MayRun(vm=shown.vm, places=after, reset=shown.reset)
    return None if said == _told(ledger, shown.vm) else said


def grown(ledger: Ledger, vm: str, host: str, pool: Pool, stamp: Stamp) -> MayRun | None:
    """May-run with a host on which the VM was last seen, None where a certificate of that host would cover
    it already. Nothing that is told of the VM ends by this."""
    told = _told(ledger, vm)
    if told is None:
        untold = ledger.get(UNREAD, Unread) is None
        return MayRun(vm=vm, places=_anywhere(pool, stamp)) if untold else None
    if any(place.host == host for place in told.places):
        return None
    after = sorted((*told.places, _place(host, pool, stamp)), key=lambda place: place.host)
    return MayRun(vm=vm, places=tuple(after), reset=told.reset)


def stands(ledger: Ledger, vm: str, home: str | None, pool: Pool) -> bool:
    """Whether the ledger says of a VM that is at rest on `home` (None: nowhere) just that. Of nearly all
    of them it does, and they are asked about at every step."""
    told = _told(ledger, vm)
    if told is None or told.reset:
        return False
    if home is None:
        return not told.places
    return len(told.places) == 1 and told.places[0].host == home and home in pool.hosts


def doubts(
    ledger: Ledger,
    shown: Shown,
    target: str,
    leaving: str,
    pool: Pool,
    proofs: Mapping[str, Proof],
    accepted: Collection[str],
) -> tuple[Doubt, ...]:
    """What forbids that the VM is made to run on `target` ("": that its record is reset): hosts, by
    uuid, on which it can exist without a proof of the opposite. No doubt is left of a target that
    answers, since it would refuse what it has, nor of a host that answers and that the VM is on and is
    to leave alive."""
    found: list[Doubt] = []
    for place in _possible(ledger, shown, pool):
        proof = proofs.get(place.host)
        if place.host in pool.reporting and place.host in (target, leaving):
            continue
        if proof is None or not proof.covers(place):
            found.append(Doubt(place.host))
        elif proof.certificate.kind not in accepted:
            found.append(Doubt(place.host, proof))
    return tuple(found)


NOW: Stamp = (2**63 - 1, 0)
"""Later than every fact that there is."""

_EVER: Stamp = (0, 0)
"""Older than every fact."""


def _possible(ledger: Ledger, shown: Shown, pool: Pool) -> tuple[Place, ...]:
    """The places of the ledger that no report has ended, and those that the observation shows."""
    shown = _latched(ledger, shown)
    before = _before(ledger, shown, pool, NOW)
    left = [place for place in before if not _absent(place, shown, pool)]
    had = {place.host for place in left}
    unsaid = [_place(host, pool, NOW) for host in shown.hosts - had]
    return tuple(sorted((*left, *unsaid), key=lambda place: place.host))


def _latched(ledger: Ledger, shown: Shown) -> Shown:
    """A reset that was seen once is one until the VM is seen up: whoever watches may have changed."""
    told = _told(ledger, shown.vm)
    reset = shown.reset or (told is not None and told.reset)
    return replace(shown, reset=reset and not shown.hosts)


def _absent(place: Place, shown: Shown, pool: Pool) -> bool:
    """Whether that host itself says that it does not have the VM. A host that is no more in the pool
    says nothing, and a record that somebody reset is nobody's report."""
    if shown.busy or shown.reset or place.host in shown.hosts:
        return False
    return place.host in pool.reporting


def _unread_since(ledger: Ledger) -> Stamp:
    fact = ledger.facts.get(UNREAD)
    return (fact.term, fact.seq) if fact is not None and isinstance(fact.value, Unread) else _EVER
