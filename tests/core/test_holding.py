"""When a hold counts: the acting leader has it, and no one node can lose it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pytest
from msgspec.structs import replace

from membership.ledger import Fact, Hold, Ledger, Withdrawn
from membership.roster import Timing, Voters
from membership.view import Peer, PeerState, View, single, unknown
from reconciler.holding import (
    HOLDS,
    Spread,
    heard_of,
    hold,
    kept,
    not_everywhere,
    noted,
    release,
    telling,
    to_be_told,
    waits_for,
)

NODES = ("n1", "n2", "n3", "n4", "n5")
TIMING = Timing()
NOW_S = 100.0


def view(
    leader: str | None,
    *,
    voters: tuple[str, ...] = NODES,
    engine: str = "builtin",
    until_s: float = NOW_S + 5.0,
    acts_from_s: float = 0.0,
) -> View:
    return View(
        me="n1",
        term=4,
        leader=leader,
        lead_until_s=until_s if leader == "n1" else 0.0,
        acts_from_s=acts_from_s if leader == "n1" else 0.0,
        peers={name: Peer(state=PeerState.ALIVE) for name in NODES},
        engine=engine,
        voters=Voters(epoch=1 if voters else 0, revision=1, names=voters),
    )


def waits(
    seen: View,
    *have: str,
    led_s: float = 1_000.0,
    kept_s: float = 1_000.0,
    alone: bool = False,
) -> str:
    """`led_s`, `kept_s`: for how long the leader has been seen, and enough have had it."""
    spread = stored(seen, *have, alone=alone)
    since_s = NOW_S - kept_s if kept(spread) else None
    return waits_for(
        replace(spread, led_since_s=NOW_S - led_s, kept_since_s=since_s), TIMING, NOW_S
    )


def stored(seen: View, *have: str, alone: bool = False) -> Spread:
    return Spread(view=seen, led_since_s=0.0, have=frozenset(have), alone=alone)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_once_it_is_kept_no_quorum_is_without_it(count: int) -> None:
    names = NODES[:count]
    seen = view("n1", voters=names)
    quorum = seen.voters.quorum
    for size in range(1, count + 1):
        for have in combinations(names, size):
            meets_all = all(set(have) & set(some) for some in combinations(names, quorum))
            if kept(stored(seen, *have)):
                assert meets_all
                assert size > 1 or count == 1, "one node could lose it"


def test_a_leader_that_acts_has_it_and_so_has_enough() -> None:
    assert waits(view("n1"), "n1", "n4", "n5") == ""
    assert waits(view("n1"), "n1", "n4") == "1 of n2, n3, n5 to store it"
    assert waits(view("n1"), "n1") == "2 of n2, n3, n4, n5 to store it"


def test_of_two_voters_both_are_needed() -> None:
    """With a shared disk either of them may lead alone."""
    assert waits(view("n1", voters=("n1", "n2")), "n1") == "n2 to store it"
    assert waits(view("n1", voters=("n1", "n2")), "n1", "n2") == ""


def test_of_two_voters_the_dead_one_is_not_waited_for_once_the_pool_knows_that_we_lead_alone() -> (
    None
):
    """The pool tells it, when it leads next, that it has missed something: it holds."""
    two = view("n1", voters=("n1", "n2"))
    assert waits(two, "n1", alone=True) == ""
    over = view("n1", voters=("n1", "n2"), until_s=NOW_S)
    assert waits(over, "n1", alone=True) == "this node's own lease, which is over"


def test_one_voter_is_enough_for_itself() -> None:
    assert waits(view("n1", voters=("n1",)), "n1") == ""


def test_to_lead_by_name_is_not_to_lead() -> None:
    """Its lease is over: another one may have been chosen already."""
    over = view("n1", until_s=NOW_S)
    assert waits(over, "n1", "n4", "n5") == "this node's own lease, which is over"


def test_a_leader_that_may_not_act_yet_waits_for_its_predecessor() -> None:
    early = view("n1", acts_from_s=NOW_S + 3.0)
    assert waits(early, "n1", "n4", "n5").endswith("to end: 3 s")


def test_another_leader_has_to_have_it() -> None:
    assert waits(view("n2"), "n1", "n4", "n5") == "n2, which leads, to store it"
    assert waits(view("n2"), "n1", "n2") == "1 of n3, n4, n5 to store it"
    assert waits(view("n2"), "n1", "n2", "n5") == ""


def test_of_a_new_leader_it_is_not_known_that_the_old_one_has_ended() -> None:
    settled_s = TIMING.wait_s
    assert waits(view("n2"), "n1", "n2", "n5", led_s=settled_s) == ""
    assert waits(view("n2"), "n1", "n2", "n5", led_s=settled_s - 2.0).endswith("to end: 2 s")


@pytest.mark.parametrize(("led_s", "kept_s"), [(3.0, 1_000.0), (1_000.0, 3.0), (3.0, 2.0)])
def test_with_nobody_to_lead_a_lease_is_waited_for(led_s: float, kept_s: float) -> None:
    left_s = TIMING.wait_s - min(led_s, kept_s)
    told = waits(view(None), "n1", "n4", "n5", led_s=led_s, kept_s=kept_s)
    assert told == f"any lease that is not seen from here to end: {left_s:.0f} s"
    long_ago = TIMING.wait_s + 0.001
    assert waits(view(None), "n1", "n4", "n5", led_s=long_ago, kept_s=long_ago) == ""


def test_who_is_no_voter_does_not_count_itself() -> None:
    outside = view("n2", voters=("n2", "n3", "n4"))
    assert waits(outside, "n1", "n2") == "1 of n3, n4 to store it"
    assert waits(outside, "n1", "n2", "n3") == ""


@pytest.mark.parametrize("given", [{"voters": ()}, {"engine": "etcd"}], ids=["not founded", "etcd"])
def test_where_any_peer_may_lead_all_have_to_have_it(given: dict[str, str]) -> None:
    nobody = view(None, **given)  # type: ignore[arg-type]
    assert waits(nobody, "n1", "n3", "n4", "n5") == "n2 to store it"
    assert waits(nobody, *NODES) == ""


def test_who_is_dead_will_hear_of_it_from_whoever_leads() -> None:
    seen = view("n3", engine="etcd")
    seen = replace(seen, peers={**seen.peers, "n2": Peer(state=PeerState.DEAD)})
    assert waits(seen, "n1", "n3", "n4", "n5") == ""


def test_a_node_without_a_view_knows_of_nobody_whom_it_would_stop() -> None:
    blind = unknown("n1", "builtin", 4, "cxm-heartbeatd does not say anything")
    assert waits(blind, *NODES).startswith("cxm-heartbeatd of this node")
    assert to_be_told(blind) == frozenset()


def test_one_that_is_alone_waits_for_nobody() -> None:
    assert waits(single("n1", 1), "n1", led_s=0.0, kept_s=0.0) == ""


def test_it_is_brought_to_those_that_count_and_to_the_leader() -> None:
    assert to_be_told(view("n5", voters=("n1", "n2", "n3"))) == {"n2", "n3", "n5"}
    assert to_be_told(view(None)) == {"n2", "n3", "n4", "n5"}


def test_one_that_does_not_count_says_where_it_stands_and_what_to_do() -> None:
    spread = Spread(view=view("n2"), led_since_s=0.0, have=frozenset(("n1", "n4", "n5")))
    text = not_everywhere(hold("H-1"), spread, "n2, which leads, to store it")
    assert "H-1 is in force where it is stored: on n1, n4, n5; not known to be on n2, n3." in text
    assert "cxm members" in text
    assert "may go on" in text
    assert "Nobody leads" not in text
    nobody = replace(spread, view=view(None))
    assert "so nothing is begun as it is" in not_everywhere(hold("H-1"), nobody, "n2 to store it")
    text = not_everywhere(release("H-1"), spread, "n2, which leads, to store it")
    assert "the release of H-1 is in force where it is stored: on n1, n4, n5" in text
    assert "it is held there" in text


# --- what heartbeats tell of holds ----------------------------------------------------------------------


def ledger(*ids: str, released: tuple[str, ...] = ()) -> Ledger:
    values: dict[str, Hold | Withdrawn] = {
        id_: Hold(id=id_, reason="a look", by="alice") for id_ in ids
    }
    values |= {id_: Withdrawn(by="bob") for id_ in released}
    facts = [
        Fact(key=f"hold/{id_}", term=4, seq=seq, at_epoch_s=0.0, value=value)
        for seq, (id_, value) in enumerate(values.items(), start=1)
    ]
    return Ledger().merge(facts)


def hearing(**notes: Mapping[str, str]) -> View:
    """As n1 sees it; what the heartbeats of each tell."""
    seen = view("n1")
    peers = {name: replace(peer, notes=notes.get(name, {})) for name, peer in seen.peers.items()}
    return replace(seen, peers=peers)


def test_heartbeats_tell_of_what_stands_and_of_the_latest_where_it_is_much() -> None:
    assert noted(ledger()) == {}
    assert noted(ledger("b", "a", released=("c",))) == {HOLDS: "b a"}
    assert noted(ledger("e", "d", "c", "b", "a")) == {HOLDS: "d c b a"}


def test_what_is_heard_of_stands_here_too_unless_it_or_its_end_is_known() -> None:
    seen = hearing(n1={HOLDS: "mine"}, n2={HOLDS: "a b"}, n3={HOLDS: "b c"})
    found = list(heard_of(seen, ledger("a", released=("c",))))
    reason = "n3 holds, and tells why once its ledger can be read"
    assert found == [Hold(id="b", reason=reason, by="n3")]
    assert list(heard_of(hearing(), ledger())) == []


def test_who_tells_of_a_hold_has_it() -> None:
    seen = hearing(n2={HOLDS: "a ab"}, n3={HOLDS: "ab"})
    assert telling(seen, "ab") == {"n2", "n3"}
    assert telling(seen, "a") == {"n2"}
    assert telling(seen, "") == frozenset()
