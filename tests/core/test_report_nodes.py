"""What a node tells of the servers, and how sure it is of those that it takes for alive."""

from __future__ import annotations

from membership.clock import Now
from membership.view import Peer, PeerState, single
from reconciler.accusing import Hearing, accused
from reconciler.messages import Probed
from reconciler.probing import Probing
from reconciler.report_nodes import heard_age_s
from tests.core.court import EPOCH_S, MONO_S, NODE, TREE, hearing, silent
from tests.core.stage import desired

INTERVAL_S = TREE.cluster.heartbeat.interval_s


def heard(seconds: float) -> Peer:
    return Peer(state=PeerState.ALIVE, last_heard_s=seconds)


def age_s(at: Hearing) -> float | None:
    return heard_age_s(at, accused(at))


def test_the_one_that_was_heard_least_of_late_counts_and_what_a_view_may_be_late_by() -> None:
    assert age_s(hearing({"xen2": heard(0.5), "xen3": heard(3.0)})) == 3.0 + INTERVAL_S


def test_one_that_is_believed_silent_keeps_nobody_waiting() -> None:
    assert age_s(hearing({"xen2": heard(0.5), "xen3": silent(20.0)})) == 0.5 + INTERVAL_S


def test_a_server_without_a_daemon_is_heard_when_its_toolstack_answers() -> None:
    nodes = {"xen1": NODE, "xen2": {"roles": ["run"], "unfenced": "accepted"}}
    tree = desired(nodes=nodes, vms={"web1": {"state": "running"}})
    peers = {"xen3": Peer(state=PeerState.UNKNOWN)}
    never = hearing(peers, wished=tree, on="xen2")
    assert age_s(never) is None
    probing = Probing()
    asked = Now(mono_s=MONO_S - 2.0, epoch_s=EPOCH_S)
    for probe in probing.due({"xen2": "xen2.example"}, asked):
        probing.probed(Probed(name=probe.name, answers=True, at_s=asked.mono_s))
    assert age_s(hearing(peers, wished=tree, on="xen2", probing=probing)) == 2.0


def test_where_one_daemon_is_the_whole_cluster_the_pool_is_believed() -> None:
    at = hearing({})
    alone = Hearing(
        me="xen1",
        desired=at.desired,
        observed=at.observed,
        view=single("xen1", 1),
        ledger=at.ledger,
        journal=at.journal,
        probing=at.probing,
        leads=True,
        now=at.now,
    )
    assert age_s(alone) == 0.0
