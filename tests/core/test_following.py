"""One revision for all: the leader says which, the others follow, and nobody ever goes back."""

from __future__ import annotations

import pytest

from membership.ledger import Approval, Ledger, Target
from reconciler.messages import (
    Ask,
    AskApply,
    AskDrain,
    AskFreeze,
    AskLook,
    AskRetry,
    AskThaw,
    AskUndrain,
    Keep,
    Share,
)
from reconciler.messages import Stage as StageTree
from reconciler.records import SourceLost, Targeted
from reconciler.revisions import TABLE, HeadEvent, HeadState, Revisions
from schema.model import Desired
from tests.core.members import Member
from tests.core.parliament import NAMES, Parliament, parliament
from tests.core.stage import desired, digest, head, loaded, pool
from tests.plan.expansion import REPOSITORY, identity

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
STOPPED = {"web1": {"state": "halted"}, "web2": {"state": "halted"}}
STARTED = {"web1": {"state": "running"}, "web2": {"state": "halted"}}
TREE = desired(nodes=NODES, vms=STOPPED)
NEXT = desired(nodes=NODES, vms=STARTED)
GATED = desired(cluster={"mode": "gated"}, nodes=NODES, vms=STOPPED)
GATED_NEXT = desired(cluster={"mode": "gated"}, nodes=NODES, vms=STARTED)
WATCHED = desired(cluster={"mode": "observe"}, nodes=NODES, vms=STOPPED)
WATCHED_NEXT = desired(cluster={"mode": "observe"}, nodes=NODES, vms=STARTED)


def house(wanted: Desired = TREE) -> Parliament:
    return parliament(wanted, pool(wanted, vms={"web1": {}, "web2": {}}))


def led(wanted: Desired = TREE, leader: str = "anna") -> Parliament:
    """All on r7; the leader acts."""
    fresh = house(wanted)
    fresh.elect(leader)
    fresh.pass_s(12.0)
    assert fresh[leader].alive.may_act(fresh.now) is (wanted is not WATCHED)
    return fresh


def commit(fresh: Parliament, revision: int, wanted: Desired, *names: str) -> None:
    """Subversion shows r`revision` to these nodes, and they look."""
    for name in names:
        fresh.heads[name] = loaded(revision, wanted)
        fresh.ask(name, AskLook())
    fresh.settle()


def in_force(fresh: Parliament) -> dict[str, int | None]:
    return {m.name: m.alive.status(fresh.now).revision.target for m in fresh.living}


def state(fresh: Parliament, name: str) -> str:
    return fresh[name].alive.status(fresh.now).revision.state


def targets(member: Member) -> list[int]:
    """The revisions that this node ever put in force."""
    return [entry.revision for entry in member.entries if isinstance(entry, Targeted)]


# --- following ------------------------------------------------------------------------------------------


def test_a_follower_keeps_a_new_head_ready_and_does_not_decide() -> None:
    fresh = led()
    commit(fresh, 8, NEXT, "bert", "cleo")
    fresh.pass_s(10.0)
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)
    assert state(fresh, "bert") == state(fresh, "cleo") == "staged"
    for name in ("bert", "cleo"):
        assert not any(isinstance(e, Share) and e.fact.key == "target" for e in fresh[name].effects)


def test_when_the_leader_decides_all_follow_at_once() -> None:
    fresh = led()
    commit(fresh, 8, NEXT, "bert", "cleo", "anna")
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    assert targets(fresh["bert"]) == targets(fresh["cleo"]) == [8]
    assert Keep(revision=8, digest=digest(8)) in fresh["cleo"].effects
    fresh.rest()
    assert [name for name, _, _ in fresh.performed] == ["anna"]


def test_an_agreed_tree_that_subversion_does_not_show_is_had_from_others() -> None:
    fresh = led()
    fresh.heads["cleo"] = None
    commit(fresh, 8, NEXT, "anna")
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    (asked,) = [e for e in fresh["cleo"].effects if isinstance(e, StageTree)]
    assert (asked.target.revision, asked.since) == (8, 7)
    assert state(fresh, "cleo") == "converged" or state(fresh, "cleo") == "target"


def test_what_cannot_be_had_is_asked_for_again_until_it_is_there() -> None:
    fresh = led()
    fresh.stages = False
    commit(fresh, 8, NEXT, "anna")
    fresh.pass_s(21.0)
    asked = [e for e in fresh["bert"].effects if isinstance(e, StageTree)]
    assert 3 <= len(asked) <= 5
    assert in_force(fresh) == {"anna": 8, "bert": 7, "cleo": 7}
    fresh.stages = True
    fresh.pass_s(6.0)
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    before = len(fresh["bert"].effects)
    fresh.pass_s(20.0)
    more = fresh["bert"].effects[before:]
    assert not any(isinstance(effect, StageTree) for effect in more), "it has it by now"


