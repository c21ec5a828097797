"""Evidence: what the ledger proves about hosts that are believed dead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from membership.clock import Now
from membership.ledger import Ledger
from membership.proofs import (
    COLD_START,
    UNREAD,
    Certificate,
    ColdStart,
    Place,
    Promotion,
    Stamp,
    Unread,
)

CERTIFICATE = "certificate/"

POWER_OFF = "power-off"
SWORN = "sworn"
KINDS = (POWER_OFF, SWORN)
"""The kinds that can be issued. Whoever needs another one has it refused by the schema."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A certificate that holds, and when it was issued among all facts."""

    certificate: Certificate
    stamp: Stamp

    def covers(self, place: Place) -> bool:
        """Whether it speaks of what was on that place. A later start there needs a later certificate."""
        return place.host == self.certificate.host and place.stamp < self.stamp


SAME_BOOT_S = 60
"""Hints of one boot differ: each start of the toolstack works it out anew. No server boots sooner."""


def proofs(ledger: Ledger, now: Now, boots: Mapping[str, str]) -> Mapping[str, Proof]:
    """The certificates that hold, by host (uuid). `boots` is what XenAPI shows of each host's boot.

    A host that came back after its certificate has to die anew: what was begun on it since may be known
    to nobody, if nobody led meanwhile.
    """
    return {
        proof.certificate.host: proof
        for proof in _valid(ledger, now)
        if _same_boot(proof.certificate.boot_hint, boots.get(proof.certificate.host, ""))
    }


def _same_boot(ended: str, shown: str) -> bool:
    """What is not known says nothing: a hint adds doubt, and ends none."""
    if ended.isdecimal() and shown.isdecimal():
        return abs(int(ended) - int(shown)) < SAME_BOOT_S
    return not ended or not shown or ended == shown


def _valid(ledger: Ledger, now: Now) -> Iterable[Proof]:
    for fact in ledger.facts.values():
        value = fact.value
        if isinstance(value, Certificate) and not value.void:
            proof = Proof(value, (fact.term, fact.seq))
            if not _expired(value, now) or _served(proof, ledger):
                yield proof


def _served(proof: Proof, ledger: Ledger) -> bool:
    """Whether a new master was named since, or everything distrusted, with this death for certain: what
    rests on an oath outlives it."""
    promotion = ledger.get("promotion", Promotion)
    if promotion is not None and promotion.certificate == proof.certificate.id:
        return True
    unread = ledger.facts.get(UNREAD)
    return (
        unread is not None
        and isinstance(unread.value, Unread)
        and proof.certificate.host in unread.value.dead
        and proof.stamp < (unread.term, unread.seq)
    )


def _expired(certificate: Certificate, now: Now) -> bool:
    until_s = certificate.until_epoch_s
    return until_s is not None and until_s <= now.epoch_s


def hold_of(certificate: Certificate) -> str:
    """The id of the hold that is raised where this certificate turns out to be void."""
    return f"H-{certificate.id}"


def voided(hold: str, ledger: Ledger) -> Certificate | None:
    """The certificate for which the hold of this id was raised; None where it was for another cause."""
    certificates = (c for c in ledger.values(Certificate) if c.void and hold_of(c) == hold)
    return next(certificates, None)


def absent(ledger: Ledger) -> tuple[str, ...]:
    """The nodes for which everything waits after a blackout; none where there was none."""
    stands = ledger.get(COLD_START, ColdStart)
    return (*stands.absent, *stands.untold) if stands is not None else ()
