"""The engine `etcd` without its wire: who takes the key, what it may do then, and never two of them."""

from __future__ import annotations

import pytest

from membership.lease import (
    Answer,
    Base,
    Contender,
    Done,
    Heir,
    Holder,
    LetGo,
    Look,
    Open,
    Opened,
    Renew,
    Renewed,
    Revoke,
    Seen,
    Seize,
)
from membership.roster import Timing
from membership.view import Standing
from tests.membership.contest import Contest

TIMING = Timing(interval_s=1.0, suspect_after_s=5.0)
SEEDS = 150


def contender(wants: bool = True, floor: int = 0) -> Contender:
    made = Contender(me="a", nonce="n1", timing=TIMING)
    made.stand(wants, floor, 0.0)
    return made


def held(by: str = "a", nonce: str = "n1", revision: int = 8, lease: int = 70) -> Holder:
    return Holder(node=by, nonce=nonce, lease=lease, revision=revision)


def settle(contender: Contender, answer: Answer, at_s: float, took_s: float = 0.1) -> None:
    """What is asked at `at_s` is answered `took_s` later."""
    request = contender.next(at_s)
    assert request is not None
    contender.answered(request, answer, at_s, at_s + took_s)


def leader(floor: int = 0) -> Contender:
    """Asked for its lease at 10.2 s, saw at 10.6 s that it holds the key since revision 8."""
    leading = contender(floor=floor)
    settle(leading, Seen(revision=7), 10.0)
    settle(leading, Opened(lease=70), 10.2)
    settle(leading, Done(), 10.4)
    settle(leading, Seen(revision=8, holder=held()), 10.5)
    return leading


def test_a_free_key_is_seized_with_a_lease_of_whole_seconds() -> None:
    made = Contender(me="a", nonce="n1", timing=Timing(interval_s=0.5, suspect_after_s=2.3))
    made.stand(True, 0, 0.0)
    settle(made, Seen(revision=7), 10.0)
    assert made.next(10.2) == Open(ttl_s=3)
    settle(made, Opened(lease=70), 10.2)
    assert made.next(10.4) == Seize(lease=70, base=Base(base=0, lease_s=2.3), seen=Seen(revision=7))


def test_the_lease_counts_from_when_it_was_asked_for_and_the_wait_from_when_the_key_was_seen() -> (
    None
):
    standing = leader().standing(10.7)
    assert standing == Standing(
        term=8, leader="a", acts_from_s=10.6 + TIMING.wait_s, lead_until_s=10.2 + TIMING.lease_s
    )


def test_a_renewal_counts_from_when_it_was_sent_once_the_key_is_seen_after_it() -> None:
    leading = leader()
    assert leading.next(11.5) is None
    assert leading.next(11.7) == Renew(lease=70)
    settle(leading, Renewed(lives=True), 11.7)
    assert leading.standing(11.9).lead_until_s == pytest.approx(15.2)
    settle(leading, Seen(revision=9, holder=held()), 11.9)
    assert leading.standing(12.0).lead_until_s == pytest.approx(16.7)
    assert leading.standing(12.0).acts_from_s == pytest.approx(10.6 + TIMING.wait_s)


def test_a_renewal_that_is_refused_or_not_answered_prolongs_nothing() -> None:
    leading = leader()
    settle(leading, Renewed(lives=False), 11.7)
    settle(leading, Seen(revision=9, holder=held()), 11.9)
    assert leading.standing(12.0).lead_until_s == pytest.approx(15.2)
    assert leading.next(13.0) == Renew(lease=70)
    leading.failed(14.0)
    assert leading.standing(14.0).leader == "a"
    assert leading.standing(15.2).leader is None


@pytest.mark.parametrize("seen", [None, held(by="b", nonce="m1", revision=9)])
def test_who_sees_the_key_gone_leads_no_more(seen: Holder | None) -> None:
    leading = leader()
    settle(leading, Renewed(lives=True), 11.7)
    settle(leading, Seen(revision=9, holder=seen), 11.9)
    assert leading.standing(12.0) == Standing(term=9 if seen else 8, leader="b" if seen else None)
    assert not leading.claims