def test_a_leader_that_lacks_the_agreed_tree_does_not_act() -> None:
    fresh = led()
    fresh.stages = False
    commit(fresh, 8, NEXT, "anna")
    fresh.elect("bert")
    fresh.pass_s(30.0)
    assert not fresh["bert"].alive.may_act(fresh.now)
    fresh.stages = True
    fresh.rest()
    assert fresh["bert"].alive.may_act(fresh.now)
    assert len(fresh.performed) == 1


def test_a_new_leader_decides_what_was_staged() -> None:
    fresh = led()
    commit(fresh, 8, NEXT, "bert", "cleo")
    fresh.kill("anna")
    fresh.elect("bert")
    fresh.settle()
    assert in_force(fresh) == {"bert": 7, "cleo": 7}, "not before it may act"
    fresh.pass_s(12.0)
    assert in_force(fresh) == {"bert": 8, "cleo": 8}
    fresh.rest()
    assert [name for name, _, _ in fresh.performed] == ["bert"]


def test_while_nobody_leads_nothing_is_decided() -> None:
    fresh = house()
    commit(fresh, 8, NEXT, *NAMES)
    fresh.pass_s(60.0)
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)


def test_the_first_revision_of_all_is_decided_by_a_leader_that_may_act() -> None:
    """A node without a tree may have lost its ledger: it takes over before it decides anything."""
    fresh = house()
    for name in NAMES:
        fresh.kill(name)
        fresh[name].tree = None
        facts = [f for f in fresh[name].ledger.facts.values() if f.key != "target"]
        fresh[name].ledger = type(fresh[name].ledger)().merge(facts)
        fresh.heads[name] = loaded(8, NEXT)
    for name in NAMES:
        fresh.boot(name)
    fresh.elect("anna")
    fresh.pass_s(5.0)
    assert in_force(fresh) == dict.fromkeys(NAMES)
    fresh.rest()
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    assert len(fresh.performed) == 1


def test_a_leader_that_lost_its_ledger_hears_the_others_before_it_decides() -> None:
    """All went on to r9; anna comes back with nothing, and the first tree that it is shown is r8."""
    fresh = led(leader="bert")
    fresh.kill("anna")
    commit(fresh, 9, TREE, "bert", "cleo")
    fresh["anna"].tree, fresh["anna"].ledger, fresh["anna"].records = None, Ledger(), []
    fresh.heads["anna"], fresh["anna"].cut = None, True
    fresh.boot("anna")
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh["anna"].cut = False
    commit(fresh, 8, NEXT, "anna")
    assert in_force(fresh) == {"anna": 9, "bert": 9, "cleo": 9}
    fresh.rest()
    assert in_force(fresh) == {"anna": 9, "bert": 9, "cleo": 9}
    assert fresh.performed == []


def test_where_cxm_only_observes_to_lead_is_enough_to_decide() -> None:
    fresh = led(WATCHED)
    commit(fresh, 8, WATCHED_NEXT, *NAMES)
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    assert list(fresh.said.terms) == [1], "no term is claimed for that"


# --- nobody goes back ---------------------------------------------------------------------------------------


def test_a_node_that_acted_on_a_newer_revision_follows_no_older_one() -> None:
    fresh = led()
    fresh["anna"].cut = True
    commit(fresh, 8, NEXT, "anna")
    assert in_force(fresh) == {"anna": 8, "bert": 7, "cleo": 7}
    fresh.elect("bert")
    fresh.pass_s(25.0)
    assert fresh["bert"].alive.may_act(fresh.now)
    fresh.reconnect("anna")
    fresh.settle()
    assert in_force(fresh) == dict.fromkeys(NAMES, 8), "what anna acted on is what all follow"
    assert targets(fresh["anna"]) == [8]


def test_a_kept_tree_newer_than_the_agreed_one_is_agreed_on_by_its_leader() -> None:
    """The leader was killed between keeping r8 and telling of it; the others never heard of it."""
    fresh = led()
    fresh.kill("anna")
    fresh["anna"].tree = loaded(8, NEXT)
    fresh.heads["anna"] = loaded(8, NEXT)
    fresh.stages = False
    fresh.boot("anna")
    fresh.elect("bert")
    fresh.pass_s(12.0)
    assert in_force(fresh) == {"anna": 8, "bert": 7, "cleo": 7}
    fresh.stages = True
    fresh.elect("anna")
    fresh.rest()
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    assert set(targets(fresh["anna"])) <= {8}


