"""One step of the reconciler: when it plans, when it acts, when it keeps still."""

from __future__ import annotations

from msgspec.structs import replace

from membership.ledger import Fact, Hold
from membership.view import Peer, PeerState, single
from reconciler.actions import Done
from reconciler.messages import (
    AskFreeze,
    CallReturned,
    FactsMerged,
    Perform,
    SourceSeen,
    Tick,
    ViewPushed,
)
from reconciler.records import Answered, DaemonStarted, Intended, Settled
from tests.core.stage import Stage, desired, head, loaded, pool
from tests.plan.expansion import ME

TREE = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
DOWN = pool(TREE, vms={"web1": {}})
UP = pool(TREE, vms={"web1": {"on": "xen1"}})


def ready() -> Stage:
    fresh = Stage()
    fresh.commit(7, TREE)
    return fresh


def test_the_first_record_is_that_of_the_start() -> None:
    fresh = Stage()
    assert fresh.entries == [DaemonStarted(version="1.0.0", node=ME, term=1)]
    assert fresh.looks == 1


def test_nothing_is_done_before_a_tree_is_in_force() -> None:
    fresh = Stage()
    fresh.see(DOWN)
    assert fresh.calls == []


def test_a_daemon_acts_on_the_tree_that_it_kept_while_subversion_is_silent() -> None:
    fresh = Stage(kept=loaded(7, TREE))
    fresh.see(DOWN)
    assert fresh.calls == ["StartOn"]


def test_nothing_is_done_from_an_observation_that_is_too_old() -> None:
    fresh = ready()
    fresh.see(DOWN, age_s=15.1)
    assert fresh.calls == []
    fresh.see(DOWN, age_s=15.0)
    assert fresh.calls == ["StartOn"]


def test_an_observation_that_grew_too_old_moves_nobody() -> None:
    fresh = ready()
    ask = AskFreeze(objects=("all",), scopes=("intent",), for_s=10.0, reason="x", by="root")
    fresh.ask(ask)
    fresh.see(DOWN)
    assert fresh.calls == []
    fresh.tell(Tick(), after_s=20.0)
    assert fresh.calls == []
    fresh.see(DOWN)
    assert fresh.calls == ["StartOn"]


def test_a_call_is_made_once_while_it_is_under_way() -> None:
    fresh = ready()
    fresh.see(DOWN)
    for _ in range(5):
        fresh.see(DOWN)
        assert fresh.calls == []
    assert len([e for e in fresh.entries if isinstance(e, Intended)]) == 1


def test_a_call_is_over_only_by_an_observation_newer_than_its_return() -> None:
    fresh = ready()
    fresh.see(DOWN)
    (start,) = fresh.of(Perform)
    fresh.tell(CallReturned(txn=start.txn, answer=Done()))
    fresh.see(UP, age_s=5.0)
    assert [type(e) for e in fresh.entries[-1:]] == [Answered]
    fresh.see(UP)
    outcomes = [e.outcome for e in fresh.entries if isinstance(e, Settled)]
    assert outcomes == [Done()]


def test_an_answer_that_nobody_waits_for_is_not_written_down() -> None:
    fresh = ready()
    fresh.tell(CallReturned(txn="unknown", answer=Done()))
    assert not [e for e in fresh.entries if isinstance(e, Answered)]


def test_no_two_calls_bear_the_same_tag() -> None:
    tree = desired(
        cluster={"limits": {"startsPerNode": 9}},
        nodes={"xen1": {}},
        vms={name: {"state": "running"} for name in ("a", "b", "c")},
    )
    fresh = Stage()
    fresh.commit(7, tree)
    fresh.see(pool(tree, vms={"a": {}, "b": {}, "c": {}}))
    txns = [effect.txn for effect in fresh.of(Perform)]
    assert len(set(txns)) == 3
    assert all(txn.startswith("cxm-1-") for txn in txns)


# --- who may act ------------------------------------------------------------------------------------


def follower() -> ViewPushed:
    peers = {ME: Peer(state=PeerState.ALIVE), "other": Peer(state=PeerState.ALIVE)}
    return ViewPushed(view=replace(single(ME, 2), leader="other", peers=peers))


def test_a_node_that_does_not_lead_plans_and_emits_nothing() -> None:
    fresh = ready()
    fresh.tell(follower())
    fresh.see(DOWN)
    assert fresh.calls == []
    assert [action.verb for action in fresh.status.plan.actions] == ["start"]


def test_a_node_that_comes_to_lead_acts_without_a_new_observation() -> None:
    fresh = ready()
    fresh.tell(follower())
    fresh.see(DOWN)
    fresh.tell(ViewPushed(view=single(ME, 3)))
    assert fresh.calls == ["StartOn"]
    assert fresh.of(Perform)[0].txn.startswith("cxm-3-")


def test_a_lease_that_has_run_out_moves_nobody() -> None:
    fresh = ready()
    fresh.tell(ViewPushed(view=replace(single(ME, 2), lead_until_s=fresh.now_s + 3.0)))
    fresh.see(DOWN, after_s=3.0)
    assert fresh.calls == []


def test_a_hold_that_a_peer_raised_is_obeyed() -> None:
    fresh = ready()
    hold = Hold(id="H-1", reason="quorum", by="other")
    fact = Fact(key="hold/H-1", term=2, seq=1, at_epoch_s=0.0, value=hold)
    fresh.tell(FactsMerged(facts=(fact,)))
    fresh.see(DOWN)
    assert fresh.calls == []
    assert fresh.status.reason == "Held"


# --- time -------------------------------------------------------------------------------------------


def test_at_most_one_plan_a_second() -> None:
    fresh = ready()
    fresh.see(UP)
    stepped_s = fresh.now_s
    fresh.see(DOWN, after_s=0.1)
    assert fresh.status.plan.empty
    assert fresh.core.deadline() == stepped_s + 1.0
    fresh.tell(Tick(), after_s=0.9)
    assert not fresh.status.plan.empty


def test_the_deadline_is_when_a_wait_ends() -> None:
    tree = desired(
        cluster={"reconcile": {"driftGrace": "20s"}},
        nodes={"xen1": {}},
        vms={"web1": {"state": "running"}},
    )
    fresh = Stage()
    fresh.commit(7, tree)
    fresh.see(UP)
    fresh.tell(SourceSeen(head=head(7)))
    fresh.see(DOWN)
    stopped_s = fresh.now_s
    while fresh.now_s < stopped_s + 20.0:
        assert fresh.calls == []
        deadline_s = fresh.core.deadline()
        assert deadline_s is not None
        fresh.see(DOWN, after_s=max(0.0, deadline_s - fresh.now_s))
    assert fresh.now_s == stopped_s + 20.0
    assert fresh.calls == ["StartOn"]


def test_subversion_is_polled_with_jitter_around_the_interval() -> None:
    fresh = ready()
    gaps = []
    for _ in range(20):
        looked_s = fresh.now_s
        while not fresh.looks:
            deadline_s = fresh.core.deadline()
            assert deadline_s is not None
            fresh.tell(Tick(), after_s=max(0.0, deadline_s - fresh.now_s))
        gaps.append(fresh.now_s - looked_s)
        fresh.tell(SourceSeen(head=head(7)), after_s=0.0)
    assert all(12.0 <= gap <= 18.0 for gap in gaps[1:])
    assert len(set(gaps)) > 10


def test_no_second_look_while_one_is_under_way() -> None:
    fresh = Stage()
    for _ in range(20):
        fresh.tell(Tick(), after_s=10.0)
        assert fresh.looks == 0