def test_what_lapsed_is_let_go_and_led_again_in_a_new_term_only() -> None:
    """Its own key may still be there: the store was away, not the lease."""
    leading = leader()
    assert leading.next(15.3) == LetGo(revision=8, lease=70)
    leading.failed(16.0)
    settle(leading, Seen(revision=9, holder=held()), 16.6)
    assert leading.standing(16.8).leader is None
    assert leading.next(16.8) == LetGo(revision=8, lease=70)
    settle(leading, Done(), 16.8)
    assert leading.next(17.0) == Revoke(lease=70)


def test_what_an_earlier_run_took_is_waited_for() -> None:
    again = contender()
    settle(again, Seen(revision=8, holder=held(nonce="n0")), 10.0)
    assert again.standing(10.1) == Standing(term=8)
    assert again.next(11.1) == Look()
    assert "has not ended" in again.reason(10.2)


def test_an_attempt_that_was_given_up_is_not_led_by_when_it_succeeds_late() -> None:
    late = contender()
    settle(late, Seen(revision=7), 10.0)
    settle(late, Opened(lease=70), 10.2)
    assert isinstance(late.next(10.4), Seize)
    late.failed(11.4)
    settle(late, Seen(revision=7), 11.9)
    settle(late, Seen(revision=7), 13.1)
    settle(late, Opened(lease=71), 13.3)
    assert isinstance(late.next(13.5), Seize)
    late.answered(Seize(lease=71, base=Base(), seen=Seen(revision=7)), Done(), 13.5, 13.6)
    settle(late, Seen(revision=8, holder=held(lease=70)), 13.6)
    assert late.standing(13.7).leader is None
    assert late.next(13.7) == LetGo(revision=8, lease=70)


def test_a_term_above_the_floor_is_reached_by_raising_the_base_with_the_key() -> None:
    made = contender(floor=100)
    settle(made, Seen(revision=7), 10.0)
    settle(made, Opened(lease=70), 10.2)
    seize = made.next(10.4)
    assert isinstance(seize, Seize)
    assert seize.base.base + (seize.seen.revision + 1) == 101


def test_a_floor_below_what_comes_anyway_leaves_the_base_alone() -> None:
    made = contender(floor=17)
    known = Base(base=10, lease_s=5.0)
    settle(made, Seen(revision=7, base=known, base_changed=3), 10.0)
    settle(made, Opened(lease=70), 10.2)
    assert made.next(10.4) == Seize(
        lease=70, base=known, seen=Seen(revision=7, base=known, base_changed=3)
    )


def test_a_leader_goes_where_a_higher_term_is_known_and_stays_where_it_is_its_own() -> None:
    leading = leader()
    leading.stand(True, 8, 11.0)
    assert leading.standing(11.0).leader == "a"
    leading.stand(True, 9, 11.0)
    assert leading.standing(11.0).leader is None
    assert leading.next(11.0) == LetGo(revision=8, lease=70)


def test_a_store_that_went_back_gives_no_term_twice() -> None:
    leading = leader()
    settle(leading, Renewed(lives=True), 11.7)
    settle(leading, Seen(revision=3), 11.9)
    settle(leading, Seen(revision=3), 13.0)
    settle(leading, Opened(lease=4), 13.2)
    seize = leading.next(13.4)
    assert isinstance(seize, Seize)
    assert seize.base.base + seize.seen.revision + 1 == 9


def test_the_wait_is_for_the_longer_lease_of_the_one_before() -> None:
    made = contender()
    before = Base(base=0, lease_s=60.0)
    settle(made, Seen(revision=7, base=before, base_changed=2), 10.0)
    settle(made, Opened(lease=70), 10.2)
    settle(made, Done(), 10.4)
    now = Base(base=0, lease_s=5.0)
    settle(made, Seen(revision=8, base=now, base_changed=8, holder=held()), 10.5)
    assert made.standing(10.7).acts_from_s == pytest.approx(10.6 + 60.0 * 1.01 + 3.0)


def test_handing_over_leaves_the_lease_to_the_heir_and_the_key_to_nobody() -> None:
    leading = leader()
    leading.hand_over("b", 11.0)
    assert leading.standing(11.0).leader is None
    heir = Heir(node="b", by="a")
    assert leading.next(11.0) == LetGo(revision=8, lease=70, heir=heir)
    settle(leading, Done(), 11.0)
    assert not leading.claims
    settle(leading, Seen(revision=9, heir=heir, heir_changed=9), 12.2)
    assert leading.next(13.4) == Look(), "it must not take the key before its heir"
    assert "handed over to b" in leading.reason(12.5)


