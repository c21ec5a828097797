"""What becomes of a person's request."""

from __future__ import annotations

import pytest

from membership.ledger import Approval, Drain, Freeze, Withdrawn
from reconciler.actions import Stalled, StartOn
from reconciler.messages import (
    Ask,
    AskApply,
    AskDrain,
    AskFreeze,
    AskLook,
    AskRetry,
    AskThaw,
    AskUndrain,
    CallReturned,
    Perform,
    SourceSeen,
)
from reconciler.records import Excepted, Retried, Targeted
from reconciler.sameness import plan_digest
from reconciler.status import Verdict
from tests.core.stage import EPOCH_S, Stage, desired, head, pool
from tests.plan.expansion import MONO_S

NODES: dict[str, object] = {"xen1": {}, "xen2": {"maintenance": {"reason": "look", "drain": False}}}
TREE = desired(nodes=NODES, vms={"web1": {"state": "running"}, "web2": {}})
GATED = desired(cluster={"mode": "gated"}, nodes=NODES, vms={"web1": {"state": "running"}})


def stage() -> Stage:
    fresh = Stage()
    fresh.commit(7, TREE)
    return fresh


def freeze(
    *objects: str, scopes: tuple[str, ...] = ("intent",), for_s: float | None = 60.0
) -> AskFreeze:
    return AskFreeze(objects=objects, scopes=scopes, for_s=for_s, reason="why", by="root")


ASKS: list[Ask] = [
    AskApply(revision=7, by="root"),
    freeze("vm/web1"),
    AskThaw(objects=("vm/web1",), by="root"),
    AskDrain(node="xen1", for_s=None, reason="", by="root"),
    AskUndrain(node="xen1", by="root"),
    AskRetry(objects=("vm/web1",), by="root"),
]


@pytest.mark.parametrize("ask", ASKS)
def test_before_the_first_target_there_is_nothing_to_ask_for(ask: Ask) -> None:
    reply = Stage().ask(ask)
    assert (reply.accepted, reply.reason) == (False, "NoTarget")


# --- look -------------------------------------------------------------------------------------------


def test_a_look_that_is_asked_for_is_made_at_once_and_numbered() -> None:
    fresh = stage()
    reply = fresh.ask(AskLook())
    assert (fresh.looks, reply.look) == (1, 2)


def test_a_look_under_way_may_have_come_too_early_and_is_followed_by_another() -> None:
    fresh = Stage()
    reply = fresh.ask(AskLook())
    assert (fresh.looks, reply.look) == (0, 2)
    fresh.tell(SourceSeen(head=head(7)))
    assert fresh.looks == 1


# --- freeze and thaw --------------------------------------------------------------------------------


def test_a_freeze_enters_the_ledger_with_its_end() -> None:
    fresh = stage()
    assert fresh.ask(freeze("vm/web1", "node/xen1")).accepted
    until = EPOCH_S + fresh.now_s - MONO_S + 60.0
    facts = fresh.ledger.freezes(fresh.now)
    assert [(f.object, f.until_epoch_s) for f in facts] == [
        ("node/xen1", until),
        ("vm/web1", until),
    ]
    assert {e.object for e in fresh.entries if isinstance(e, Excepted)} == {"vm/web1", "node/xen1"}


def test_a_freeze_without_an_end_has_none() -> None:
    fresh = stage()
    fresh.ask(freeze("all", for_s=None))
    assert [f.until_epoch_s for f in fresh.ledger.values(Freeze)] == [None]


@pytest.mark.parametrize("name", ["vm/other", "node/web1", "web1", "pool", ""])
def test_what_the_tree_does_not_know_is_not_frozen(name: str) -> None:
    fresh = stage()
    reply = fresh.ask(freeze("vm/web1", name))
    assert (reply.accepted, reply.reason) == (False, "UnknownObject")
    assert fresh.ledger.values(Freeze) == ()


@pytest.mark.parametrize("scopes", [("intent", "everything"), ()])
def test_a_scope_that_nobody_knows_is_refused(scopes: tuple[str, ...]) -> None:
    assert stage().ask(freeze("vm/web1", scopes=scopes)).reason == "UnknownScope"


