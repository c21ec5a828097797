"""What the daemon says of the whole, and of each object: verdict, condition, exit status."""

from __future__ import annotations

import pytest

from reconciler.actions import Cause, Stalled, StartOn
from reconciler.messages import (
    AskApply,
    AskDrain,
    AskFreeze,
    CallReturned,
    Perform,
    PoolLost,
    SourceFailed,
    SourceSeen,
)
from reconciler.records import Cleared, Converged, Diverged, ForeignChange, Noticed
from reconciler.status import EXIT, Condition, Status, Verdict
from schema.errors import ConfigError
from schema.model import Desired
from tests.core.stage import Stage, desired, head, pool
from tests.plan.expansion import identity

UP: dict[str, object] = {"web1": {"on": "xen1"}}
DOWN: dict[str, object] = {"web1": {}}


def tree(**cluster: object) -> Desired:
    return desired(cluster=cluster, nodes={"xen1": {}}, vms={"web1": {"state": "running"}})


TREE = tree()
WRONG = ConfigError(path="vms/a.yaml", line=3, column=1, code="V003", message="unknown key")


def stage(vms: dict[str, object], **forms: object) -> Stage:
    fresh = Stage()
    fresh.commit(7, TREE)
    fresh.see(pool(TREE, vms=vms, **forms))
    return fresh


def said(status: Status) -> tuple[str, int, str, str]:
    return (
        status.verdict.value,
        EXIT[status.verdict],
        status.condition.value,
        status.reason,
    )


# --- not to know ------------------------------------------------------------------------------------


def test_before_anything_is_known_everything_is_unknown() -> None:
    assert said(Stage().status) == ("unknown", 6, "Unknown", "NoTarget")


def test_a_tree_without_a_pool_is_unknown() -> None:
    fresh = Stage()
    fresh.commit(7, TREE)
    assert said(fresh.status) == ("unknown", 6, "Unknown", "NotObserved")


def test_an_observation_grows_too_old_to_say_anything() -> None:
    fresh = stage(UP)
    fresh.now_s += 15.1
    assert said(fresh.status) == ("unknown", 6, "Unknown", "Stale")
    assert fresh.status.observation is not None
    assert not fresh.status.observation.complete
    assert [(vm.observed, vm.condition) for vm in fresh.status.vms] == [(None, Condition.UNKNOWN)]


def test_why_the_pool_is_silent_is_told_as_soon_as_its_picture_is_too_old() -> None:
    fresh = stage(UP)
    fresh.tell(PoolLost(reason="HOST_OFFLINE", message="no route"))
    assert said(fresh.status)[0] == "converged"
    fresh.now_s += 15.0
    assert said(fresh.status) == ("unknown", 6, "Unknown", "HOST_OFFLINE")


def test_an_incomplete_picture_proves_nothing() -> None:
    fresh = stage(UP, complete=False, missing=["xen2"])
    assert said(fresh.status) == ("unknown", 6, "Unknown", "Incomplete")
    assert "xen2" in fresh.status.message
    assert not [e for e in fresh.entries if isinstance(e, Converged)]


def test_a_difference_in_an_incomplete_picture_is_a_difference() -> None:
    assert said(stage(DOWN, complete=False, missing=["xen2"]).status)[0] == "differs"


# --- what differs -----------------------------------------------------------------------------------


def test_a_pool_that_is_as_desired_is_converged_and_that_is_journalled_once() -> None:
    fresh = stage(UP)
    fresh.see(pool(TREE, vms=UP))
    assert said(fresh.status) == ("converged", 0, "Ready", "")
    assert [e for e in fresh.entries if isinstance(e, Converged)] == [Converged(revision=7)]
    assert fresh.status.revision.state == "converged"
    assert fresh.status.converged_age_s == 0.0


def test_the_proof_of_convergence_grows_old() -> None:
    fresh = stage(UP)
    fresh.now_s += 9.0
    assert fresh.status.converged_age_s == 9.0


def test_a_pool_on_its_way_is_progressing() -> None:
    fresh = stage(DOWN)
    assert said(fresh.status) == ("differs", 2, "Progressing", "Converging")
    assert [(f.object, f.verb, f.phase, f.node) for f in fresh.status.in_flight] == [
        ("vm/web1", "start", "running", "xen1")
    ]


