"""The shipped functions, each with one thing wrong. The search has to find what comes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace as with_fields

import pytest
from msgspec.structs import replace

from fencing import evidence, may_run
from fencing.evidence import Proof
from fencing.judgement import Verdict
from fencing.ladder import Rung
from fencing.may_run import Pool, Shown
from membership.ledger import Ledger
from membership.proofs import MayRun, Place, Stamp
from reconciler import deaths
from tests.explore import minds
from tests.explore.states import Climb


def one_place_alone(patch: pytest.MonkeyPatch) -> None:
    """May-run is the last place that was named."""
    whole = may_run.followed

    def followed(
        ledger: Ledger, shown: Shown, targets: Collection[str], pool: Pool, stamp: Stamp
    ) -> MayRun | None:
        found = whole(ledger, shown, targets, pool, stamp)
        if found is None or len(found.places) < 2:
            return found
        return replace(found, places=(max(found.places, key=lambda place: place.stamp),))

    patch.setattr(may_run, "followed", followed)


def no_gate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(may_run, "doubts", lambda *_: ())


def covers_what_came_later(patch: pytest.MonkeyPatch) -> None:
    def covers(self: Proof, place: Place) -> bool:
        return place.host == self.certificate.host

    patch.setattr(Proof, "covers", covers)
    patch.setattr(evidence, "_same_boot", lambda *_: True)


def holds_for_a_host_that_came_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "_same_boot", lambda *_: True)


def the_silent_report(patch: pytest.MonkeyPatch) -> None:
    def absent(place: Place, shown: Shown, pool: Pool) -> bool:
        del pool
        return not (shown.busy or shown.reset or place.host in shown.hosts)

    patch.setattr(may_run, "_absent", absent)


def unread_means_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(may_run, "_unread_since", lambda _: (0, 0))


def a_reset_is_a_report(patch: pytest.MonkeyPatch) -> None:
    def latched(ledger: Ledger, shown: Shown) -> Shown:
        del ledger
        return with_fields(shown, reset=False)

    patch.setattr(may_run, "_latched", latched)


def a_reset_says_nothing_of_elsewhere(patch: pytest.MonkeyPatch) -> None:
    def before(ledger: Ledger, shown: Shown, pool: Pool, stamp: Stamp) -> tuple[Place, ...]:
        return may_run.places(ledger, shown.vm, pool, stamp)

    patch.setattr(may_run, "_before", before)


def off_is_proof(patch: pytest.MonkeyPatch) -> None:
    """What a device reads after an `off` is not looked at: it said ok."""
    whole = minds.looked

    def looked(climb: Climb, verdict: Verdict, *, on: bool) -> tuple[Climb, bool]:
        return whole(climb, verdict, on=on and climb.rung != Rung.VERIFY.value)

    patch.setattr("tests.explore.happenings.looked", looked)


def nobody_has_to_know(patch: pytest.MonkeyPatch) -> None:
    """A call is made whether or not any voter knows what it rests on."""
    patch.setattr(minds, "least", lambda _: 0)


def our_own_calls_are_no_places(patch: pytest.MonkeyPatch) -> None:
    def targets(_: object) -> Mapping[str, frozenset[str]]:
        return {}

    patch.setattr(deaths, "targets", targets)