def test_thaw_ends_what_it_names() -> None:
    fresh = stage()
    fresh.ask(freeze("vm/web1", "vm/web2"))
    assert fresh.ask(AskThaw(objects=("vm/web1",), by="root")).accepted
    assert [f.object for f in fresh.ledger.freezes(fresh.now)] == ["vm/web2"]
    assert fresh.ledger.get("freeze/vm/web1", Withdrawn) == Withdrawn(by="root")


def test_thaw_all_ends_every_freeze() -> None:
    fresh = stage()
    fresh.ask(freeze("vm/web1", "vm/web2"))
    reply = fresh.ask(AskThaw(objects=("all",), by="root"))
    assert len(reply.notes) == 2
    assert fresh.ledger.freezes(fresh.now) == ()


def test_thaw_all_ends_the_freeze_of_all_where_there_is_one() -> None:
    fresh = stage()
    fresh.ask(freeze("all", "vm/web2"))
    fresh.ask(AskThaw(objects=("all",), by="root"))
    assert [f.object for f in fresh.ledger.freezes(fresh.now)] == ["vm/web2"]


def test_what_is_not_frozen_is_not_thawed() -> None:
    assert stage().ask(AskThaw(objects=("vm/web1",), by="root")).reason == "NotFrozen"


def test_an_expired_freeze_is_not_thawed() -> None:
    fresh = stage()
    fresh.ask(freeze("vm/web1", for_s=5.0))
    reply = fresh.ask(AskThaw(objects=("vm/web1",), by="root"), after_s=5.0)
    assert reply.reason == "NotFrozen"


# --- drain and undrain ------------------------------------------------------------------------------


def test_a_drain_enters_the_ledger() -> None:
    fresh = stage()
    fresh.ask(AskDrain(node="xen1", for_s=60.0, reason="DIMM", by="root"))
    drain = fresh.ledger.drains()["xen1"]
    assert (drain.reason, drain.by) == ("DIMM", "root")
    assert drain.until_epoch_s == fresh.now.epoch_s + 60.0


def test_a_node_that_the_tree_does_not_know_is_not_drained() -> None:
    reply = stage().ask(AskDrain(node="xen9", for_s=None, reason="", by="root"))
    assert reply.reason == "UnknownObject"


def test_undrain_ends_a_drain() -> None:
    fresh = stage()
    fresh.ask(AskDrain(node="xen1", for_s=None, reason="", by="root"))
    reply = fresh.ask(AskUndrain(node="xen1", by="root"))
    assert (reply.accepted, reply.notes) == (True, ())
    assert fresh.ledger.values(Drain) == ()


def test_undrain_does_not_end_what_the_tree_declares() -> None:
    fresh = stage()
    assert fresh.ask(AskUndrain(node="xen2", by="root")).reason == "DeclaredInTree"
    fresh.ask(AskDrain(node="xen2", for_s=None, reason="", by="root"))
    reply = fresh.ask(AskUndrain(node="xen2", by="root"))
    assert reply.accepted
    assert "still declares maintenance" in reply.notes[0]


def test_undrain_of_a_node_that_is_not_drained_says_so() -> None:
    assert stage().ask(AskUndrain(node="xen1", by="root")).reason == "NotDrained"


# --- retry ------------------------------------------------------------------------------------------


def stalled() -> Stage:
    """web1 could not be started, and will not be by itself."""
    fresh = stage()
    seen = pool(TREE, vms={"web1": {}, "web2": {}})
    fresh.see(seen)
    (start,) = [effect for effect in fresh.of(Perform) if isinstance(effect.call, StartOn)]
    fresh.tell(CallReturned(txn=start.txn, answer=Stalled(reason="NoStorage")))
    fresh.see(seen)
    assert [row.reason for row in fresh.status.plan.blocked] == ["NoStorage"]
    return fresh


def test_retry_gives_another_try_at_once() -> None:
    fresh = stalled()
    assert fresh.ask(AskRetry(objects=("vm/web1",), by="root")).accepted
    assert "StartOn" in fresh.calls


def test_to_apply_what_is_in_force_tries_again_what_had_stalled() -> None:
    fresh = stalled()
    assert fresh.ask(AskApply(revision=7, by="root")).accepted
    assert "StartOn" in fresh.calls