def test_a_head_that_was_overtaken_is_never_decided_for() -> None:
    """Bert has r8 ready and loses Subversion; all go on to r9. When bert leads, r8 is no candidate."""
    fresh = led()
    commit(fresh, 8, NEXT, "bert")
    assert state(fresh, "bert") == "staged"
    fresh.heads["bert"] = None
    fresh.stages = True
    commit(fresh, 9, TREE, "anna", "cleo")
    assert in_force(fresh) == dict.fromkeys(NAMES, 9)
    fresh.elect("bert")
    fresh.rest()
    assert in_force(fresh) == dict.fromkeys(NAMES, 9)
    assert targets(fresh["bert"]) == [9]
    assert fresh.performed == []


CLUSTER = identity("cluster", "test")


def target(revision: int, text: str = "") -> Target:
    return Target(
        repository=REPOSITORY, path="/", revision=revision, digest=text or digest(revision)
    )


def staging(revision: int, *, at: int = 7) -> Revisions:
    """A follower on r`at` with r`revision` ready."""
    revisions = Revisions(CLUSTER, loaded(at, TREE))
    revisions.seen(head(revision), target(at), 1.0)
    revisions.loaded(loaded(revision, NEXT), target(at), None, decides=False)
    assert revisions.state is HeadState.STAGED
    return revisions


def test_what_comes_after_something_newer_was_agreed_is_not_accepted() -> None:
    revisions = Revisions(CLUSTER, loaded(7, TREE))
    revisions.seen(head(8), target(7), 1.0)
    revisions.loaded(loaded(8, NEXT), target(9), None, decides=True)
    assert revisions.target == loaded(7, TREE)
    assert revisions.agree(target(9), None, decides=True).target is None
    revisions.follow(loaded(9, TREE), target(9))
    assert (revisions.state, revisions.candidate) == (HeadState.TARGET, None)
    assert revisions.head == head(9)


def test_a_head_below_what_is_in_force_here_is_doubted_though_the_ledger_is_lost() -> None:
    revisions = Revisions(CLUSTER, loaded(9, TREE))
    verdict = revisions.seen(head(8), None, 1.0)
    (doubt,) = verdict.entries
    assert isinstance(doubt, SourceLost)
    assert (doubt.reason, verdict.fetch) == ("WentBack", None)


def test_another_content_of_the_agreed_revision_is_doubted() -> None:
    revisions = staging(8)
    verdict = revisions.agree(target(8, "e" * 64), None, decides=True)
    assert verdict.target is None
    assert (revisions.state, revisions.reason) == (HeadState.DOUBTED, "DigestDiffers")


def test_an_older_tree_that_comes_late_is_not_followed() -> None:
    revisions = Revisions(CLUSTER, loaded(9, TREE))
    assert revisions.follow(loaded(8, NEXT), target(8)).keep is None
    assert revisions.target == loaded(9, TREE)


def test_a_tree_that_is_not_the_agreed_one_is_not_followed() -> None:
    revisions = staging(8)
    assert revisions.follow(loaded(8, NEXT), target(9)).keep is None
    assert revisions.follow(loaded(9, None), target(9)).keep is None


@pytest.mark.parametrize("decides", [True, False])
def test_a_follower_takes_what_is_agreed_whoever_decides(decides: bool) -> None:
    revisions = staging(8)
    verdict = revisions.agree(target(8), None, decides=decides)
    assert (verdict.target, verdict.keep) == (None, Keep(revision=8, digest=digest(8)))
    assert revisions.state is HeadState.TARGET


def test_a_newer_head_that_is_being_fetched_goes_on_when_an_older_one_is_followed() -> None:
    revisions = Revisions(CLUSTER, loaded(7, TREE))
    revisions.seen(head(9), target(7), 1.0)
    revisions.follow(loaded(8, NEXT), target(8))
    assert (revisions.state, revisions.head) == (HeadState.FETCHING, head(9))
    revisions.loaded(loaded(9, TREE), target(8), None, decides=True)
    assert revisions.target == loaded(9, TREE)


def test_what_subversion_says_of_the_agreed_revision_is_still_compared() -> None:
    revisions = Revisions(CLUSTER, loaded(7, TREE))
    revisions.seen(head(8), target(7), 1.0)
    revisions.follow(loaded(8, NEXT), target(8))
    other = type(loaded(8, NEXT))(head=head(8), digest="e" * 64, desired=NEXT)
    revisions.loaded(other, target(8), None, decides=False)
    assert revisions.reason == "DigestDiffers"


