"""The copies of the pool's database: when they are sent anew, and what they are then good for."""

from __future__ import annotations

from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Hold
from membership.proofs import MayRun, Place, Synced
from reconciler.accusing import Hearing, accused
from reconciler.copying import AGAIN_S, EVERY_S, Copying, behind
from reconciler.members import CopiesSent, SendCopies
from tests.core.court import WEB, facts, hearing, runs_on
from tests.core.orphans import XEN1, XEN2, XEN3, later

ALL = tuple(sorted((XEN1, XEN2, XEN3)))
FRESH = Synced(hosts=ALL, term=3, seq=1)
MOVED = MayRun(vm=WEB, places=(Place(host=XEN2, term=3, seq=40),))


def at_peace(synced: Synced | None = FRESH, on: str = "xen3") -> Hearing:
    """All are well; the copies are as this says."""
    known = {f"may-run__{WEB}": runs_on("xen3")}
    ledger = facts(**known) if synced is None else facts(**known, synced=synced)
    return with_parts(hearing(ledger=ledger, on=on), acts=True)


def moved() -> Hearing:
    """web1 came to xen2, after the last copy."""
    return later(at_peace(on="xen2"), f"may-run/{WEB}", MOVED)


def sends(copying: Copying, at: Hearing) -> bool:
    moves = copying.step(at, accused(at))
    return any(isinstance(effect, SendCopies) for effect in moves.effects)


def sent(copying: Copying, at: Hearing, message: str = "") -> Synced | None:
    moves = copying.sent(CopiesSent(message=message), at, accused(at))
    values = [value for key, value, _ in moves.facts if key == "synced"]
    assert all(isinstance(value, Synced) for value in values)
    return values[0] if values else None  # type: ignore[return-value]


def after(at: Hearing, seconds: float) -> Hearing:
    now = Now(mono_s=at.now.mono_s + seconds, epoch_s=at.now.epoch_s + seconds)
    return with_parts(at, now=now)


def test_what_the_copies_have_is_not_sent_again() -> None:
    assert not sends(Copying(), at_peace())


@pytest.mark.parametrize(
    "synced", [None, Synced(hosts=(XEN1,), term=3, seq=1), Synced(hosts=ALL, term=2, seq=90)]
)
def test_what_some_do_not_have_is_sent(synced: Synced | None) -> None:
    assert sends(Copying(), at_peace(synced))


def test_a_vm_that_came_to_a_host_is_sent() -> None:
    copying, at = Copying(), moved()
    assert sends(copying, at)
    assert not sends(copying, at), "once"
    synced = sent(copying, at)
    assert synced is not None
    assert (synced.hosts, synced.stamp, synced.open) == (ALL, at.stamp, ())
    assert not behind(later(at, "synced", synced, 60), accused(at))


def test_one_that_is_on_its_way_is_sent_once_it_has_arrived() -> None:
    """A copy of that moment may have it in either place."""
    both = MayRun(vm=WEB, places=(*runs_on("xen3").places, *MOVED.places))
    going = later(at_peace(), f"may-run/{WEB}", both)
    assert not sends(Copying(), going)
    copying = Copying()
    other = later(going, "synced", Synced(hosts=(XEN1,), term=3, seq=41))
    assert sends(copying, other), "for another reason"
    synced = sent(copying, other)
    assert synced is not None
    assert synced.open == (WEB,)
    there = later(moved(), "synced", synced, 60)
    assert behind(there, accused(there))


def test_one_after_the_other() -> None:
    copying, at = Copying(), moved()
    assert sends(copying, at)
    assert sent(copying, at) is not None
    assert not sends(copying, after(at, EVERY_S - 0.1))
    assert sends(copying, after(at, EVERY_S))


def test_a_failure_says_nothing_and_is_tried_again() -> None:
    copying, at = Copying(), moved()
    assert sends(copying, at)
    assert sent(copying, at, "no answer") is None
    assert not sends(copying, after(at, AGAIN_S - 0.1))
    assert copying.deadline_s == at.now.mono_s + AGAIN_S
    assert sends(copying, after(at, AGAIN_S))


def test_who_fell_silent_meanwhile_may_not_have_it() -> None:
    copying, at = Copying(), moved()
    assert sends(copying, at)
    nodes = dict(at.observed.nodes)
    nodes[XEN3] = replace(nodes[XEN3], live=False)
    gone = with_parts(at, observed=replace(at.observed, nodes=nodes))
    synced = sent(copying, gone)
    assert synced is not None
    assert XEN3 not in synced.hosts


def test_only_who_acts_sends_and_not_in_a_hold() -> None:
    assert not sends(Copying(), with_parts(moved(), acts=False))
    held = later(moved(), "hold/h", Hold(id="h", reason="wait", by="anna"), 60)
    assert not sends(Copying(), held)