def test_a_new_wish_for_a_stalled_vm_tries_again_and_another_wish_does_not() -> None:
    fresh = stalled()
    other = desired(nodes=NODES, vms={"web1": {"state": "running"}, "web2": {"priority": "low"}})
    fresh.commit(8, other)
    assert not [e for e in fresh.entries if isinstance(e, Retried)]
    same = {"state": "running", "priority": "low"}
    fresh.commit(9, desired(nodes=NODES, vms={"web1": same, "web2": {"priority": "low"}}))
    assert [e.by for e in fresh.entries if isinstance(e, Retried)] == ["r9"]


def test_retry_of_what_is_not_in_the_pool_is_refused() -> None:
    fresh = stalled()
    assert fresh.ask(AskRetry(objects=("vm/other",), by="root")).reason == "UnknownObject"


# --- apply ------------------------------------------------------------------------------------------


def gated() -> Stage:
    fresh = Stage()
    fresh.commit(7, GATED)
    return fresh


def test_apply_approves_the_head_that_waits_be_it_the_first_of_all() -> None:
    fresh = gated()
    assert fresh.status.revision.state == "gated"
    assert fresh.status.revision.target is None
    assert fresh.ask(AskApply(revision=7, by="root")).accepted
    assert [e.revision for e in fresh.entries if isinstance(e, Targeted)] == [7]
    assert len(fresh.ledger.values(Approval)) == 1


def waiting() -> Stage:
    """r7 is in force, r8 waits for approval."""
    fresh = gated()
    fresh.ask(AskApply(revision=7, by="root"))
    fresh.commit(8, GATED)
    assert fresh.status.revision.state == "gated"
    return fresh


def test_apply_approves_a_later_head() -> None:
    fresh = waiting()
    assert fresh.ask(AskApply(revision=8, by="root")).accepted
    assert fresh.status.revision.target == 8


def test_apply_does_not_go_back() -> None:
    fresh = waiting()
    fresh.ask(AskApply(revision=8, by="root"))
    assert fresh.ask(AskApply(revision=7, by="root")).reason == "WouldGoBack"


def test_apply_of_what_is_not_the_head_is_refused() -> None:
    assert waiting().ask(AskApply(revision=9, by="root")).reason == "NotTheHead"


def test_a_head_that_a_newer_one_replaces_can_no_longer_be_approved() -> None:
    fresh = waiting()
    fresh.tell(SourceSeen(head=head(9)))
    assert fresh.ask(AskApply(revision=8, by="root")).reason == "NotTheHead"
    assert fresh.status.revision.target == 7


def test_a_head_that_is_no_longer_believed_can_no_longer_be_approved() -> None:
    fresh = waiting()
    fresh.tell(SourceSeen(head=head(8, repository="another")))
    assert fresh.ask(AskApply(revision=8, by="root")).reason == "NotTheHead"


def test_a_plan_that_was_read_of_one_head_approves_no_other() -> None:
    """Until the new head is planned there is nothing that could have been read of it."""
    fresh = waiting()
    fresh.see(pool(GATED, vms={"web1": {}}))
    read = fresh.status.proposed
    assert read is not None
    newer = fresh.status.revision.head
    assert newer is not None
    fresh.commit(newer + 1, desired(cluster={"mode": "gated"}, nodes=NODES, vms={"web1": {}}))
    assert fresh.status.proposed != read
    reply = fresh.ask(AskApply(revision=newer + 1, by="alice", plan=plan_digest(read)))
    assert (reply.accepted, reply.reason) == (False, "StalePlan")


def test_the_first_revision_of_a_gated_cluster_can_be_read_before_it_is_approved() -> None:
    fresh = gated()
    fresh.see(pool(GATED, vms={"web1": {}}))
    proposed = fresh.status.proposed
    assert proposed is not None
    assert [row.object for row in proposed.actions] == ["node/xen2", "vm/web1"]
    assert fresh.status.verdict is Verdict.DIFFERS
    assert fresh.ask(AskApply(revision=7, by="root", plan=plan_digest(proposed))).accepted


@pytest.mark.parametrize(("for_s", "reason"), [(0.0, "x"), (-5.0, "x"), (1e12, "x"), (60.0, " ")])
def test_a_freeze_has_a_reason_and_an_end_within_reason(for_s: float, reason: str) -> None:
    fresh = stage()
    ask = AskFreeze(objects=("vm/web1",), scopes=("intent",), for_s=for_s, reason=reason, by="root")
    assert not fresh.ask(ask).accepted
    assert fresh.ledger.freezes(fresh.now) == ()
