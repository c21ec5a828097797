"""Who tells people, and when: one node's part, against whatever it sees of the others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import AlarmTold, Fact, Hold, Ledger, TermClaim, Withdrawn
from membership.view import Health, Peer, PeerState, View
from reconciler.pager import GRACE_S, LONGEST_TITLE, Pager, notes
from reconciler.paging import Page, Severity, Situation, over

NAMES = ("anna", "bert", "cleo")
PATIENCE_S = 10.0 + GRACE_S
DEAD, BLIND = PeerState.DEAD, PeerState.BLIND


def view(leader: str | None, *, mute: str = "", **states: PeerState) -> View:
    peers = {name: Peer(state=states.get(name, PeerState.ALIVE)) for name in NAMES}
    health = Health(mute=mute)
    return View(
        me="anna", term=1, leader=leader, lead_until_s=1e9, peers=peers, engine="b", health=health
    )


class Rig:
    """Anna's pager, and the ledger that it notes things in. `key in rig.look(...)`: told at this look."""

    def __init__(self) -> None:
        self.pager = Pager("anna")
        self.ledger = Ledger()
        self.now_s = 100.0
        self.seq = 0
        self.stalled: tuple[object, ...] = ()

    def note(self, key: str, value: Hold | Withdrawn | object) -> None:
        self.seq += 1
        fact = Fact(key=key, term=1, seq=self.seq, at_epoch_s=0.0, value=value)  # type: ignore[arg-type]
        self.ledger = self.ledger.merge([fact])

    def hold(self) -> None:
        self.note("hold/H", Hold(id="H", reason="smoke", by="root"))

    def pages(self, seen: View, after_s: float = 1.0) -> list[Page]:
        """What is to be told, so many seconds later."""
        self.now_s += after_s
        situation = Situation(view=seen, ledger=self.ledger, desired=None, leaderless_s=None)
        return self.pager.due(situation, Now(mono_s=self.now_s, epoch_s=0.0))

    def look(self, seen: View, after_s: float = 1.0) -> list[tuple[str, str]]:
        """Likewise, told at once: its keys and severities."""
        pages = self.pages(seen, after_s)
        for page in pages:
            self.told(page)
        return [(page.key, page.severity.value) for page in pages]

    def told(self, page: Page) -> None:
        _, (key, value) = self.pager.was_told(page)
        self.note(key, value)


HELD = [("hold/H", "critical")]


def test_a_leader_tells_at_once_and_only_once() -> None:
    rig = Rig()
    rig.hold()
    assert rig.look(view("anna")) == HELD
    assert rig.look(view("anna"), 1e6) == []


def test_what_is_on_its_way_is_not_sent_twice() -> None:
    rig = Rig()
    rig.hold()
    (page,) = rig.pages(view("anna"))
    assert rig.pages(view("anna"), 20.0) == []
    rig.told(page)
    assert rig.pages(view("anna")) == []


def test_another_pager_tells_what_was_not_noted() -> None:
    rig = Rig()
    rig.hold()
    rig.pages(view("anna"))
    rig.pager = Pager("anna")
    assert rig.look(view("anna")) == HELD
    rig.pager = Pager("anna")
    assert rig.look(view("anna")) == []


@pytest.mark.parametrize(
    "seen",
    [view(None), view("bert", bert=PeerState.SUSPECT), view("bert", bert=DEAD), view("dora")],
    ids=["nobody", "suspect", "dead", "unknown"],
)
def test_where_nobody_alive_leads_it_is_told_after_some_time(seen: View) -> None:
    rig = Rig()
    rig.look(view("bert"))
    rig.hold()
    assert rig.look(seen) == []
    assert rig.pager.deadline_s == rig.now_s + PATIENCE_S
    assert rig.look(seen, PATIENCE_S - 0.1) == []
    assert ("hold/H", "critical") in rig.look(seen, 0.1)
    assert rig.pager.deadline_s is None


def test_in_a_cluster_that_has_long_had_no_leader_it_is_told_at_once() -> None:
    rig = Rig()
    rig.look(view(None))
    rig.look(view(None), PATIENCE_S)
    rig.hold()
    assert rig.look(view(None)) == HELD


def test_a_leader_that_comes_in_between_is_the_one_to_tell() -> None:
    rig = Rig()
    rig.look(view("bert", cleo=DEAD))
    assert rig.look(view(None, cleo=DEAD), PATIENCE_S - 2.0) == []
    assert rig.look(view("bert", cleo=DEAD)) == []
    assert rig.look(view(None, cleo=DEAD), PATIENCE_S - 2.0) == []


