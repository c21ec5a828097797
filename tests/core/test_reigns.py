"""Reigns: whom a successor that could not read every ledger still knows to be dead."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from membership.ledger import Reign, TermClaim
from membership.proofs import MayRun, Place
from reconciler.reigns import Reigns
from tests.core.court import WEB, died, facts, hearing, host

CLOSED = {"enabled": False, "boot_hint": "1000"}


def dead(
    *,
    pool: Reign = (3, 1),
    by: str = "mine",
    shown: dict[str, object] | None = None,
    void: str = "",
    place: int = 0,
) -> tuple[str, ...]:
    """What xen1 makes of xen3, which it had written off in term 3, leading alone. `place` is the seq of the
    fact by which web1 is there."""
    there = Place(host=host("xen3"), term=3, seq=place)
    ledger = facts(
        term=TermClaim(node="xen1"),
        certificate__xen3=died("xen3", boot_hint="1000", void=void),
        certificate__xen2=died("xen2"),
        may_run=MayRun(vm=WEB, places=(there,)),
    )
    at = hearing(ledger=ledger, hosts={"xen3": {**CLOSED, **(shown or {})}})
    term, alone = pool
    known = replace(at.observed.pool, term=term, alone=alone, alone_by=by)
    reigns = Reigns()
    reigns.read(ledger, known, "mine")
    return reigns.dead(ledger, replace(at.observed, pool=known), at.now)


def test_who_is_gone_since_its_certificate_is_dead_yet() -> None:
    assert dead() == (host("xen3"),), "xen2 is live and open: it came back"
    assert dead(shown={"enabled": True, "live": False}) == (host("xen3"),)


@pytest.mark.parametrize("shown", [{"enabled": True}, {"boot_hint": "9000"}])
def test_who_came_back_is_not(shown: dict[str, object]) -> None:
    assert dead(shown=shown) == ()


def test_nor_is_anybody_whose_certificate_is_void_or_of_an_earlier_death() -> None:
    assert dead(void="its daemon is heard") == ()
    assert dead(place=9) == ()


def test_where_another_led_unheard_or_the_pool_is_an_older_one_nobody_is() -> None:
    assert dead(by="another") == ()
    assert dead(pool=(4, 0)) == ()
    assert dead(pool=(2, 0)) == ()
