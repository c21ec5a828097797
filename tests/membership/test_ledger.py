"""Two copies of the ledger become one, whatever the order in which facts arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from membership.clock import Now
from membership.ledger import Drain, Fact, FactValue, Freeze, Hold, Ledger, Withdrawn

VALUES: st.SearchStrategy[FactValue] = st.one_of(
    st.builds(Withdrawn, by=st.sampled_from(["a", "b"])),
    st.builds(Hold, id=st.just("H-1"), reason=st.sampled_from(["x", "y"]), by=st.just("a")),
    st.builds(
        Drain, node=st.just("xen1"), until_epoch_s=st.none(), reason=st.just(""), by=st.just("a")
    ),
)
FACTS = st.lists(
    st.builds(
        Fact,
        key=st.sampled_from(["hold/1", "drain/xen1", "freeze/all"]),
        term=st.integers(1, 3),
        seq=st.integers(1, 3),
        at_epoch_s=st.just(0.0),
        value=VALUES,
    ),
    max_size=6,
)


def ledger(facts: list[Fact]) -> Ledger:
    return Ledger().merge(facts)


@given(FACTS, FACTS)
def test_it_does_not_matter_who_merges_whom(one: list[Fact], other: list[Fact]) -> None:
    ours, theirs = ledger(one), ledger(other)
    assert ours.merge(theirs.facts.values()) == theirs.merge(ours.facts.values())


@given(FACTS, FACTS, FACTS)
def test_it_does_not_matter_in_what_groups(a: list[Fact], b: list[Fact], c: list[Fact]) -> None:
    assert ledger(a + b).merge(c) == ledger(a).merge(ledger(b + c).facts.values())


@given(FACTS)
def test_hearing_it_again_changes_nothing(facts: list[Fact]) -> None:
    once = ledger(facts)
    assert once.merge(facts) == once
    assert list(once.facts) == sorted(once.facts)


@given(FACTS)
def test_a_new_fact_of_ours_wins_over_all_that_we_know(facts: list[Fact]) -> None:
    known = ledger(facts)
    mine = Fact(
        key="hold/1", term=known.term, seq=known.next_seq, at_epoch_s=1.0, value=Withdrawn(by="me")
    )
    assert known.merge([mine]).facts["hold/1"] == mine


def test_a_freeze_ends_by_the_wall_clock_that_peers_share() -> None:
    freeze = Freeze(object="vm/a", scopes=("intent",), until_epoch_s=100.0, reason="", by="a")
    held = ledger([Fact(key="freeze/vm/a", term=1, seq=1, at_epoch_s=0.0, value=freeze)])
    assert held.freezes(Now(mono_s=0.0, epoch_s=99.0)) == (freeze,)
    assert held.next_expiry(Now(mono_s=0.0, epoch_s=99.0)) == 1.0
    assert held.freezes(Now(mono_s=0.0, epoch_s=100.0)) == ()
