"""Arrivals: since when this node knows of each death, by its own clock.

The date on a fact is that of whoever said it, and two servers' clocks differ. Whether something was heard
after a certificate is measured from when that came here, which is never before it was issued.
"""

from __future__ import annotations

from collections.abc import Iterable

from membership.clock import Now
from membership.ledger import Fact
from membership.proofs import Certificate


class Arrivals:
    """One daemon's. Of a certificate that was known before its start there is only the date on it."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def note(self, facts: Iterable[Fact], now: Now) -> None:
        """Take in when these were first known here."""
        for fact in facts:
            if isinstance(fact.value, Certificate):
                self._since_s.setdefault(fact.value.id, now.mono_s)

    def age_s(self, certificate: Certificate, dated_epoch_s: float, now: Now) -> float | None:
        """For how long this certificate has been known. None where its date is yet to come: then it is
        not to be told what was heard before it, and all counts as heard since."""
        since_s = self._since_s.get(certificate.id)
        age_s = now.epoch_s - dated_epoch_s if since_s is None else now.mono_s - since_s
        return age_s if age_s >= 0.0 else None
