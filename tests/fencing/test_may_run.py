"""May-run: what makes it grow, what makes it shrink, and which starts it forbids."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fencing.evidence import KINDS, POWER_OFF, SWORN, Proof, proofs
from fencing.may_run import Doubt, Pool, Shown, doubts, followed, grown, key, known, places
from membership.clock import Now
from membership.ledger import Fact, FactValue, Ledger
from membership.proofs import UNREAD, Certificate, MayRun, Place, Promotion, Unread

NOW = Now(mono_s=100.0, epoch_s=1000.0)
VM = "vm1"
ALL = frozenset({"a", "b", "c"})


def fact(key: str, term: int, seq: int, value: FactValue) -> Fact:
    return Fact(key=key, term=term, seq=seq, at_epoch_s=0.0, value=value)


def runs_on(*hosts: str, term: int = 1, seq: int = 1) -> Fact:
    there = tuple(Place(host=host, term=term, seq=seq) for host in hosts)
    return fact(key(VM), term, seq, MayRun(vm=VM, places=there))


def died(host: str, term: int, seq: int, kind: str = POWER_OFF, void: str = "") -> Fact:
    value = Certificate(
        id=f"C-{seq}", node=host, host=host, kind=kind, by="x", evidence="", void=void
    )
    return fact(f"certificate/{host}", term, seq, value)


def promotion(certificate: str) -> Promotion:
    return Promotion(
        id="P", term=2, node="b", host="b", old="a", certificate=certificate, by="b", stage="begun"
    )


def ledger(*facts: Fact) -> Ledger:
    return Ledger().merge(facts)


def pool(*silent: str) -> Pool:
    return Pool(ALL, ALL - set(silent), dict.fromkeys(ALL, "1"))


def shown(*hosts: str, busy: bool = False, reset: bool = False) -> Shown:
    return Shown(VM, frozenset(hosts), busy, reset)


def names(found: tuple[Doubt, ...]) -> list[str]:
    return [doubt.host for doubt in found]


def asked(
    known_facts: Ledger,
    seen: Shown,
    around: Pool,
    target: str = "b",
    leaving: str = "",
    accepted: tuple[str, ...] = KINDS,
) -> list[str]:
    valid = proofs(known_facts, NOW, around.boots)
    return names(doubts(known_facts, seen, target, leaving, around, valid, accepted))


def test_nothing_known_means_every_host() -> None:
    assert [place.host for place in places(ledger(), VM, pool(), (1, 1))] == ["a", "b", "c"]
    assert known(ledger(), VM) is None


def test_a_vm_of_which_nothing_is_known_starts_once_every_host_has_answered() -> None:
    assert asked(ledger(), shown(), pool()) == []
    assert asked(ledger(), shown(), pool("c")) == ["c"]


def test_a_record_that_says_halted_says_nothing_of_a_host_that_is_silent() -> None:
    assert asked(ledger(runs_on("a")), shown(), pool("a")) == ["a"]
    assert asked(ledger(runs_on("a")), shown(), pool()) == []


def test_a_host_that_was_never_a_place_may_be_silent() -> None:
    assert asked(ledger(runs_on("a")), shown(), pool("c")) == []


def test_a_certificate_lets_it_start_elsewhere() -> None:
    facts = ledger(runs_on("a", seq=1), died("a", 1, 2))
    assert asked(facts, shown(), pool("a")) == []


def test_a_certificate_says_nothing_of_a_later_start_on_that_host() -> None:
    facts = ledger(died("a", 1, 2), runs_on("a", term=1, seq=3))
    assert asked(facts, shown(), pool("a")) == ["a"]


def test_a_void_certificate_is_none() -> None:
    facts = ledger(runs_on("a"), died("a", 1, 2, void="its daemon was heard"))
    assert asked(facts, shown(), pool("a")) == ["a"]


def test_an_oath_does_for_a_vm_that_accepts_oaths_alone() -> None:
    facts = ledger(runs_on("a"), died("a", 1, 2, SWORN))
    assert asked(facts, shown(), pool("a")) == []
    valid = proofs(facts, NOW, {})
    (doubt,) = doubts(facts, shown(), "b", "", pool("a"), valid, (POWER_OFF,))
    assert doubt == Doubt("a", valid["a"])


@pytest.mark.parametrize(
    ("later", "holds"),
    [
        (fact(UNREAD, 2, 8, Unread(why="a new master", dead=("a",))), True),
        (fact(UNREAD, 2, 8, Unread(why="a new master", dead=("b",))), False),
        (fact(UNREAD, 2, 2, Unread(why="before that death", dead=("a",))), False),
        (fact("promotion", 2, 8, promotion("C-5")), True),
        (fact("promotion", 2, 8, promotion("C-4")), False),
    ],
)
def test_an_oath_on_which_a_promotion_rests_does_not_expire(later: Fact, holds: bool) -> None:
    """What was begun with it goes on for as long as that takes, and what was told before is forgotten."""
    oath = Certificate(
        id="C-5", node="a", host="a", kind=SWORN, by="alice", evidence="", until_epoch_s=900.0
    )
    told = ledger(fact("certificate/a", 2, 5, oath), later)
    assert ("a" in proofs(told, NOW, {})) is holds


def test_an_oath_that_nobody_used_expires() -> None:
    oath = Certificate(
        id="C", node="a", host="a", kind=SWORN, by="x", evidence="", until_epoch_s=1000.0
    )
    facts = ledger(fact("certificate/a", 1, 1, oath))
    assert proofs(facts, NOW, {}) == {}
    assert proofs(facts, Now(mono_s=0.0, epoch_s=999.0), {}) == {"a": Proof(oath, (1, 1))}


@pytest.mark.parametrize(
    ("ended", "shown_now", "holds"),
    [
        ("1000", "1000", True),
        ("1000", "1059", True),
        ("1000", "941", True),
        ("1000", "1060", False),
        ("1000", "940", False),
        ("1000", "", True),
        ("", "1000", True),
        ("x", "1000", False),
    ],
)
def test_a_host_that_came_back_has_to_die_anew(ended: str, shown_now: str, holds: bool) -> None:
    """Somebody may have started the VM on it while nobody led, and before it fell silent again."""
    (proof,) = proofs(ledger(died("a", 1, 2)), NOW, {}).values()
    value = replace(proof.certificate, boot_hint=ended)
    found = proofs(ledger(fact("certificate/a", 1, 2, value)), NOW, {"a": shown_now})
    assert bool(found) is holds


def test_what_the_record_shows_counts_beside_what_the_ledger_tells() -> None:
    """A foreign migration to a host that then fell silent: no fact tells of it yet."""
    assert asked(ledger(runs_on("a"), died("a", 1, 2)), shown("c"), pool("a", "c")) == ["c"]


def test_a_record_newer_than_a_certificate_is_not_covered_by_it() -> None:
    facts = ledger(runs_on("b"), died("a", 1, 2))
    assert asked(facts, shown("a"), pool("a")) == ["a"]


def test_while_an_operation_is_under_way_nobody_reports() -> None:
    assert asked(ledger(runs_on("a")), shown(busy=True), pool(), target="b") == ["a"]


def test_a_reset_record_is_nobodys_report() -> None:
    """It may have been started anywhere since the ledger was told, and the reset hides that too."""
    facts = ledger(runs_on("a"))
    assert asked(facts, shown(reset=True), pool(), target="b") == ["a", "c"]
    assert asked(ledger(runs_on()), shown(reset=True), pool(), target="b") == ["a", "c"]
    noted = followed(facts, shown(reset=True), [], pool(), (1, 2))
    assert noted is not None
    assert noted.reset
    assert [(place.host, place.stamp) for place in noted.places] == [
        ("a", (1, 1)),
        ("b", (1, 2)),
        ("c", (1, 2)),
    ]


def test_a_migration_leaves_its_source_only_while_that_answers() -> None:
    facts = ledger(runs_on("a"))
    assert asked(facts, shown("a"), pool(), target="b", leaving="a") == []
    assert asked(facts, shown("a"), pool("a"), target="b", leaving="a") == ["a"]


def test_a_silent_target_may_have_it_already() -> None:
    assert asked(ledger(runs_on("b")), shown(), pool("b"), target="b") == ["b"]


def test_an_unread_ledger_makes_every_host_a_place_again() -> None:
    unread = fact(UNREAD, 2, 5, Unread(why="the predecessor's ledger was not read"))
    facts = ledger(runs_on("a", term=1, seq=9), unread)
    assert known(facts, VM) is None
    assert asked(facts, shown(), pool("c")) == ["c"]
    told_again = followed(facts, shown(), [], pool("c"), (2, 6))
    assert told_again is not None
    assert [place.host for place in told_again.places] == ["c"]
    after = facts.merge([fact(key(VM), 2, 6, told_again)])
    assert asked(after.merge([died("c", 2, 4)]), shown(), pool("c")) == ["c"]
    assert asked(after.merge([died("c", 2, 7)]), shown(), pool("c")) == []


def test_no_certificate_of_earlier_covers_a_vm_of_which_nothing_is_known() -> None:
    """The host may have come back since, and somebody may have started the VM on it."""
    assert asked(ledger(died("a", 1, 2)), shown(), pool("a")) == ["a"]


def test_it_grows_with_what_is_seen_and_with_our_own_targets() -> None:
    grown = followed(ledger(runs_on("a")), shown("a"), ["b"], pool(), (3, 7))
    assert grown is not None
    assert [(p.host, p.stamp, p.boot) for p in grown.places] == [
        ("a", (1, 1), ""),
        ("b", (3, 7), "1"),
    ]


def test_a_host_on_which_it_was_last_seen_is_added_and_takes_nothing_away() -> None:
    latched = fact(
        key(VM), 1, 1, MayRun(vm=VM, places=(Place(host="a", term=1, seq=1),), reset=True)
    )
    after = grown(ledger(latched), VM, "b", pool("b"), (2, 7))
    assert after is not None
    assert [(place.host, place.stamp) for place in after.places] == [("a", (1, 1)), ("b", (2, 7))]
    assert after.reset


def test_what_a_certificate_covers_already_is_not_added() -> None:
    assert grown(ledger(runs_on("b")), VM, "b", pool("b"), (2, 7)) is None
    unread = fact(UNREAD, 1, 5, Unread(why=""))
    assert grown(ledger(unread), VM, "b", pool("b"), (2, 7)) is None


def test_it_shrinks_by_a_report_alone() -> None:
    facts = ledger(runs_on("a", "b"))
    assert followed(facts, shown("b"), [], pool("a"), (3, 7)) is None
    shrunk = followed(facts, shown("b"), [], pool(), (3, 7))
    assert shrunk is not None
    assert [place.host for place in shrunk.places] == ["b"]


def test_a_target_of_ours_stays_though_the_host_reports_absence() -> None:
    """The call may be on its way: the record shows it only once the pool has begun."""
    facts = ledger(runs_on("b"))
    assert followed(facts, shown(), ["b"], pool(), (3, 7)) is None


def test_what_becomes_known_of_a_vm_is_said_once() -> None:
    first = followed(ledger(), shown(), [], pool(), (1, 1))
    assert first == MayRun(vm=VM, places=())
    assert followed(ledger(fact(key(VM), 1, 1, first)), shown(), [], pool(), (1, 2)) is None


@pytest.mark.parametrize("silent", ["a", "c"])
def test_a_vm_of_which_nothing_was_known_keeps_the_silent_hosts_as_places(silent: str) -> None:
    found = followed(ledger(), shown("b"), [], pool(silent), (4, 4))
    assert found is not None
    assert [(place.host, place.stamp) for place in found.places] == [
        *([(silent, (4, 4))] if silent < "b" else []),
        ("b", (4, 4)),
        *([(silent, (4, 4))] if silent > "b" else []),
    ]
