"""Two copies of the ledger become one, whatever the order in which facts arrive."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.clock import Now
from membership.ledger import (
    TOMBSTONES,
    Drain,
    Fact,
    FactValue,
    FoundedVoters,
    Freeze,
    Hold,
    Ledger,
    Opaque,
    Withdrawn,
    read,
    written,
)

VALUES: st.SearchStrategy[FactValue] = st.one_of(
    st.builds(Withdrawn, by=st.sampled_from(["a", "b"])),
    st.builds(Hold, id=st.just("H-1"), reason=st.sampled_from(["x", "y"]), by=st.just("a")),
    st.builds(
        Drain, node=st.just("xen1"), until_epoch_s=st.none(), reason=st.just(""), by=st.just("a")
    ),
    st.builds(
        FoundedVoters, epoch=st.integers(1, 3), revision=st.just(1), names=st.just(("xen1",))
    ),
)
FACTS = st.lists(
    st.builds(
        Fact,
        key=st.sampled_from(["hold/1", "drain/xen1", "voters"]),
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


@given(FACTS, FACTS)
def test_digests_are_the_same_when_the_ledgers_are(one: list[Fact], other: list[Fact]) -> None:
    ours, theirs = ledger(one), ledger(other)
    assert (ours.digest == theirs.digest) == (ours.facts == theirs.facts)
    assert ledger(list(ours.facts.values())[::-1]).digest == ours.digest


@given(FACTS, FACTS)
def test_what_differs_is_all_that_has_to_be_told(one: list[Fact], other: list[Fact]) -> None:
    ours, theirs = ledger(one), ledger(other)
    news = theirs.news_for(ours.described())
    asked = theirs.lacking(ours.described())
    merged = ours.merge(news)
    assert merged == ours.merge(theirs.facts.values())
    assert theirs.merge(merged.facts[key] for key in asked) == merged
    both = {key for key, fact in ours.facts.items() if theirs.facts.get(key) == fact}
    assert both.isdisjoint({*asked, *(fact.key for fact in news)})


def a_fact(key: str, value: FactValue, *, term: int = 1, seq: int = 1) -> Fact:
    return Fact(key=key, term=term, seq=seq, at_epoch_s=0.0, value=value)


def test_a_hold_is_ended_by_its_release_alone() -> None:
    hold, gone = Hold(id="1", reason="r", by="a"), Withdrawn(by="b")
    released = ledger([a_fact("hold/1", gone)])
    assert released.merge([a_fact("hold/1", hold, term=9, seq=9)]).holds == ()
    # What is no hold comes back when a later term says so.
    drain = Drain(node="xen1", until_epoch_s=None, reason="", by="a")
    undrained = ledger([a_fact("drain/xen1", gone)])
    assert undrained.merge([a_fact("drain/xen1", drain, term=2)]).drains() == {"xen1": drain}


def test_voters_go_by_their_epoch() -> None:
    def voters(epoch: int) -> FoundedVoters:
        return FoundedVoters(epoch=epoch, revision=1, names=("xen1",))

    merged = ledger([a_fact("voters", voters(2)), a_fact("voters", voters(1), term=9, seq=9)])
    assert merged.get("voters", FoundedVoters) == voters(2)


# --- other versions -------------------------------------------------------------------------------

NEW = b'{"key":"shot/xen4","term":3,"seq":7,"at_epoch_s":1.5,"value":{"fact":"shot","n":[1e3]}}'
MORE = (
    b'{"key":"hold/1","term":1,"seq":1,"at_epoch_s":0.0,'
    b'"value":{"fact":"hold","id":"1","reason":"r","by":"a","scope":"fencing"},"signed":"x"}'
)


@given(FACTS)
def test_what_this_version_writes_it_reads(facts: list[Fact]) -> None:
    assert [read(written(fact)) for fact in facts] == facts
    assert all(fact.whole == "" for fact in facts)


@pytest.mark.parametrize("text", [NEW, MORE])
def test_a_fact_that_is_not_all_understood_is_passed_on_as_it_was(text: bytes) -> None:
    fact = read(text)
    assert written(fact) == text
    assert read(written(fact)) == fact
    spaced = msgspec.json.format(text, indent=2)
    assert b"\n" in spaced
    assert read(spaced) == fact


def test_what_is_understood_of_it_counts() -> None:
    held = ledger([read(NEW), read(MORE)])
    assert held.term == 3
    assert held.holds == (Hold(id="1", reason="r", by="a"),)
    assert held.values(Opaque) == (Opaque(kind="shot"),)


def test_a_hold_that_is_not_understood_holds_until_its_release() -> None:
    held = ledger([read(NEW.replace(b"shot/xen4", b"hold/H-7"))])
    (hold,) = held.holds
    assert (hold.id, "newer version" in hold.reason) == ("H-7", True)
    assert held.merge([a_fact("hold/H-7", Withdrawn(by="a"))]).holds == ()


def test_of_two_versions_of_one_fact_every_peer_keeps_the_same() -> None:
    less = a_fact("hold/1", Hold(id="1", reason="r", by="a"))
    one, other = ledger([less]).merge([read(MORE)]), ledger([read(MORE)]).merge([less])
    assert one == other
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b'{"key":"k"}',
        NEW.replace(b'"term":3', b'"term":-3'),
        NEW.replace(b'"term":3', b'"term":9223372036854775808'),
        NEW.replace(b'"term":3', b'"term":"3"'),
        NEW.replace(b'"shot"', b'"hold"'),
        NEW.replace(b'"shot"', b"7"),
        NEW.replace(b"[1e3]", b'"\xff"'),
        NEW.replace(b"[1e3]", b"[" * 100_000),
        NEW.replace(b"[1e3]", b'"\n"'),
    ],
)
def test_what_is_no_fact_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(text)


def test_nobody_says_how_a_fact_was_written_but_its_text() -> None:
    plain = written(a_fact("drain/xen1", Withdrawn(by="a")))
    forged = plain[:-1] + b',"whole":"{}"}'
    assert written(read(forged)) == forged


def test_a_freeze_ends_by_the_wall_clock_that_peers_share() -> None:
    freeze = Freeze(object="vm/a", scopes=("intent",), until_epoch_s=100.0, reason="", by="a")
    held = ledger([Fact(key="freeze/vm/a", term=1, seq=1, at_epoch_s=0.0, value=freeze)])
    assert held.freezes(Now(mono_s=0.0, epoch_s=99.0)) == (freeze,)
    assert held.next_expiry(Now(mono_s=0.0, epoch_s=99.0)) == 1.0
    assert held.freezes(Now(mono_s=0.0, epoch_s=100.0)) == ()


def withdrawn(key: str, seq: int) -> Fact:
    return Fact(key=key, term=2, seq=seq, at_epoch_s=0.0, value=Withdrawn(by="x"))


@pytest.mark.parametrize("prefix", TOMBSTONES)
def test_of_what_was_withdrawn_the_newest_are_kept(prefix: str) -> None:
    most = TOMBSTONES[prefix]
    gone = [withdrawn(f"{prefix}{seq}", seq) for seq in range(1, most + 4)]
    at_once = Ledger().merge(gone)
    assert len(at_once.facts) == most
    assert f"{prefix}3" not in at_once.facts
    ledger = Ledger().merge(gone[: most - 1])
    for fact in gone[most - 1 :]:
        ledger = ledger.merge([fact])
    assert (ledger, ledger.digest) == (at_once, at_once.digest)
    assert Ledger().merge(ledger.facts.values()).digest == ledger.digest


def test_a_copy_that_was_away_brings_no_released_hold_back() -> None:
    old = Fact(
        key="hold/H1", term=1, seq=1, at_epoch_s=0.0, value=Hold(id="H1", reason="r", by="x")
    )
    released = Ledger().merge([old, withdrawn("hold/H1", 2)])
    others = [withdrawn(f"hold/H{n}", n) for n in range(3, TOMBSTONES["hold/"] + 2)]
    assert released.merge(others).merge([old]).holds == ()
    assert Ledger().merge([old]).merge(released.facts.values()).holds == ()
