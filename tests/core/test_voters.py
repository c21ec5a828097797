"""How voters change: one at a time, a name or the shared disk; by whom, when, and who is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from membership.ledger import FoundedVoters
from membership.roster import Voters
from membership.shared_disk import own_slot
from membership.slots import SLOTS
from membership.view import Health, PeerState
from reconciler.mustering import change, found, muster
from schema.model import Desired
from tests.core.parliament import NAMES
from tests.core.stage import desired
from tests.core.test_mustering import PEERING, TREE_NAME, tree, view, voters

# --- the disk among the voters ------------------------------------------------------------------------------


def shared(*names: str) -> Desired:
    """A tree in which these are peers, each with a shared disk."""
    nodes = {name: {"roles": ["run", "peer"], "heartbeat": {"disk": "/d"}} for name in names}
    return desired(nodes={**nodes, "bare": {}})


def pair(disk: bool, *names: str, epoch: int = 4, term: int = 3) -> FoundedVoters:
    return replace(voters(epoch, *names), term=term, disk=disk)


def after(
    wanted: Desired, founded: FoundedVoters, heard: Iterable[str], **more: Any
) -> tuple[tuple[str, ...], bool] | None:
    """The voters that follow where these peers are heard, and all of them know the last ones."""
    seen = view(*heard, epoch=founded.epoch, term=founded.term, **more)
    found = change(wanted, "anna", seen, founded, 9)
    return None if found is None else (found.names, found.disk)


ALIVE = PeerState.ALIVE
BOTH = ("anna", "bert")
HEALTHY = Health()
SICK = Health(disk="EIO")


def test_two_that_share_a_disk_are_founded_with_it_and_three_are_not() -> None:
    for names, disk in ((BOTH, True), (NAMES, False)):
        first = found(shared(*names), "anna", view(*names), TREE_NAME)
        assert first is not None
        assert first.disk is disk
    assert found(tree(*BOTH), "anna", view(*BOTH), TREE_NAME) == voters(1, *BOTH)


STEPS: list[tuple[str, Desired, FoundedVoters, tuple[str, ...], object]] = [
    ("the disk comes in", shared(*BOTH), pair(False, *BOTH), BOTH, (BOTH, True)),
    ("only with both", shared(*BOTH), pair(False, *BOTH), ("anna",), None),
    ("no disk in the tree", tree(*BOTH), pair(False, *BOTH), BOTH, None),
    ("it is there", shared(*BOTH), pair(True, *BOTH), BOTH, None),
    ("it goes out", tree(*BOTH), pair(True, *BOTH), BOTH, (BOTH, False)),
    ("not without the other", tree(*BOTH), pair(True, *BOTH), ("anna",), None),
    ("before a third comes", shared(*NAMES), pair(True, *BOTH), NAMES, (BOTH, False)),
    ("the third comes", shared(*NAMES), pair(False, *BOTH), NAMES, (NAMES, False)),
    ("not beside a dead one", shared(*NAMES), pair(True, *BOTH), ("anna", "cleo"), None),
    ("a dead one goes", shared("anna"), pair(True, *BOTH), ("anna",), (("anna",), True)),
    ("then the disk", shared("anna"), pair(True, "anna"), ("anna",), (("anna",), False)),
]


@pytest.mark.parametrize(("why", "wanted", "founded", "heard", "then"), STEPS)
def test_the_disk_comes_and_goes_as_a_voter_of_its_own(
    why: str, wanted: Desired, founded: FoundedVoters, heard: tuple[str, ...], then: object
) -> None:
    assert after(wanted, founded, heard, on_disk=(3, 4)) == then, why


@pytest.mark.parametrize("path", [None, "/other"])
def test_a_tree_that_takes_the_disk_away_while_one_is_dead_can_be_taken_back(
    path: str | None,
) -> None:
    """Bert is dead, and anna leads by the disk: were it gone at once nobody could lead, and nobody revert."""
    founded = replace(pair(True, *BOTH), disks={"anna": "/d", "bert": "/d"})
    heartbeat = {} if path is None else {"heartbeat": {"disk": path}}
    taken = desired(nodes={name: {"roles": ["run", "peer"], **heartbeat} for name in BOTH})
    assert after(taken, founded, ("anna",), on_disk=(3, 4)) is None
    roster = muster(taken, "anna", PEERING, founded, TREE_NAME)
    assert (roster.disk, roster.voters.disk) == ("/d", True)
    assert muster(shared(*BOTH), "anna", PEERING, founded, TREE_NAME).disk == "/d"
    # Once both are here it goes out, and only then the tree's word counts.
    assert after(taken, founded, BOTH, on_disk=(3, 4)) == (BOTH, False)
    without = replace(founded, disk=False, disks={}, epoch=5)
    assert muster(taken, "anna", PEERING, without, TREE_NAME).disk == path


def test_a_disk_by_which_alone_the_other_one_is_heard_stays_a_voter() -> None:
    """Bert lives, and no cable is left: without the disk it could agree to nobody, and nobody revert."""
    founded = replace(pair(True, *BOTH), disks={"anna": "/d", "bert": "/d"})
    seen = view(*BOTH, epoch=founded.epoch, term=founded.term, on_disk=(3, 4))
    unplugged = replace(seen.peers["bert"], channels={"net1": PeerState.DEAD, "disk": ALIVE})
    seen = replace(seen, peers={**seen.peers, "bert": unplugged})
    assert change(tree(*BOTH), "anna", seen, founded, 9) is None


def test_the_paths_of_a_disk_are_agreed_when_it_becomes_a_voter() -> None:
    seen = view(*BOTH, epoch=4, term=3)
    made = change(shared(*BOTH), "anna", seen, pair(False, *BOTH), 9)
    assert made is not None
    assert made.disks == {"anna": "/d", "bert": "/d"}
    first = found(shared(*BOTH), "anna", view(*BOTH), TREE_NAME)
    assert first is not None
    assert first.disks == made.disks


def test_a_disk_that_does_not_work_neither_comes_in_nor_lets_anybody_go() -> None:
    assert after(shared(*BOTH), pair(False, *BOTH), BOTH, health=SICK) is None
    assert after(shared("anna"), pair(True, *BOTH), ("anna",), health=SICK) is None


def test_what_the_disk_knows_counts_like_what_a_name_knows() -> None:
    founded, dead = pair(True, "anna"), shared("anna")
    assert after(dead, founded, ("anna",), on_disk=(3, 3)) is None
    assert after(dead, founded, ("anna",), on_disk=(3, 4)) == (("anna",), False)


# --- who made the voters ------------------------------------------------------------------------------------


def test_a_leader_states_in_its_own_term_what_it_found_before_it_changes_it() -> None:
    founded = pair(False, *BOTH, epoch=4, term=3)
    seen = view(*NAMES, term=5, epoch=4, knows=dict.fromkeys(NAMES, (3, 4)))
    stated = change(tree(*NAMES), "anna", seen, founded, 9)
    assert stated == replace(founded, epoch=5, term=5, revision=9)
    unheard = replace(view(*NAMES, term=5, epoch=5, knows={"bert": (3, 4)}))
    assert change(tree(*NAMES), "anna", unheard, stated, 9) is None
    known = change(tree(*NAMES), "anna", view(*NAMES, term=5, epoch=5), stated, 9)
    assert known is not None
    assert (known.term, known.epoch, known.names) == (5, 6, NAMES)


def test_who_is_in_a_later_term_may_have_voted_before_it_knew() -> None:
    founded = pair(False, *BOTH)
    assert after(tree(*NAMES), founded, NAMES, terms={"bert": 4}) is None
    assert after(tree(*NAMES), founded, NAMES, terms={"bert": 2}) == (NAMES, False)


def test_what_our_own_heartbeats_do_not_go_by_is_not_known() -> None:
    founded = pair(False, *BOTH)
    seen = replace(view(*NAMES, term=3, epoch=4), voters=Voters(term=3, epoch=3))
    assert change(tree(*NAMES), "anna", seen, founded, 9) is None


def test_who_leads_in_an_earlier_term_than_the_voters_were_made_in_changes_nothing() -> None:
    founded = pair(False, *BOTH, term=7)
    assert change(tree(*NAMES), "anna", view(*NAMES, term=3, epoch=4), founded, 9) is None


# --- who is needed, and where everybody is ------------------------------------------------------------------


def test_the_last_voter_stays_and_a_leader_goes_only_when_another_one_is_here() -> None:
    assert after(tree("dora"), pair(False, "anna"), ("anna",)) is None
    assert after(tree("bert"), pair(False, *BOTH), ("anna",)) is None
    assert after(tree("bert"), pair(False, *BOTH), BOTH) == (("bert",), False)


def test_nobody_goes_who_is_needed_to_lead() -> None:
    """Of three one is dead: without the third the other could do nothing. The dead one may go."""
    assert after(tree(*BOTH), pair(False, *NAMES), ("anna", "cleo")) is None
    assert after(tree("anna"), pair(False, *NAMES), ("anna", "cleo")) == (("anna", "cleo"), False)


def test_who_was_dropped_by_the_tree_is_a_member_as_long_as_it_votes() -> None:
    founded = replace(pair(False, *BOTH), addresses={"anna": ("10.0.0.1",), "bert": ("10.0.0.2",)})
    roster = muster(tree("anna"), "anna", PEERING, founded, TREE_NAME)
    assert roster.names == BOTH
    assert roster.members[1].addresses == (("10.0.0.2", 9850),)
    assert roster.members[1].doors == (("10.0.0.2", 9851),)
    gone = replace(founded, names=("anna",), addresses={"anna": ("10.0.0.1",)})
    roster = muster(tree("anna"), "anna", PEERING, gone, TREE_NAME)
    assert roster.names == ("anna",)
    assert [(member.name, member.slot) for member in roster.former] == [("bert", 1)]


def test_voters_that_moved_are_stated_again() -> None:
    founded = replace(pair(False, *BOTH), addresses={"anna": (), "bert": ("10.0.0.2",)})
    moved = change(tree(*BOTH), "anna", view(*BOTH, term=3, epoch=4), founded, 9)
    assert moved == replace(founded, epoch=5, revision=9, addresses={"anna": (), "bert": ()})
    assert change(tree(*BOTH), "anna", view(*BOTH, term=3, epoch=5), moved, 9) is None


def test_a_place_on_the_disk_is_given_once_and_kept_for_who_comes_back() -> None:
    founded = replace(pair(False, *BOTH), slots={"anna": 0, "bert": 1, "cleo": 2})
    seen = view("anna", "bert", "cleo", "dora", term=3, epoch=4)
    new = change(tree("anna", "bert", "dora"), "anna", seen, founded, 9)
    assert new is not None
    assert new.slots == {"anna": 0, "bert": 1, "cleo": 2, "dora": 3}
    back = change(tree(*NAMES), "anna", seen, founded, 9)
    assert back is not None
    assert back.slots["cleo"] == 2


def test_who_has_no_place_on_the_disk_is_a_voter_all_the_same() -> None:
    full = {f"x{place}": place for place in range(1, SLOTS)}
    founded = replace(pair(False, "anna"), slots={"anna": 0, **full})
    later = change(shared(*BOTH), "anna", view(*BOTH, term=3, epoch=4), founded, 9)
    assert later is not None
    assert (later.names, later.slots["bert"]) == (BOTH, SLOTS)
    roster = muster(shared(*BOTH), "bert", PEERING, later, TREE_NAME)
    assert own_slot(roster) is None
    seen = view(*BOTH, term=3, epoch=5)
    assert change(shared(*BOTH), "anna", seen, later, 9) is None


# --- all of it ----------------------------------------------------------------------------------------------


SETS = [names for size in (1, 2, 3) for names in itertools.combinations((*NAMES, "dora"), size)]


@pytest.mark.parametrize("names", [names for names in SETS if "anna" in names])
@pytest.mark.parametrize("disk", [False, True])
def test_from_any_voters_to_any_others_each_step_shares_one_in_every_quorum(
    names: tuple[str, ...], disk: bool
) -> None:
    """A disk is one of them. Whoever is removed while it leads stays until another one could lead."""
    for wanted, heard, end in itertools.product(SETS, (SETS[-1], (*NAMES, "dora")), (tree, shared)):
        before = pair(disk and len(names) == 2, *names)
        for _ in range(12):
            rank = (before.term, before.epoch)
            here = {*heard, "anna"}
            seen = view(*here, term=before.term, epoch=before.epoch, on_disk=rank)
            then = change(end(*wanted), "anna", seen, before, 9)
            if then is None or "anna" not in then.names:
                break
            for one, other in itertools.product(quorums(before), quorums(then)):
                assert one & other
            before = then
        else:
            raise AssertionError(f"no end: {names} to {wanted}")


def quorums(founded: FoundedVoters) -> list[set[str]]:
    voting = [*founded.names, *(["the disk"] if founded.disk else [])]
    size = Voters(names=founded.names, disk=founded.disk).quorum
    return [set(some) for some in itertools.combinations(voting, size)]
