"""The election by itself: who gets a vote, what binds, how long a lease is, and when a leader may act."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from membership.election import DISK_VOTER, TABLE, Election, Role, Turn, Vote
from membership.heartbeat import Beat
from membership.roster import EFFECT_S, Member, Roster, Timing, Voters

TIMING = Timing(interval_s=1.0, suspect_after_s=5.0, dead_after_s=10.0)
PROMISE_S = TIMING.promise_s


def roster(*names: str, me: str = "a", disk: str | None = None) -> Roster:
    return Roster(
        cluster_id="c",
        me=me,
        members=tuple(Member(name=name) for name in names),
        voters=Voters(epoch=3, names=names, disk=disk is not None),
        timing=TIMING,
        disk=disk,
    )


def election(*names: str, vote: Vote | None = None, disk: str | None = None) -> Election:
    """Node `a` among these, begun at 0."""
    return Election(roster(*(names or "abc"), disk=disk), vote or Vote(term=4), Random(1), 0.0)


def free(*names: str, disk: str | None = None) -> Election:
    """One whose first promise is over at 100."""
    made = election(*names, disk=disk)
    tick(made, 100.0, may_stand=False)
    return made


def tick(
    made: Election,
    now_s: float,
    *,
    may_stand: bool = True,
    current: bool = True,
    leader_alive: bool = False,
) -> None:
    made.tick(now_s, may_stand=may_stand, current=current, leader_alive=leader_alive)


def asking(made: Election, now_s: float = 100.0) -> float:
    """Let it stand; the moment at which it did."""
    while made.role is not Role.ASKING:
        tick(made, now_s)
        now_s += 0.25
    made.propose(0, 0)
    made.advance(now_s)
    return now_s


def leading(*names: str, disk: str | None = None) -> tuple[Election, float]:
    made = free(*names, disk=disk)
    now_s = asking(made)
    for _ in range(2):
        for voter in made.roster.voters.names[1 : made.quorum]:
            made.agreed(voter, now_s, now_s)
    assert made.role is Role.LEADER
    return made, now_s


def says(role: Role, sender: str = "b", term: int = 5, epoch: int = 3, **more: object) -> Beat:
    said = Beat(
        cluster="c",
        sender=sender,
        generation=1,
        nonce=b"n",
        seq=9,
        channel=0,
        role=role.value,
        term=term,
        epoch=epoch,
    )
    return replace(said, **more)


def answer(made: Election, beat: Beat, now_s: float) -> str:
    ack = made.heard(beat, now_s)
    return ack.answer if ack is not None else ""


def test_the_table_leads_up_one_step_at_a_time_and_down_at_once() -> None:
    up = [Role.FOLLOWER, Role.ASKING, Role.CANDIDATE, Role.LEADER]
    steps = {role: TABLE.get((role, Turn.QUORUM)) for role in up}
    assert steps == {
        Role.FOLLOWER: None,
        Role.ASKING: Role.CANDIDATE,
        Role.CANDIDATE: Role.LEADER,
        Role.LEADER: None,
    }
    assert {TABLE[role, Turn.YIELD] for role in up[1:]} == {Role.FOLLOWER}


def test_who_starts_keeps_a_full_promise_first() -> None:
    """It may have agreed to a leader just before it fell, and have forgotten whom."""
    made = election()
    assert answer(made, says(Role.CANDIDATE), PROMISE_S - 0.01) == "no"
    assert made.vote == Vote(term=4)
    assert answer(made, says(Role.CANDIDATE), PROMISE_S + 0.01) == "yes"


def test_one_vote_a_term() -> None:
    made = free()
    assert answer(made, says(Role.CANDIDATE), 100.0) == "yes"
    assert answer(made, says(Role.CANDIDATE), 100.1) == "yes"
    assert answer(made, says(Role.CANDIDATE, "c"), 200.0) == "no"
    assert answer(made, says(Role.CANDIDATE, "c", term=4), 200.0) == "no"
    assert answer(made, says(Role.CANDIDATE, "c", term=6), 200.0) == "yes"


def test_a_vote_that_was_given_before_a_restart_is_kept() -> None:
    made = election(vote=Vote(term=5, voted_for="c"))
    assert answer(made, says(Role.CANDIDATE, "b"), 100.0) == "no"
    assert answer(made, says(Role.CANDIDATE, "c"), 100.0) == "yes"


def test_a_promise_binds_for_its_time_against_any_term() -> None:
    made = free()
    assert answer(made, says(Role.LEADER), 100.0) == "yes"
    made.tick(100.1, may_stand=False, current=True, leader_alive=False)
    for role in (Role.ASKING, Role.CANDIDATE):
        assert answer(made, says(role, "c", term=9), 100.0 + PROMISE_S - 0.01) == "no"
    assert made.vote.term == 5
    assert answer(made, says(Role.CANDIDATE, "c", term=9), 100.0 + PROMISE_S + 0.01) == "yes"


def test_nobody_would_vote_while_the_leader_lives() -> None:
    """Whoever asks may merely not hear it."""
    made = free()
    answer(made, says(Role.LEADER), 100.0)
    tick(made, 120.0, leader_alive=True)
    assert answer(made, says(Role.ASKING, "c", term=9), 120.0) == "no"
    tick(made, 121.0, may_stand=False, leader_alive=False)
    assert answer(made, says(Role.ASKING, "c", term=9), 121.0) == "would"
    assert made.vote.term == 5


def test_of_older_voters_a_candidate_gets_no_vote_and_a_leader_no_renewal() -> None:
    made = free()
    assert answer(made, says(Role.ASKING, epoch=2), 100.0) == "no"
    assert answer(made, says(Role.CANDIDATE, epoch=2), 100.0) == "no"
    assert answer(made, says(Role.LEADER, epoch=2), 100.0) == "no"
    assert made.leader == "b"


def test_who_is_no_voter_gets_no_answer_unless_it_knows_later_voters() -> None:
    made = free()
    assert answer(made, says(Role.CANDIDATE, "x"), 100.0) == ""
    assert answer(made, says(Role.CANDIDATE, "x", epoch=4), 100.0) == "yes"


def test_a_leader_of_an_earlier_term_gets_no_renewal() -> None:
    made = free()
    answer(made, says(Role.LEADER, "c", term=8), 100.0)
    assert answer(made, says(Role.LEADER, "b", term=7), 100.1) == "no"
    assert made.leader == "c"


def test_a_leader_yields_to_a_later_one() -> None:
    made, now_s = leading()
    assert answer(made, says(Role.LEADER, term=made.vote.term + 1), now_s) == "yes"
    assert (made.role, made.leader) == (Role.FOLLOWER, "b")


def test_a_leader_votes_for_nobody() -> None:
    made, now_s = leading()
    for role in (Role.ASKING, Role.CANDIDATE):
        assert answer(made, says(role, term=99), now_s + 0.1) == "no"
    assert made.role is Role.LEADER


def test_a_lease_counts_from_when_what_a_quorum_agreed_to_was_sent() -> None:
    made, _ = leading(*"abcde")
    for voter, sent_s in (("b", 204.0), ("c", 202.0), ("d", 203.0), ("e", 101.0)):
        made.agreed(voter, sent_s, 205.0)
    assert made.lease_s == 203.0 + TIMING.lease_s


def test_an_agreement_that_comes_late_shortens_nothing() -> None:
    made, _ = leading()
    made.agreed("b", 203.0, 204.0)
    made.agreed("b", 201.0, 205.0)
    assert made.lease_s == 203.0 + TIMING.lease_s


def test_a_leader_whose_lease_is_over_leads_no_more() -> None:
    made, _ = leading()
    made.agreed("b", 200.0, 200.0)
    roles = []
    for now_s in (204.9, 205.0):
        tick(made, now_s)
        roles.append(made.role)
    assert roles == [Role.LEADER, Role.FOLLOWER]


def test_a_new_leader_waits_until_what_the_old_one_began_is_over() -> None:
    made, now_s = leading()
    standing = made.standing()
    assert standing.leader == "a"
    assert standing.acts_from_s == now_s + PROMISE_S + EFFECT_S


def test_the_shortest_lease_that_a_voter_counts_by_is_the_lease() -> None:
    made, _ = leading()
    made.told("b", 2.0)
    made.agreed("b", 200.0, 200.0)
    assert made.lease_s == 202.0
    made.told("x", 1.0)
    assert made.lease_s == 202.0


def test_where_the_lease_was_made_shorter_a_promise_is_as_long_as_before() -> None:
    """The leader may not have read of it yet."""
    made = free()
    shorter = replace(TIMING, suspect_after_s=2.0)
    made.follow(replace(made.roster, timing=shorter), 100.0)
    answer(made, says(Role.LEADER), 100.1)
    tick(made, 104.0, may_stand=False)
    assert answer(made, says(Role.CANDIDATE, "c", term=9), 104.0) == "no"


def test_who_was_away_promises_anew() -> None:
    made = free()
    made.restart(300.0)
    assert answer(made, says(Role.CANDIDATE), 300.0 + PROMISE_S - 0.01) == "no"
    assert answer(made, says(Role.CANDIDATE), 300.0 + PROMISE_S + 0.01) == "yes"


@pytest.mark.parametrize(("heir", "role"), [("a", Role.ASKING), ("c", Role.FOLLOWER)])
def test_who_stepped_down_binds_nobody_and_its_heir_goes_first(heir: str, role: Role) -> None:
    made = free()
    answer(made, says(Role.LEADER), 100.0)
    made.heard(says(Role.FOLLOWER, resigned=5, successor=heir), 100.5)
    assert answer(made, says(Role.ASKING, "c", term=9), 100.55) == "would"
    tick(made, 100.6)
    assert made.role is role


def test_a_resignation_of_an_earlier_term_releases_nobody() -> None:
    made = free()
    answer(made, says(Role.LEADER, term=6), 100.0)
    made.heard(says(Role.FOLLOWER, term=6, resigned=5, successor="c"), 100.5)
    tick(made, 100.6, may_stand=False)
    assert answer(made, says(Role.CANDIDATE, "c", term=9), 100.7) == "no"


def test_of_a_lost_resignation_nothing_comes_but_a_wait() -> None:
    made = free()
    answer(made, says(Role.LEADER), 100.0)
    tick(made, 100.0 + PROMISE_S + 0.01)
    tick(made, 100.0 + PROMISE_S + 2.0)
    assert made.role is Role.ASKING


def test_an_heir_that_cannot_be_reached_holds_the_others_up_for_a_time_only() -> None:
    made = free()
    answer(made, says(Role.LEADER), 100.0)
    made.heard(says(Role.FOLLOWER, resigned=5, successor="c"), 100.5)
    for now_s, role in ((105.0, Role.FOLLOWER), (105.6, Role.FOLLOWER), (108.0, Role.ASKING)):
        tick(made, now_s)
        assert made.role is role


@pytest.mark.parametrize("me", ["a", "b"])
def test_of_two_each_has_every_second_term(me: str) -> None:
    made = Election(roster("a", "b", me=me, disk="/disk"), Vote(term=4), Random(1), 0.0)
    while made.role is not Role.ASKING:
        made.tick(100.0, may_stand=True, current=True, leader_alive=False)
        made.tick(103.0, may_stand=True, current=True, leader_alive=False)
    terms = []
    for floor in (0, 10, 11, 20):
        made.propose(floor, 7)
        terms.append(made.term)
    assert {term % 2 for term in terms} == {"ab".index(me)}
    assert min(terms) > 7
    assert terms[-1] > 20


def test_a_disk_counts_for_two_voters_and_for_no_others() -> None:
    for names, role in (("ab", Role.CANDIDATE), ("abc", Role.ASKING)):
        made = free(*names, disk="/disk")
        now_s = asking(made)
        made.agreed(DISK_VOTER, now_s, now_s)
        assert made.role is role


def test_who_is_no_voter_agrees_to_nothing() -> None:
    made = free()
    now_s = asking(made)
    made.agreed("x", now_s, now_s)
    assert made.role is Role.ASKING


def test_a_candidate_makes_its_own_vote_durable_and_counts_anew() -> None:
    """Who would vote has not voted."""
    made = free()
    now_s = asking(made)
    made.agreed("b", now_s, now_s)
    assert made.role is Role.CANDIDATE
    assert made.vote == Vote(term=5, voted_for="a")
    made.advance(now_s)
    assert made.role is Role.CANDIDATE


def test_an_older_node_that_knows_a_higher_term_ends_a_candidacy_not_for_nothing() -> None:
    made = free()
    now_s = asking(made)
    made.agreed("b", now_s, now_s)
    made.refused(5)
    assert made.role is Role.CANDIDATE
    made.refused(40)
    assert (made.role, made.vote) == (Role.FOLLOWER, Vote(term=40))
    asking(made, now_s + 0.1)
    assert made.term == 41


def test_a_change_of_voters_ends_an_election_and_not_a_leadership() -> None:
    later = Voters(epoch=4, names=("a", "b", "c", "d"))
    standing = free()
    asking(standing)
    standing.follow(replace(standing.roster, voters=later), 101.0)
    assert standing.role is Role.FOLLOWER
    made, _ = leading()
    made.agreed("b", 200.0, 200.0)
    made.follow(replace(made.roster, voters=later), 201.0)
    assert made.role is Role.LEADER
    assert made.lease_s == 0.0
    made.agreed("c", 200.5, 201.0)
    assert made.lease_s == 200.0 + TIMING.lease_s


def test_what_a_removed_voter_agreed_to_counts_no_more() -> None:
    made, _ = leading()
    made.agreed("c", 200.0, 200.0)
    made.agreed("b", 199.0, 200.0)
    made.follow(replace(made.roster, voters=Voters(epoch=4, names=("a", "b"))), 200.0)
    assert made.lease_s == 199.0 + TIMING.lease_s


def test_a_leader_that_is_voted_out_leads_no_more() -> None:
    made, _ = leading()
    made.agreed("b", 200.0, 200.0)
    made.follow(replace(made.roster, voters=Voters(epoch=4, names=("b", "c"))), 200.1)
    tick(made, 200.2)
    assert made.role is Role.FOLLOWER
    tick(made, 300.0)
    tick(made, 310.0)
    assert made.role is Role.FOLLOWER


def test_who_knows_of_later_voters_does_not_stand() -> None:
    made = free()
    for now_s in (101.0, 105.0, 110.0):
        tick(made, now_s, current=False)
    assert made.role is Role.FOLLOWER
    asking(made, 111.0)
    tick(made, 115.0, current=False)
    assert made.role is Role.FOLLOWER


def test_a_higher_ballot_on_the_disk_ends_a_leadership() -> None:
    made, _ = leading("a", "b", disk="/disk")
    mine = made.ballot
    made.agreed(DISK_VOTER, 200.0, 200.0)
    made.beaten(mine + 1)
    assert (made.role, made.vote.term) == (Role.FOLLOWER, mine + 1)
