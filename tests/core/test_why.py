"""Why: all that bears on one object."""

from __future__ import annotations

from reconciler.actions import Retry, StartOn
from reconciler.messages import Authorship, CallReturned, Perform, SourceSeen
from tests.core.stage import Stage, desired, head, loaded, pool
from tests.plan.expansion import identity

TREE = desired(
    nodes={"xen1": {"previousNames": ["old1"]}, "xen2": {}},
    vms={"web1": {"state": "running", "memory": "4GiB", "previousNames": ["www"]}, "web2": {}},
)
SMALL = {"xen1": {"memory": "1GiB"}, "xen2": {"memory": "2GiB"}}


def stage(**forms: object) -> Stage:
    fresh = Stage()
    fresh.tell(SourceSeen(head=head(7)))
    by = Authorship(revision=5, author="alice", summary="web1 up")
    known = loaded(7, TREE)
    authors = {"vm/web1": by}
    fresh.tell(type(known)(head=known.head, digest=known.digest, desired=TREE, authors=authors))
    fresh.see(pool(TREE, **forms))
    return fresh


def test_before_there_is_a_tree_nothing_is_known() -> None:
    fresh = Stage()
    assert not fresh.core.why("vm/web1", fresh.now).known


def test_an_object_is_found_by_an_earlier_name() -> None:
    fresh = stage(vms={"web1": {"on": "xen1"}})
    vm = fresh.core.why("vm/www", fresh.now)
    assert (vm.object, vm.subject, vm.also) == ("vm/web1", identity("vm", "web1"), ("vm/www",))
    node = fresh.core.why("node/old1", fresh.now)
    assert (node.object, node.known, node.also) == ("node/xen1", True, ("node/old1",))


def test_a_stranger_keeps_his_name() -> None:
    fresh = stage(vms={})
    found = fresh.core.why("vm/stranger", fresh.now)
    assert (found.object, found.known) == ("vm/stranger", False)
    assert not fresh.core.why("pool", fresh.now).known


def test_who_declared_it_is_told() -> None:
    fresh = stage(vms={"web1": {}})
    declared = fresh.core.why("vm/web1", fresh.now).declared
    assert declared == Authorship(revision=5, author="alice", summary="web1 up")


def test_every_node_that_is_refused_is_told_with_its_numbers() -> None:
    fresh = stage(nodes=SMALL, vms={"web1": {}})
    found = fresh.core.why("vm/web1", fresh.now)
    assert [row.reason for row in found.blocked] == ["InsufficientMemory"]
    assert found.placement is not None
    assert found.placement.chosen is None
    assert [(r.node, r.has) for r in found.placement.rejected] == [
        ("xen1", 1 << 30),
        ("xen2", 2 << 30),
    ]


def test_where_a_vm_would_go_is_told_though_it_runs() -> None:
    fresh = stage(vms={"web1": {"on": "xen1"}})
    placement = fresh.core.why("vm/web1", fresh.now).placement
    assert placement is not None
    assert placement.chosen == "xen1"
    assert placement.needs == (4096 + 37) << 20


def test_what_went_before_is_told_in_ages() -> None:
    fresh = stage(vms={"web1": {"on": "xen1"}})
    fresh.see(pool(TREE, vms={"web1": {}}))
    fresh.now_s += 10.0
    past = fresh.core.why("vm/web1", fresh.now).past
    assert past is not None
    assert (past.unmet_age_s, past.foreign_age_s) == ({"power": 10.0}, (10.0,))


def test_failures_are_told_with_their_reason() -> None:
    fresh = stage(vms={"web1": {}})
    (start,) = [effect for effect in fresh.of(Perform) if isinstance(effect.call, StartOn)]
    fresh.tell(CallReturned(txn=start.txn, answer=Retry(reason="HOST_OFFLINE", message="gone")))
    fresh.see(pool(TREE, vms={"web1": {}}))
    past = fresh.core.why("vm/web1", fresh.now).past
    assert past is not None
    assert (past.failures, past.failing) == (1, "HOST_OFFLINE: gone")