def test_a_hold_alone_is_told_beside_a_living_leader_that_does_not_tell() -> None:
    rig = Rig()
    rig.hold()
    assert rig.look(view("bert", cleo=DEAD)) == []
    assert rig.look(view("bert", cleo=DEAD), PATIENCE_S) == HELD
    assert rig.look(view("bert", cleo=DEAD), 1e6) == []


def test_a_node_that_is_cut_off_and_a_leader_end_nothing_that_the_other_one_tells() -> None:
    """Heartbeats are cut and the peer channel works: each sees in the ledger what the other one told."""
    rig, leader = Rig(), Pager("bert")
    told = []
    cut_off = view(None, bert=DEAD, cleo=DEAD)
    for _ in range(60):
        rig.now_s += 1.0
        now = Now(mono_s=rig.now_s, epoch_s=0.0)
        for pager, seen, unled_s in (
            (rig.pager, cut_off, rig.now_s - 100.0),
            (leader, replace(view("bert"), me="bert"), None),
        ):
            given = Situation(view=seen, ledger=rig.ledger, desired=None, leaderless_s=unled_s)
            for page in pager.due(given, now):
                told.append((page.key, page.severity.value))
                rig.told(page)
    assert told == [("no-leader/anna", "critical")]
    assert rig.look(view("bert")) == [("no-leader/anna", "ok")]


def test_only_the_leader_tells_ends_and_only_of_what_was_told() -> None:
    rig = Rig()
    rig.hold()
    rig.look(view("anna"))
    rig.note("hold/H", Withdrawn(by="root"))
    assert rig.look(view("bert"), 1e6) == []
    assert rig.look(view(None), 1e6) == []
    assert rig.look(view(None), 1e6) == []
    assert rig.look(view("anna")) == [("hold/H", "ok")]
    assert rig.look(view("anna")) == []
    rig.hold()
    assert notes(rig.ledger) == {}


def test_a_leader_whose_lease_is_over_says_no_more_than_others() -> None:
    rig = Rig()
    rig.hold()
    over_now = replace(view("anna"), lead_until_s=0.0)
    assert rig.look(over_now) == []
    assert rig.look(over_now, PATIENCE_S) == HELD
    rig.note("hold/H", Withdrawn(by="root"))
    assert rig.look(over_now, 1e6) == []


def test_a_leader_that_hears_of_a_later_term_says_nothing_against_the_new_one() -> None:
    """Each would end what the other one begins."""
    rig = Rig()
    rig.look(view("anna", cleo=DEAD))
    later = Fact(key="term", term=2, seq=9, at_epoch_s=0.0, value=TermClaim(node="bert"))
    rig.ledger = rig.ledger.merge([later])
    assert rig.look(view("anna")) == []
    assert rig.look(view("anna", bert=DEAD)) == []
    assert rig.look(replace(view("anna"), term=3)) == [("peer/cleo", "ok")]


def test_what_ended_untold_is_never_told() -> None:
    rig = Rig()
    rig.look(view("bert", cleo=DEAD))
    assert rig.look(view("bert")) == []
    assert rig.look(view("anna")) == []


def test_what_becomes_worse_is_told_again_and_what_becomes_better_is_not() -> None:
    rig = Rig()
    assert rig.look(view("anna", cleo=BLIND)) == [("peer/cleo", "warning")]
    assert rig.look(view("anna", cleo=DEAD)) == [("peer/cleo", "critical")]
    assert rig.look(view("anna", cleo=BLIND)) == []
    assert rig.look(view("anna", cleo=DEAD)) == []
    assert rig.look(view("anna")) == [("peer/cleo", "ok")]


def test_how_bad_a_newer_version_found_it_is_as_bad_as_any() -> None:
    """Its word is durable: whoever does not know it must not end by it."""
    rig = Rig()
    rig.hold()
    told = AlarmTold(severity="emergency", title="held")
    rig.ledger = rig.ledger.merge(
        [Fact(key="alarm/hold/H", term=1, seq=9, at_epoch_s=0.0, value=told)]
    )
    assert rig.look(view("anna")) == []


def test_its_own_muteness_is_told_by_whoever_is_mute_whoever_leads() -> None:
    rig = Rig()
    assert rig.look(view("bert", mute="twin")) == [("mute/anna", "critical")]
    assert rig.look(view("bert")) == [("mute/anna", "ok")]


def test_an_end_names_what_is_over_in_short() -> None:
    rig = Rig()
    rig.note("hold/H", Hold(id="H", reason="x" * 10_000, by="root"))
    rig.look(view("anna"))
    (note,) = notes(rig.ledger).values()
    assert len(note.title) == LONGEST_TITLE
    rig.note("hold/H", replace(Withdrawn(by="root")))
    (page,) = rig.pages(view("anna"))
    assert page == over("hold/H", note.title)
    assert page.severity is Severity.OK
