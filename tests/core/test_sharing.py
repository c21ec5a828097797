"""Who is there to be told, and what one of two voters may do where the other one is not."""

from __future__ import annotations

import pytest

from membership.roster import Voters
from membership.view import Peer, PeerState, View
from reconciler.sharing import (
    accompanied,
    by_itself,
    lacking,
    least,
    silent,
    unread,
    within_reach,
)

ALIVE, SUSPECT, DEAD = PeerState.ALIVE, PeerState.SUSPECT, PeerState.DEAD
LEFT, UNKNOWN = PeerState.LEFT, PeerState.UNKNOWN
TWO = ("anna", "bert")
ON_THE_DISK = {"net1": DEAD, "net2": DEAD, "disk": ALIVE}


def view(
    channels: dict[str, PeerState],
    state: PeerState = ALIVE,
    *,
    names: tuple[str, ...] = TWO,
    disk: bool = True,
    engine: str = "builtin",
) -> View:
    """As anna sees it; all others are heard on these channels."""
    others = [name for name in names if name != "anna"]
    return View(
        me="anna",
        term=4,
        leader="anna",
        lead_until_s=5.0,
        peers={name: Peer(state=state, channels=channels) for name in others},
        engine=engine,
        voters=Voters(epoch=1, revision=1, names=names, disk=disk),
    )


@pytest.mark.parametrize(
    ("channels", "state", "reached"),
    [
        ({"net1": ALIVE, "net2": ALIVE, "disk": ALIVE}, ALIVE, True),
        ({"net1": DEAD, "net2": ALIVE, "disk": DEAD}, ALIVE, True),
        ({"net1": DEAD, "net2": SUSPECT, "disk": ALIVE}, ALIVE, True),
        ({"net1": SUSPECT, "net2": SUSPECT, "disk": SUSPECT}, SUSPECT, True),
        (ON_THE_DISK, ALIVE, False),
        ({"net1": UNKNOWN, "disk": ALIVE}, ALIVE, False),
        ({"net1": DEAD, "disk": SUSPECT}, SUSPECT, False),
        ({"net1": DEAD, "disk": DEAD}, DEAD, False),
        ({"net1": LEFT, "disk": LEFT}, LEFT, False),
        ({}, ALIVE, True),
    ],
)
def test_whoever_is_heard_by_a_cable_can_be_told(
    channels: dict[str, PeerState], state: PeerState, reached: bool
) -> None:
    seen = view(channels, state)
    assert within_reach("bert", seen) is reached
    assert by_itself(seen) is not reached


def test_nobody_reaches_who_is_not_known() -> None:
    assert not within_reach("cleo", view(ON_THE_DISK))


def test_beside_a_voter_on_the_disk_alone_nothing_is_lacking_and_nobody_is_waited_for() -> None:
    seen = view(ON_THE_DISK)
    assert (least(seen), lacking(seen, ()), silent(seen, ())) == (0, "", ())


def test_its_ledger_is_unread_all_the_same() -> None:
    """What that one knows, nobody else may: the may-run sets are as wide as they can be."""
    assert unread(view(ON_THE_DISK), ()) == ("bert",)


def test_it_lives_and_may_lead_in_our_place() -> None:
    assert accompanied(view(ON_THE_DISK))
    assert not accompanied(view({"net1": DEAD, "disk": DEAD}, DEAD))


def test_where_no_disk_votes_who_is_seen_on_one_has_to_be_told() -> None:
    """Of two voters both agree to whoever leads; of three two do, and the disk is none of them."""
    assert least(view(ON_THE_DISK, disk=False)) == 1
    assert least(view(ON_THE_DISK, names=(*TWO, "cleo"), disk=False)) == 1
    assert silent(view(ON_THE_DISK, disk=False), ()) == ()


def test_where_an_engine_of_its_own_decides_the_rule_is_that_of_a_disk() -> None:
    assert least(view({"net1": DEAD}, DEAD, disk=False, engine="etcd")) == 0
    assert least(view({"net1": ALIVE}, disk=False, engine="etcd")) == 1