def test_nothing_in_the_table_leads_from_doubt_to_acting() -> None:
    out = {event: after for (before, event), after in TABLE.items() if before is HeadState.DOUBTED}
    assert out == {HeadEvent.SEEN: HeadState.FETCHING, HeadEvent.DOUBT: HeadState.DOUBTED}


# --- gated --------------------------------------------------------------------------------------------------


def gated() -> Parliament:
    """r8 waits for approval on the leader, and is ready on the others."""
    fresh = led(GATED)
    commit(fresh, 8, GATED_NEXT, *NAMES)
    assert (state(fresh, "anna"), state(fresh, "bert")) == ("gated", "staged")
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)
    return fresh


def test_an_approval_on_the_leader_is_one_for_all() -> None:
    fresh = gated()
    assert fresh.ask("anna", AskApply(revision=8, by="root")).accepted
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)
    fresh.rest()
    assert len(fresh.performed) == 1


def test_whoever_may_not_decide_yet_approves_nothing() -> None:
    """It may not have read yet that something newer was acted on."""
    fresh = gated()
    fresh.elect("bert")
    fresh.pass_s(12.0)
    fresh.elect("anna")
    fresh.pass_s(1.5)
    reply = fresh.ask("anna", AskApply(revision=8, by="root"))
    assert (reply.accepted, reply.reason) == (False, "NotActing")
    assert "anna leads and may not decide yet" in reply.message
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)
    fresh.pass_s(12.0)
    assert fresh.ask("anna", AskApply(revision=8, by="root")).accepted


@pytest.mark.parametrize(
    "ask",
    [
        AskFreeze(objects=("all",), scopes=("intent",), for_s=60.0, reason="a copy", by="root"),
        AskThaw(objects=("all",), by="root"),
        AskDrain(node="xen2", for_s=None, reason="memory", by="root"),
        AskUndrain(node="xen2", by="root"),
        AskRetry(objects=("node/xen2",), by="root"),
    ],
)
def test_whoever_may_not_decide_yet_grants_nothing(ask: Ask) -> None:
    """What it said in a term that is another's, or of which nobody has heard, might get lost."""
    fresh = led(GATED)
    fresh.elect("bert")
    fresh.pass_s(1.5)
    reply = fresh.ask("bert", ask)
    assert (reply.accepted, reply.reason) == (False, "NotActing")
    fresh.pass_s(12.0)
    assert fresh.ask("bert", ask).reason != "NotActing"


def test_what_is_older_than_what_was_acted_on_is_not_approved() -> None:
    revisions = Revisions(CLUSTER, loaded(7, GATED))
    revisions.seen(head(8), target(7), 1.0)
    revisions.loaded(loaded(8, GATED_NEXT), target(7), None, decides=True)
    assert revisions.state is HeadState.GATED
    assert revisions.approve(8, target(9)).target is None
    assert revisions.target == loaded(7, GATED)
    assert revisions.approve(8, target(7)).target == target(8)


def test_a_new_leader_gates_what_was_staged() -> None:
    fresh = gated()
    fresh.elect("bert")
    fresh.pass_s(12.0)
    assert state(fresh, "bert") == "gated"
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)
    assert fresh.ask("bert", AskApply(revision=8, by="root")).accepted
    assert in_force(fresh) == dict.fromkeys(NAMES, 8)


@pytest.mark.parametrize("heir", ["bert", "anna"])
def test_an_approval_outlives_the_leader_that_took_it(heir: str) -> None:
    """It was told, and then the leader fell before it told of the target."""
    fresh = gated()
    approval = Approval(revision=8, digest=digest(8), by="root")
    fresh.elect("cleo")
    fresh.settle()
    fact = fresh["cleo"].ledger.facts["target"]
    told = type(fact)(key="approval", term=fresh.term, seq=99, at_epoch_s=0.0, value=approval)
    fresh.kill("cleo")
    for member in fresh.living:
        fresh._take(member, [told])
    fresh.elect(heir)
    fresh.pass_s(12.0)
    assert in_force(fresh) == {"anna": 8, "bert": 8}


def test_a_follower_approves_nothing_by_itself() -> None:
    fresh = gated()
    reply = fresh.ask("bert", AskApply(revision=8, by="root"))
    assert not reply.accepted
    assert in_force(fresh) == dict.fromkeys(NAMES, 7)
