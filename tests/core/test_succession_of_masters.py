"""Who takes a dead master's place: what the members have to say, and whose copy is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from fencing.judgement import Belief
from membership.ledger import FactValue, Freeze, Hold, Withdrawn
from membership.proofs import Lost, MayRun, Place, Synced, Unread
from reconciler.accusing import accused
from reconciler.aftermath import issued
from reconciler.members import Role, Said
from reconciler.succession import bereaved, dead, heir, joining, refused, two_masters, unready
from tests.core.court import WEB, died, facts, failing, hearing, runs_on, silent
from tests.core.orphans import (
    ADDRESSES,
    ALONE,
    MASTER,
    SAID,
    SILENT,
    SLAVE,
    STARTED,
    XEN1,
    XEN2,
    XEN3,
    later,
    orphaned,
    promoted,
)


def test_a_certified_master_leaves_the_pool_without_one() -> None:
    at = orphaned()
    assert bereaved(at, accused(at)) == XEN3
    assert dead(at, accused(at)) == (XEN3,)


@pytest.mark.parametrize("told", [MayRun(vm=WEB, places=()), None])
def test_what_was_last_seen_on_a_master_dies_with_it_though_nobody_had_noted_it(
    told: MayRun | None,
) -> None:
    """web1 came there a moment before the master died, and whoever observed the pool."""
    at = orphaned(but={f"may-run__{WEB}": told, "certificate__xen3": None})
    alone = at.supposing([("certificate/xen3", died("xen3"))])
    assert bereaved(alone, accused(alone)) is None
    after = at.supposing(issued(died("xen3"), at))
    assert bereaved(after, accused(after)) == XEN3
    (vm, real), *_ = after.adoption.vms
    assert accused(after).doubts(vm, real, "") == ()


@pytest.mark.parametrize(
    "but",
    [
        {"certificate__xen3": None},
        {"certificate__xen3": died("xen3", void="it was heard")},
        {"certificate__xen3": None, "certificate__xen2": died("xen2")},
    ],
)
def test_silence_alone_does_not(but: Mapping[str, FactValue | None]) -> None:
    at = orphaned(but=but)
    assert bereaved(at, accused(at)) is None


def test_nor_does_the_death_of_another_member() -> None:
    at = orphaned(master=XEN1)
    assert bereaved(at, accused(at)) is None


# --- what the members say -----------------------------------------------------------------------------


def test_members_that_miss_the_dead_one_agree() -> None:
    at = orphaned()
    assert unready(SAID, at, accused(at)) == ""
    assert unready({**SAID, XEN2: ALONE}, at, accused(at)) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({XEN2: MASTER}, "xen2 answers as the pool's master"),
        ({XEN2: SILENT}, "xen2 does not say whether it is master"),
        ({XEN2: Said(role=Role.BOOTING)}, "xen2 does not say whether it is master"),
        ({XEN2: Said(role=Role.UNKNOWN)}, "xen2 does not say whether it is master"),
        ({XEN2: Said(role=Role.SLAVE, follows=ADDRESSES[XEN1])}, "xen2 follows 192.0.2.1"),
        ({XEN3: SLAVE}, "xen3 is dead by certificate, and its toolstack answers"),
        ({XEN3: MASTER}, "xen3 is dead by certificate, and its toolstack answers"),
    ],
)
def test_anything_else_is_waited_for(change: Mapping[str, Said], why: str) -> None:
    at = orphaned()
    assert unready({**SAID, **change}, at, accused(at)).startswith(why)


def test_nobody_is_left() -> None:
    at = orphaned()
    at = later(later(at, "certificate/xen1", died("xen1")), "certificate/xen2", died("xen2"), 51)
    gone = dict.fromkeys(ADDRESSES, SILENT)
    # Who is heard is not dead, whatever a certificate says of an earlier boot.
    assert "does not say" in unready(gone, at, accused(at))


def test_two_masters_are_told_by_name() -> None:
    at = orphaned()
    assert two_masters({**SAID, XEN3: MASTER}, at) == ""
    text = two_masters({**SAID, XEN3: MASTER, XEN2: MASTER}, at)
    assert text.startswith("xen2 and xen3 both answer")


def test_a_hold_and_a_freeze_forbid_it() -> None:
    at = orphaned()
    assert refused(at, XEN3) == ""
    held = later(at, "hold/h", Hold(id="h", reason="wait", by="anna"))
    assert "wait" in refused(held, XEN3)
    freeze = Freeze(
        object="node/xen3", scopes=("recovery",), until_epoch_s=None, reason="no", by="anna"
    )
    assert "frozen by anna" in refused(later(at, "freeze/node/xen3", freeze), XEN3)


# --- whose copy ---------------------------------------------------------------------------------------


def test_a_member_with_the_newest_copy_is_chosen() -> None:
    at = orphaned(but={"synced": Synced(hosts=(XEN2, XEN3), term=3, seq=9)})
    chosen = heir(SAID, at, accused(at))
    assert (chosen.host, chosen.copies, chosen.stale, chosen.hold) == (XEN2, (XEN2,), (), None)


def test_only_who_answers_is() -> None:
    at = orphaned()
    assert heir({XEN2: SLAVE}, at, accused(at)).host == XEN2


def test_what_died_with_the_master_is_in_no_doubt() -> None:
    """It is nowhere, wherever the copy has it."""
    assert heir(SAID, orphaned(), accused(orphaned())).stale == ()


MOVED = MayRun(vm=WEB, places=(Place(host=XEN2, term=3, seq=40),))


def test_a_vm_that_moved_after_the_copy_asks_for_a_human() -> None:
    at = later(orphaned(on="xen2"), f"may-run/{WEB}", MOVED)
    chosen = heir(SAID, at, accused(at))
    assert chosen.stale == (WEB,)
    assert chosen.hold is not None
    assert chosen.hold.id == "H-copy-C-xen3"
    assert "web1" in chosen.hold.reason


def test_one_that_was_on_its_way_does_too() -> None:
    there = MayRun(vm=WEB, places=(Place(host=XEN2, term=3, seq=0),))
    synced = Synced(hosts=(XEN1,), term=3, seq=9, open=(WEB,))
    at = orphaned(but={"synced": synced}, on="xen2")
    at = later(at, f"may-run/{WEB}", there)
    assert heir(SAID, at, accused(at)).stale == (WEB,)


def test_that_nothing_is_trusted_any_more_makes_no_copy_older() -> None:
    at = later(orphaned(), "may-run", Unread(why="a ledger was not read", dead=(XEN3,)))
    assert heir(SAID, at, accused(at)).hold is None


def test_without_any_copy_every_vm_that_can_live_is_named() -> None:
    at = later(orphaned(but={"synced": None}, on="xen2"), f"may-run/{WEB}", MOVED)
    chosen = heir(SAID, at, accused(at))
    assert (chosen.copies, chosen.stale) == ((), (WEB,))
    assert chosen.hold is not None


def test_whoever_releases_the_hold_has_consented_to_this_death_alone() -> None:
    at = later(orphaned(on="xen2"), f"may-run/{WEB}", MOVED)
    at = later(at, "hold/H-copy-C-xen3", Withdrawn(by="anna"), 51)
    assert heir(SAID, at, accused(at)).hold is None
    at = later(at, "certificate/xen3", died("xen3", id="C-later"), 52)
    assert heir(SAID, at, accused(at)).hold is not None


def test_the_copies_of_one_that_died_before_it_was_master_are_as_good_as_they_were() -> None:
    at = orphaned(but={"promotion": promoted(copies=(XEN1,), stale=())})
    at = later(at, f"may-run/{WEB}", MOVED)
    chosen = heir({XEN1: SLAVE, XEN2: SLAVE}, at, accused(at))
    assert (chosen.host, chosen.stale) == (XEN1, ())


# --- who has joined -----------------------------------------------------------------------------------

RISEN = {
    XEN1: Said(role=Role.SLAVE, follows=ADDRESSES[XEN2]),
    XEN2: MASTER,
    XEN3: SILENT,
}
ANEW: Mapping[str, Mapping[str, object]] = {
    "xen1": {"started": "200."},
    "xen2": {"started": "150."},
}


def test_members_that_follow_the_new_master_and_started_anew_have_joined() -> None:
    at = orphaned(hosts=ANEW, master=XEN2)
    assert {*joining(RISEN, promoted(), at)} == {XEN1, XEN2}


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ({"xen1": {"started": STARTED}}, {}),
        ({"xen1": {"started": "200.", "enabled": False}}, {}),
        ({"xen1": {"started": "200.", "live": False}}, {}),
        ({}, {XEN1: SLAVE}),
        ({}, {XEN1: ALONE}),
        ({}, {XEN1: MASTER}),
    ],
)
def test_anything_less_is_not_enough(
    hosts: Mapping[str, Mapping[str, object]], said: Mapping[str, Said]
) -> None:
    at = orphaned(hosts={**ANEW, **hosts}, master=XEN2)
    assert {*joining({**RISEN, **said}, promoted(), at)} == {XEN2}


def test_until_it_has_joined_nobody_answers_for_itself() -> None:
    at = orphaned(hosts=ANEW, master=XEN2, but={"promotion": promoted(joined=(XEN1,))})
    deaths = accused(at)
    assert deaths.pool.reporting == {XEN1}
    assert deaths.awaited() == (XEN2,)
    old = orphaned(but={"promotion": promoted(joined=(XEN1, XEN2))})
    assert accused(old).pool.reporting == frozenset(), "the old master's database is no master's"


def test_after_it_all_do_again() -> None:
    over = promoted(stage="over", joined=(XEN1, XEN2))
    deaths = accused(orphaned(hosts=ANEW, master=XEN2, but={"promotion": over}))
    assert deaths.pool.reporting == {XEN1, XEN2}
    assert deaths.awaited() == ()


def test_a_silent_member_is_not_spared_while_vms_wait_for_its_proof() -> None:
    """Nothing is known to run on xen2, and anything may: its copy of the past is not the new master's."""
    states = {"xen2": silent(), "xen3": silent()}
    probing = failing("xen2", "xen3")
    known: dict[str, FactValue] = {
        "certificate__xen3": died("xen3"),
        f"may-run__{WEB}": runs_on("xen3"),
    }
    at = hearing(states, probing=probing, ledger=facts(**known))
    assert accused(at).verdicts["xen2"].belief is Belief.SPARED
    lost = Lost(vm=WEB, node="xen3", host=XEN3, certificate="C-xen3")
    at = hearing(states, probing=probing, ledger=facts(**known, lost__web1=lost))
    master = replace(at.observed, pool=replace(at.observed.pool, master=XEN3))
    verdict = accused(with_parts(at, observed=master)).verdicts["xen2"]
    assert verdict.belief in (Belief.DOOMED, Belief.REFUSED)
    assert verdict.reason != "NothingToRecover"


def test_of_a_silent_member_on_which_nothing_is_the_pool_waits_for_a_look() -> None:
    """It may have been told to be master, and be starting. It is looked at, and never switched off."""
    states = {"xen2": silent(), "xen3": silent()}
    known: dict[str, FactValue] = {"certificate__xen3": died("xen3"), "promotion": promoted()}
    at = hearing(states, probing=failing("xen2", "xen3"), ledger=facts(**known))
    verdict = accused(at).verdicts["xen2"]
    assert verdict.reason in ("NothingToRecover", "AccuserUnfit")
    assert not verdict.may_shoot