def test_the_first_difference_after_convergence_is_journalled() -> None:
    fresh = stage(UP)
    fresh.see(pool(TREE, vms=DOWN))
    assert [type(e) for e in fresh.entries if isinstance(e, Diverged | ForeignChange)] == [
        ForeignChange,
        Diverged,
    ]


def test_a_refused_row_is_degraded_and_noticed_until_it_is_gone() -> None:
    fresh = stage(DOWN, nodes={"xen1": {"memory": "1GiB"}})
    assert said(fresh.status) == ("differs", 2, "Degraded", "InsufficientMemory")
    assert [e.reason for e in fresh.entries if isinstance(e, Noticed)] == ["InsufficientMemory"]
    fresh.see(pool(TREE, vms=DOWN))
    assert [e.reason for e in fresh.entries if isinstance(e, Cleared)] == ["InsufficientMemory"]


def test_a_vm_that_stalled_stalls_the_whole() -> None:
    fresh = stage(DOWN)
    (start,) = [effect for effect in fresh.of(Perform) if isinstance(effect.call, StartOn)]
    fresh.tell(CallReturned(txn=start.txn, answer=Stalled(reason="NoStorage", message="lost")))
    fresh.see(pool(TREE, vms=DOWN))
    assert said(fresh.status) == ("differs", 2, "Stalled", "NoStorage")
    assert [(vm.condition, vm.reason) for vm in fresh.status.vms] == [
        (Condition.STALLED, "NoStorage")
    ]


@pytest.mark.parametrize(
    ("state", "reason"), [({"ha": True}, "PoolHa"), ({"rolling_upgrade": True}, "RollingUpgrade")]
)
def test_a_pool_that_cxm_stands_aside_of_says_so_even_where_nothing_differs(
    state: dict[str, object], reason: str
) -> None:
    fresh = stage(UP, pool=state)
    assert said(fresh.status) == ("converged", 0, "Degraded", reason)
    assert fresh.status.armed == ()


@pytest.mark.parametrize(
    ("mode", "armed", "rung"),
    [
        ("observe", (), "observe"),
        ("recover", (), "recover"),
        ("gated", ("drift",), "enforce"),
        ("auto", ("intent", "drift"), "enforce"),
    ],
)
def test_what_is_armed_follows_the_mode(mode: str, armed: tuple[str, ...], rung: str) -> None:
    fresh = Stage()
    fresh.commit(7, tree(mode=mode))
    if mode == "gated":
        fresh.ask(AskApply(revision=7, by="root"))
    fresh.see(pool(TREE, vms=UP))
    assert (fresh.status.mode, fresh.status.armed) == (mode, armed)
    assert [vm.manage for vm in fresh.status.vms] == [rung]


# --- unmanaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unmanaged", "shown", "condition"),
    [
        ("report", ["stranger"], Condition.READY),
        ("ignore", [], Condition.READY),
        ("alarm", ["stranger"], Condition.DEGRADED),
    ],
)
def test_vms_in_no_file_are_told_as_the_cluster_says(
    unmanaged: str, shown: list[str], condition: Condition
) -> None:
    fresh = Stage()
    fresh.commit(7, tree(unmanaged=unmanaged))
    fresh.see(pool(TREE, vms=UP | {"stranger": {"on": "xen1"}}, copies={"t": "template"}))
    assert [vm.name for vm in fresh.status.unmanaged] == shown
    assert fresh.status.condition is condition
    assert fresh.status.verdict is Verdict.CONVERGED
    assert fresh.status.copies == {"template": 1}


# --- the revision and its source --------------------------------------------------------------------


def test_a_rejected_head_outranks_what_differs() -> None:
    fresh = stage(DOWN)
    fresh.commit(8, None, errors=(WRONG,))
    assert said(fresh.status) == ("invalid", 3, "Degraded", "Invalid")
    revision = fresh.status.revision
    assert (revision.head, revision.target, revision.state) == (8, 7, "rejected")
    assert (revision.author, revision.errors) == ("alice", (WRONG,))
    assert fresh.status.source.using_last_known_good


def test_not_to_see_the_pool_outranks_a_rejected_head() -> None:
    fresh = stage(UP)
    fresh.commit(8, None, errors=(WRONG,))
    fresh.now_s += 20.0
    assert said(fresh.status)[0] == "unknown"


