"""Mustering: what roster a tree means, how a cluster is founded, and how its voters change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from membership.ledger import FoundedVoters
from membership.roster import Timing, Voters
from membership.view import Peer, PeerState, View
from reconciler.messages import Muster, Share
from reconciler.mustering import STAGED, Peering, change, found, muster, peers, staged
from schema.model import Desired, Role
from tests.core.parliament import NAMES, parliament
from tests.core.stage import desired, pool

TREE_NAME = (7, "d" * 64)
PEERING = Peering(engine="builtin", heartbeat_port=9850, peer_port=9851, mark="m")


def tree(*names: str, **cluster: object) -> Desired:
    """A tree in which these nodes are peers, and one more is not."""
    nodes = {name: {"roles": ["run", "peer"]} for name in names} | {"bare": {}}
    return desired(cluster=cluster, nodes=nodes)


def view(
    *names: str,
    me: str = "anna",
    epoch: int = 0,
    term: int = 0,
    ready: tuple[int, str] = TREE_NAME,
    states: Mapping[str, PeerState] | None = None,
    knows: Mapping[str, tuple[int, int]] | None = None,
    terms: Mapping[str, int] | None = None,
    **more: Any,
) -> View:
    """Who is heard, in `term`; (`term`, `epoch`) is the rank of the voters that all know, `knows` and
    `terms` say where a peer differs."""
    found: dict[str, Peer] = {}
    for name in names:
        found[name] = Peer(
            state=(states or {}).get(name, PeerState.ALIVE),
            notes={STAGED: staged(*ready)},
            term=(terms or {}).get(name, term),
            voters=(knows or {}).get(name, (term, epoch)),
        )
    return View(
        me=me,
        term=term,
        leader=None,
        lead_until_s=0.0,
        peers=found,
        engine="builtin",
        voters=Voters(epoch=epoch, term=term),
        **more,
    )


def voters(epoch: int, *names: str) -> FoundedVoters:
    slots = {name: place for place, name in enumerate(names)}
    nowhere: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    return FoundedVoters(epoch=epoch, revision=7, names=names, slots=slots, addresses=nowhere)


# --- the roster -----------------------------------------------------------------------------------------


def test_the_roster_holds_the_peers_of_the_tree_by_name() -> None:
    wanted = tree("cleo", "anna", "bert", heartbeat={"interval": "2s", "suspectAfter": "8s"})
    assert [node.name for node in peers(wanted)] == ["anna", "bert", "cleo"]
    roster = muster(wanted, "anna", PEERING, voters(1, "anna", "bert"), TREE_NAME)
    assert roster.names == ("anna", "bert", "cleo")
    assert (roster.voters.epoch, roster.voters.names) == (1, ("anna", "bert"))
    assert roster.timing == Timing(interval_s=2.0, suspect_after_s=8.0, dead_after_s=10.0)
    assert (roster.revision, roster.digest) == TREE_NAME
    assert (roster.me, roster.engine, roster.cluster_id) == ("anna", "builtin", wanted.cluster.id)


def test_before_the_cluster_is_founded_nobody_votes() -> None:
    roster = muster(tree("anna", "bert"), "anna", PEERING, None, TREE_NAME)
    assert roster.voters == Voters()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("10.0.0.1", ("10.0.0.1", 9850)),
        ("10.0.0.1:77", ("10.0.0.1", 77)),
        ("fd00::1", ("fd00::1", 9850)),
        ("[fd00::1]", ("fd00::1", 9850)),
        ("[fd00::1]:77", ("fd00::1", 77)),
    ],
)
def test_addresses_of_heartbeats(text: str, where: tuple[str, int]) -> None:
    nodes = {"anna": {"roles": ["run", "peer"], "heartbeat": {"addresses": [text]}}}
    roster = muster(desired(nodes=nodes), "anna", PEERING, None, TREE_NAME)
    assert roster.members[0].addresses == (where,)


def test_a_peer_has_a_door_at_each_of_its_addresses() -> None:
    addresses = ["10.0.0.1:77", "10.1.0.1", "10.0.0.1:78"]
    nodes = {"anna": {"roles": ["run", "peer"], "heartbeat": {"addresses": addresses}}}
    roster = muster(desired(nodes=nodes), "anna", PEERING, None, TREE_NAME)
    assert roster.members[0].doors == (("10.0.0.1", 9851), ("10.1.0.1", 9851))


def test_the_slots_are_those_that_were_founded_with() -> None:
    founded = FoundedVoters(
        epoch=3, revision=7, names=("anna", "bert"), slots={"anna": 4, "bert": 0}
    )
    roster = muster(tree("anna", "bert"), "anna", PEERING, founded, TREE_NAME)
    assert [(member.name, member.slot) for member in roster.members] == [("anna", 4), ("bert", 0)]


# --- founding -------------------------------------------------------------------------------------------


def test_a_cluster_is_founded_alike_by_all() -> None:
    wanted = tree(*NAMES)
    facts = [found(wanted, me, view(*NAMES, me=me), TREE_NAME) for me in NAMES]
    names = tuple(sorted(NAMES))
    assert facts == [voters(1, *names)] * 3


def test_a_witness_votes_too() -> None:
    wanted = tree("anna")
    will = replace(wanted.nodes["anna"], name="will", roles=(Role.WITNESS,), host=None)
    wanted = replace(wanted, nodes={**wanted.nodes, "will": will})
    assert [node.name for node in peers(wanted)] == ["anna", "will"]


NOT_YET: list[tuple[str, View]] = [
    ("one is not heard", view("anna", "bert")),
    ("one is suspect", view(*NAMES, states={"cleo": PeerState.SUSPECT})),
    ("one was never heard", view(*NAMES, states={"cleo": PeerState.UNKNOWN})),
    ("one knows of voters", view(*NAMES, knows={"bert": (0, 1)})),
    (
        "the heartbeats here know of voters",
        view(*NAMES, epoch=1, knows=dict.fromkeys(NAMES, (0, 0))),
    ),
    ("others have another tree", view(*NAMES, ready=(8, "e" * 64))),
]


@pytest.mark.parametrize(("why", "seen"), NOT_YET)
def test_a_cluster_is_not_founded_before_all_are_together(why: str, seen: View) -> None:
    assert found(tree(*NAMES), "anna", seen, TREE_NAME) is None, why


def test_who_is_no_peer_founds_nothing() -> None:
    assert found(tree("bert", "cleo"), "anna", view("bert", "cleo"), TREE_NAME) is None


def test_one_peer_alone_is_a_cluster() -> None:
    assert found(tree("anna"), "anna", view("anna"), TREE_NAME) == voters(1, "anna")


# --- changing -------------------------------------------------------------------------------------------


def changed(wanted: Iterable[str], founded: FoundedVoters, seen: View, me: str = "anna") -> object:
    after = change(tree(*wanted), me, seen, founded, 9)
    return None if after is None else (after.epoch, after.names)


def test_where_all_is_as_wanted_nothing_changes() -> None:
    assert changed(NAMES, voters(1, *NAMES), view(*NAMES, epoch=1)) is None


def test_a_new_peer_becomes_a_voter_when_it_is_heard() -> None:
    founded = voters(1, "anna", "bert")
    assert changed(NAMES, founded, view("anna", "bert", epoch=1)) is None
    seen = view(*NAMES, epoch=1, states={"cleo": PeerState.SUSPECT})
    assert changed(NAMES, founded, seen) is None
    assert changed(NAMES, founded, view(*NAMES, epoch=1)) == (2, ("anna", "bert", "cleo"))


def test_one_name_at_a_time_new_ones_first() -> None:
    founded = voters(4, "anna", "bert")
    seen = view("anna", "bert", "cleo", "dora", epoch=4)
    assert changed(("anna", "cleo", "dora"), founded, seen) == (5, ("anna", "bert", "cleo"))


def test_the_next_change_waits_until_a_quorum_knows_the_last_one() -> None:
    founded = voters(2, *NAMES)
    ignorant = view(*NAMES, "dora", epoch=2, knows={"bert": (0, 1), "cleo": (0, 1)})
    assert changed((*NAMES, "dora"), founded, ignorant) is None
    enough = view(*NAMES, "dora", epoch=2, knows={"cleo": (0, 1)})
    assert changed((*NAMES, "dora"), founded, enough) == (3, ("anna", "bert", "cleo", "dora"))


def test_a_leader_that_leaves_goes_last() -> None:
    seen = view(*NAMES, epoch=1)
    assert changed(("cleo",), voters(1, *NAMES), seen) == (2, ("anna", "cleo"))
    assert changed(("cleo",), voters(2, "anna", "cleo"), view("anna", "cleo", epoch=2)) == (
        3,
        ("cleo",),
    )


def test_a_new_voter_takes_a_free_slot_and_the_others_keep_theirs() -> None:
    founded = FoundedVoters(
        epoch=1, revision=7, names=("anna", "cleo"), slots={"anna": 0, "cleo": 2}
    )
    after = change(tree(*NAMES), "anna", view(*NAMES, epoch=1), founded, 9)
    assert after is not None
    assert after.slots == {"anna": 0, "bert": 1, "cleo": 2}
    assert after.revision == 9


@pytest.mark.parametrize("wanted", [("anna",), ("anna", "dora"), ("dora", "eve", "finn")])
def test_any_two_sets_that_follow_each_other_share_a_voter_in_every_quorum(
    wanted: tuple[str, ...],
) -> None:
    """Whoever two such sets would choose, one voter at least would have to say yes to both."""
    founded = voters(1, *NAMES)
    everybody = (*NAMES, *wanted)
    for _ in range(12):
        after = change(tree(*wanted), "anna", view(*everybody, epoch=founded.epoch), founded, 9)
        if after is None:
            break
        assert len({*after.names} ^ {*founded.names}) == 1
        for one, other in itertools.product(quorums(founded), quorums(after)):
            assert one & other
        founded = after
    assert set(founded.names) == set(wanted)


def quorums(founded: FoundedVoters) -> list[set[str]]:
    size = Voters(names=founded.names).quorum
    return [set(some) for some in itertools.combinations(founded.names, size)]


# --- with everything around it ----------------------------------------------------------------------------


def test_the_heartbeats_are_told_of_a_roster_once_and_of_each_change() -> None:
    wanted = tree(*NAMES)
    house = parliament(wanted, pool(wanted))
    house.elect("anna")
    house.rest()
    told = [effect for effect in house["bert"].effects if isinstance(effect, Muster)]
    assert len(told) == 1
    assert told[0].roster.names == tuple(sorted(NAMES))


def test_a_follower_changes_no_voters_and_a_leader_does() -> None:
    wanted = tree(*NAMES)
    house = parliament(wanted, pool(wanted))
    founded = voters(1, "anna", "bert")
    fact = type(next(iter(house["anna"].ledger.facts.values())))(
        key="voters", term=1, seq=9, at_epoch_s=0.0, value=founded
    )
    for member in house.living:
        house._take(member, [fact])
    house.pass_s(10.0)
    assert house["anna"].ledger.get("voters", FoundedVoters) == founded
    house.elect("anna")
    house.pass_s(20.0)
    for member in house.living:
        after = member.ledger.get("voters", FoundedVoters)
        assert after is not None
        assert (after.term, after.epoch) == (house.term, 3)
        assert after.names == ("anna", "bert", "cleo")
    shared = [
        (effect.fact.value.term, effect.fact.value.names)
        for member in house.living
        for effect in member.effects
        if isinstance(effect, Share) and isinstance(effect.fact.value, FoundedVoters)
    ]
    assert shared == [(house.term, founded.names), (house.term, ("anna", "bert", "cleo"))]
