"""Sightings: how a change that was not ours is told from one that was."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.adoption import adopt
from reconciler.journal import JournalState, replay
from reconciler.observed import Observed, ObservedVM, Operation, PowerState
from reconciler.records import ForeignChange, Record, Sighted, Sighting
from reconciler.sightings import CRASHES_REMEMBERED, Excuses, contended, sight
from schema.model import Desired
from tests.core.stage import desired, pool
from tests.plan.expansion import identity

VM = identity("vm", "web1")
WEB: dict[str, object] = {"state": "running", "nameLabel": "web1", "tags": {"add": ["a"]}}
TREE = desired(nodes={"xen1": {}, "xen2": {}}, vms={"web1": WEB})
UP = pool(TREE, vms={"web1": {"on": "xen1", "tags": ["a"]}})
OURS: Excuses = {VM: frozenset({"power", "placement"})}
NOBODY: Excuses = {}


def with_vm(seen: Observed, **changes: object) -> Observed:
    return replace(seen, vms={VM: replace(seen.vms[VM], **changes)})


DOWN = with_vm(UP, power=PowerState.HALTED, node=None)


class Watch:
    """Looks at the pool again and again, and keeps the journal."""

    def __init__(self, tree: Desired = TREE) -> None:
        self.tree = tree
        self.journal = JournalState()
        self.told: list[ForeignChange] = []

    def look(self, seen: Observed, at_s: float, ours: Excuses = NOBODY) -> Sighting:
        records = [
            Record(seq=self.journal.last_seq + 1, at_s=at_s, entry=entry)
            for entry in sight(adopt(self.tree, seen), self.journal, ours, at_s)
        ]
        for record in records:
            self.journal.apply(record)
        self.told = [r.entry for r in records if isinstance(r.entry, ForeignChange)]
        return self.journal.sightings[VM]


def seen_up() -> Watch:
    watch = Watch()
    watch.look(UP, 0.0)
    return watch


def test_a_wish_that_is_fulfilled_is_remembered() -> None:
    assert seen_up().journal.sightings[VM] == Sighting(
        power=PowerState.RUNNING,
        node=identity("host", "xen1"),
        met={"power": "Running", "nameLabel": "web1", "tags": "a"},
    )


def test_what_is_seen_again_is_not_written_again() -> None:
    watch = seen_up()
    before = watch.journal.last_seq
    watch.look(UP, 10.0)
    assert watch.journal.last_seq == before


def test_a_wish_that_is_broken_is_dated_by_its_first_sight() -> None:
    watch = seen_up()
    assert watch.look(DOWN, 10.0).unmet == {"power": 10.0}
    assert watch.look(DOWN, 99.0).unmet == {"power": 10.0}
    assert watch.journal.sightings[VM].foreign == (10.0,)


def test_a_wish_that_was_never_fulfilled_is_not_broken() -> None:
    watch = Watch()
    found = watch.look(DOWN, 10.0)
    assert (found.unmet, found.foreign) == ({}, ())
    assert "power" not in found.met


def test_a_new_wish_is_not_broken_by_being_new() -> None:
    watch = seen_up()
    watch.tree = desired(nodes={"xen1": {}, "xen2": {}}, vms={"web1": WEB | {"state": "halted"}})
    assert watch.look(UP, 10.0).unmet == {}


def test_what_is_mended_is_no_longer_dated_and_still_counts_as_a_change() -> None:
    watch = seen_up()
    watch.look(DOWN, 10.0)
    found = watch.look(UP, 20.0)
    assert (found.unmet, found.foreign) == ({}, (10.0,))


def test_what_came_with_a_call_of_ours_is_ours() -> None:
    watch = seen_up()
    found = watch.look(DOWN, 10.0, OURS)
    assert (found.unmet, found.foreign) == ({}, ())
    assert watch.told == []


def test_a_call_of_ours_does_not_launder_what_somebody_had_changed() -> None:
    """Else any call on a VM that somebody renamed would end the grace of the name."""
    watch = seen_up()
    renamed = with_vm(UP, name="other")
    watch.look(renamed, 10.0)
    found = watch.look(renamed, 20.0, OURS)
    assert found.unmet == {"nameLabel": 10.0}


def test_a_vm_in_passing_is_not_sighted() -> None:
    watch = seen_up()
    passing = with_vm(DOWN, operations=(Operation(kind="snapshot", task="Async.VM.snapshot"),))
    assert watch.look(passing, 10.0).power is PowerState.RUNNING
    assert watch.told == []


def test_a_vm_of_unknown_power_is_not_sighted() -> None:
    watch = seen_up()
    assert watch.look(with_vm(UP, power=PowerState.UNKNOWN), 10.0).unmet == {}


@pytest.mark.parametrize(
    ("power", "node", "what"),
    [
        (PowerState.HALTED, None, "stopped"),
        (PowerState.PAUSED, identity("host", "xen1"), "paused"),
        (PowerState.SUSPENDED, None, "suspended"),
    ],
)
def test_what_somebody_did_is_told(power: PowerState, node: str | None, what: str) -> None:
    watch = seen_up()
    watch.look(with_vm(UP, power=power, node=node), 10.0)
    assert [(told.object, told.what) for told in watch.told] == [("vm/web1", what)]
    watch.look(with_vm(UP, power=power, node=node), 20.0)
    assert watch.told == []


def test_who_did_it_is_told_as_far_as_a_task_was_seen() -> None:
    watch = seen_up()
    migrating = (Operation(kind="pool_migrate", task="Async.VM.pool_migrate"),)
    watch.look(with_vm(UP, operations=migrating), 5.0)
    watch.look(with_vm(UP, node=identity("host", "xen2")), 10.0)
    assert [(t.what, t.evidence) for t in watch.told] == [("moved", "Async.VM.pool_migrate")]
    assert "xen1 to xen2" in watch.told[0].message


def test_a_task_of_ours_is_no_evidence_against_others() -> None:
    watch = seen_up()
    tagged = (Operation(kind="pool_migrate", task="Async.VM.pool_migrate", txn="cxm-1-7"),)
    assert watch.look(with_vm(UP, operations=tagged), 5.0).doing == ""


def test_a_move_is_remembered_with_its_moment_until_the_next() -> None:
    watch = seen_up()
    there = with_vm(UP, node=identity("host", "xen2"))
    assert watch.look(there, 10.0).moved_s == 10.0
    assert watch.look(with_vm(there, name="other"), 20.0).moved_s == 10.0
    assert watch.look(UP, 30.0, OURS).moved_s is None


def test_a_move_that_breaks_no_wish_does_not_contend() -> None:
    watch = seen_up()
    for number in range(1, 5):
        home = identity("host", "xen2" if number % 2 else "xen1")
        found = watch.look(with_vm(UP, node=home), 10.0 * number)
    assert found.foreign == ()


def test_another_change_is_told_by_the_aspects_that_it_broke() -> None:
    watch = seen_up()
    watch.look(with_vm(UP, name="other", tags=()), 10.0)
    assert [told.message for told in watch.told] == ["nameLabel, tags changed, not by cxm"]


# --- crashes ----------------------------------------------------------------------------------------

CRASHED = with_vm(DOWN, crashed=True)


def test_a_crash_is_counted_once_and_is_nobodys_wish() -> None:
    watch = seen_up()
    watch.look(CRASHED, 10.0)
    assert [told.what for told in watch.told] == ["crashed"]
    found = watch.look(CRASHED, 20.0)
    assert (found.crashed, found.crashes, found.foreign) == (True, (10.0,), ())


def test_a_crash_that_is_over_is_still_counted() -> None:
    watch = seen_up()
    watch.look(CRASHED, 10.0)
    found = watch.look(UP, 20.0)
    assert (found.crashed, found.crashes) == (False, (10.0,))


def test_crashes_are_remembered_up_to_a_number() -> None:
    watch = seen_up()
    for number in range(2 * CRASHES_REMEMBERED):
        watch.look(CRASHED, 20.0 * number + 10.0)
        found = watch.look(UP, 20.0 * number + 20.0)
    assert len(found.crashes) == CRASHES_REMEMBERED
    assert found.crashes[-1] == 20.0 * (2 * CRASHES_REMEMBERED - 1) + 10.0


# --- contention -------------------------------------------------------------------------------------


def sighting(*foreign: float) -> Sighting:
    return Sighting(power=PowerState.HALTED, node=None, foreign=foreign)


@pytest.mark.parametrize(
    ("foreign", "hands_off"),
    [((), False), ((9_000.0,), False), ((9_000.0, 9_500.0), True), ((6_000.0, 9_000.0), False)],
)
def test_two_changes_within_an_hour_are_a_contention(
    foreign: tuple[float, ...], hands_off: bool
) -> None:
    assert contended(sighting(*foreign), 10_000.0) is hands_off


def test_a_vm_that_was_never_seen_is_not_contended() -> None:
    assert not contended(None, 0.0)


def test_a_vm_that_ran_and_is_gone_is_not_forgotten() -> None:
    watch = seen_up()
    watch.look(UP, 1.0)
    empty: dict[str, ObservedVM] = {}
    assert sight(adopt(TREE, replace(UP, vms=empty)), watch.journal, NOBODY, 2.0) == []
    assert replay([Record(seq=1, at_s=0.0, entry=Sighted(vm=VM, sighting=sighting()))]).sightings