def test_a_head_that_waits_shows_its_own_plan_beside_that_in_force() -> None:
    gated, other = (
        tree(mode="gated"),
        desired(cluster={"mode": "gated"}, nodes={"xen1": {}}, vms={"web1": {"state": "halted"}}),
    )
    fresh = Stage()
    fresh.commit(7, gated)
    fresh.ask(AskApply(revision=7, by="root"))
    fresh.commit(8, other)
    fresh.see(pool(gated, vms=UP))
    assert fresh.status.revision.state == "gated"
    assert fresh.status.plan.empty
    proposed = fresh.status.proposed
    assert proposed is not None
    assert [action.verb for action in proposed.actions] == ["stop"]
    assert fresh.calls == []


def test_a_source_out_of_reach_is_worth_a_word_only_after_a_while() -> None:
    fresh = stage(UP)
    fresh.tell(SourceFailed(reason="unreachable", message="no route"))
    assert fresh.status.condition is Condition.READY
    fresh.now_s += 3600.0
    fresh.see(pool(TREE, vms=UP))
    assert said(fresh.status) == ("converged", 0, "Degraded", "unreachable")


def test_a_source_that_is_not_believed_is_told_at_once() -> None:
    fresh = stage(UP)
    fresh.tell(SourceSeen(head=head(6)))
    assert said(fresh.status) == ("converged", 0, "Degraded", "WentBack")


# --- nodes and exceptions ---------------------------------------------------------------------------


def test_a_node_tells_its_memory_as_xenapi_counts_it() -> None:
    form = {"memory": "16GiB", "overhead": "1GiB", "dom0": "2GiB"}
    (node,) = stage(UP, nodes={"xen1": form}).status.nodes
    assert (node.vms_running, node.memory_total >> 30, node.memory_used >> 30) == (1, 16, 7)
    assert (node.name, node.uuid, node.state) == ("xen1", identity("host", "xen1"), "alive")
    assert (node.schedulable, node.draining, node.condition) == (True, False, Condition.READY)


def test_a_node_that_the_pool_does_not_hear_is_unknown() -> None:
    (node,) = stage(UP, nodes={"xen1": {"live": False}}).status.nodes
    assert (node.state, node.condition, node.reason) == ("unknown", Condition.UNKNOWN, "NotLive")


def test_a_node_that_somebody_disabled_is_not_schedulable() -> None:
    (node,) = stage(UP, nodes={"xen1": {"enabled": False}}).status.nodes
    assert not node.schedulable


def test_exceptions_are_told_with_what_is_left_of_them() -> None:
    fresh = stage(UP)
    ask = AskFreeze(objects=("vm/web1",), scopes=("intent",), for_s=60.0, reason="why", by="root")
    fresh.ask(ask)
    fresh.ask(AskDrain(node="xen1", for_s=None, reason="DIMM", by="bob"), after_s=10.0)
    found = [(e.kind, e.object, e.owner, e.seconds_left) for e in fresh.status.exceptions]
    assert found == [
        ("freeze", "vm/web1", "root", 50.0),
        ("drain", "node/xen1", "bob", None),
    ]
    assert [node.draining for node in fresh.status.nodes] == [True]


def test_every_verdict_has_an_exit_status_of_its_own() -> None:
    """But for what is held: for whoever waits it is a refusal."""
    assert set(EXIT) == set(Verdict)
    rest = [code for verdict, code in EXIT.items() if verdict is not Verdict.HELD]
    assert len(set(rest)) == len(rest)
    assert EXIT[Verdict.HELD] == EXIT[Verdict.REFUSED]


def test_what_is_proposed_knows_what_was_seen_last() -> None:
    """A VM stopped by somebody is drift in the head that waits, too, from the first look on."""
    tree = desired(
        cluster={"mode": "gated"}, nodes={"xen1": {}}, vms={"web1": {"state": "running"}}
    )
    fresh = Stage()
    fresh.commit(7, tree)
    fresh.ask(AskApply(revision=7, by="root"))
    fresh.see(pool(tree, vms={"web1": {"on": "xen1"}}))
    fresh.commit(8, tree)
    fresh.see(pool(tree, vms={"web1": {}}))
    proposed = fresh.status.proposed
    assert proposed is not None
    (row,) = proposed.actions
    assert (row.cause, row.waits and row.waits.on) == (Cause.DRIFT, "driftGrace")