def test_handing_over_while_something_else_is_asked_still_names_the_heir() -> None:
    leading = leader()
    renewal = leading.next(11.7)
    leading.hand_over("b", 11.75)
    assert renewal is not None
    leading.answered(renewal, Renewed(lives=True), 11.7, 11.8)
    settle(leading, Seen(revision=9, holder=held()), 11.8)
    assert leading.next(11.9) == LetGo(revision=8, lease=70, heir=Heir(node="b", by="a"))


@pytest.mark.parametrize(
    ("heir", "tries"),
    [
        (Heir(node="a", by="b"), True),
        (Heir(node="c", by="b"), False),
        (Heir(node="", by="b"), True),
        (Heir(node="", by="a"), False),
    ],
)
def test_who_may_try_after_a_hand_over(heir: Heir, tries: bool) -> None:
    made = contender()
    settle(made, Seen(revision=7, heir=heir, heir_changed=7), 10.0)
    assert isinstance(made.next(10.1), Open) is tries


def test_who_does_not_want_looks_on_and_seizes_nothing() -> None:
    made = contender(wants=False)
    settle(made, Seen(revision=7), 10.0)
    assert made.next(10.5) is None
    assert made.next(11.2) == Look()


def test_who_changes_its_mind_before_seizing_only_ends_the_lease() -> None:
    made = contender()
    settle(made, Seen(revision=7), 10.0)
    made.stand(False, 0, 10.15)
    settle(made, Opened(lease=70), 10.2)
    assert made.next(10.4) == Revoke(lease=70)


def test_a_follower_that_hears_nothing_for_a_lease_knows_no_leader() -> None:
    made = contender()
    settle(made, Seen(revision=9, holder=held(by="b", nonce="m", revision=9)), 10.0)
    assert made.standing(14.9).leader == "b"
    assert made.ends_s(14.9) == pytest.approx(15.0)
    assert made.standing(15.0) == Standing(term=9)
    assert made.reason(15.0) == "etcd does not answer"


def troubled(seed: int, kind: type[Contender] = Contender) -> Contest:
    contest = Contest(seed, kind=kind)
    for node in contest.nodes:
        contest.stand(node, True)
    for turn in range(1, 60):
        contest.run(turn * 3.0)
        contest.vex()
    return contest


@pytest.mark.parametrize("first", range(0, SEEDS, 30))
def test_in_any_trouble_never_two_act_and_afterwards_one_does(first: int) -> None:
    for seed in range(first, first + 30):
        contest = troubled(seed)
        contest.trouble = False
        for node in contest.nodes:
            contest.stand(node, True)
        start_s = max([contest.now_s, *(node.paused_until_s for node in contest.nodes)])
        contest.run(start_s + 60.0)
        assert contest.broken == [], f"seed {seed}"
        acting = [node.name for node in contest.nodes if node.acts(contest.now_s)]
        assert len(acting) == 1, f"seed {seed}: {acting} act"


class NeverWaits(Contender):
    """Acts as soon as it holds the key."""

    def standing(self, now_s: float) -> Standing:
        told = super().standing(now_s)
        return Standing(term=told.term, leader=told.leader, lead_until_s=told.lead_until_s)


class TrustsRenewals(Contender):
    """Takes a renewal for proof that it still holds the key, and looks no more."""

    def answered(
        self,
        request: Look | Open | Seize | Renew | LetGo | Revoke,
        answer: Answer,
        sent_s: float,
        received_s: float,
    ) -> None:
        super().answered(request, answer, sent_s, received_s)
        if isinstance(answer, Renewed) and self._reign is not None and self._seen is not None:
            self._saw(self._seen, sent_s, received_s)


class CountsFromTheAnswer(Contender):
    """Counts its lease from when it heard that it holds the key, however late that was."""

    def answered(
        self,
        request: Look | Open | Seize | Renew | LetGo | Revoke,
        answer: Answer,
        sent_s: float,
        received_s: float,
    ) -> None:
        if isinstance(answer, Seen):
            self._alive_s = received_s
        super().answered(request, answer, sent_s, received_s)


@pytest.mark.parametrize("kind", [NeverWaits, TrustsRenewals, CountsFromTheAnswer])
def test_the_trouble_finds_what_is_broken_on_purpose(kind: type[Contender]) -> None:
    assert any(troubled(seed, kind).broken for seed in range(300))
