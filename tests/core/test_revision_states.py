"""Revisions: from a head that was seen to a target, or to the reason why not."""

from __future__ import annotations

import pytest

from membership.ledger import Target
from reconciler.messages import Fetch, FetchFailed, Keep, Share, SourceFailed, SourceSeen
from reconciler.records import HeadSeen, Rejected, SourceBack, SourceLost, Targeted
from reconciler.revisions import TABLE, HeadEvent, HeadState, Revisions, summary, trusted
from schema.errors import ConfigError
from tests.core.stage import Stage, desired, digest, head, loaded
from tests.plan.expansion import REPOSITORY, identity

CLUSTER = identity("cluster", "test")
TREE = desired(vms={"web1": {}, "web2": {}, "web3": {}})
FEWER = desired(vms={"web1": {}})
GATED = desired(cluster={"mode": "gated"}, vms={"web1": {}})
AGREED = Target(repository=REPOSITORY, path="/", revision=7, digest=digest(7))
WRONG = ConfigError(path="vms/a.yaml", line=3, column=1, code="V003", message="unknown key")


def revisions(*, at: int | None = None) -> Revisions:
    """With r`at` in force, if any."""
    fresh = Revisions(CLUSTER, loaded(at, TREE) if at is not None else None)
    if at is not None:
        fresh.seen(head(at), None, 1.0)
        fresh.loaded(loaded(at, TREE), AGREED, None, decides=True)
        assert fresh.state is HeadState.TARGET
    return fresh


def test_a_head_is_fetched_once() -> None:
    fresh = revisions()
    first = fresh.seen(head(7, "one\n\ntwo"), None, 60.0)
    assert first.fetch == Fetch(head=head(7, "one\n\ntwo"), since=0, timeout_s=60.0)
    assert first.entries == (HeadSeen(revision=7, author="alice", summary="one"),)
    assert fresh.seen(head(7, "one\n\ntwo"), None, 60.0).fetch is None


def test_a_good_tree_becomes_the_target() -> None:
    fresh = revisions()
    fresh.seen(head(7), None, 1.0)
    verdict = fresh.loaded(loaded(7, TREE), None, None, decides=True)
    assert verdict.target == AGREED
    assert verdict.keep == Keep(revision=7, digest=digest(7))
    assert isinstance(verdict.entries[0], Targeted)
    assert fresh.state is HeadState.TARGET
    assert fresh.target == loaded(7, TREE)


def test_what_was_agreed_already_is_not_agreed_again() -> None:
    fresh = Revisions(CLUSTER, loaded(7, TREE))
    fresh.seen(head(7), AGREED, 1.0)
    verdict = fresh.loaded(loaded(7, TREE), AGREED, None, decides=True)
    assert (verdict.entries, verdict.target) == ((), None)
    assert fresh.state is HeadState.TARGET


def test_a_tree_with_errors_is_rejected_and_the_last_good_one_stays() -> None:
    fresh = revisions(at=7)
    fresh.seen(head(8), AGREED, 1.0)
    verdict = fresh.loaded(loaded(8, None, errors=(WRONG, WRONG)), AGREED, None, decides=True)
    message = "vms/a.yaml:3: unknown key and 1 more"
    assert verdict.entries == (
        Rejected(revision=8, author="alice", reason="Invalid", message=message),
    )
    assert fresh.state is HeadState.REJECTED
    assert fresh.errors == (WRONG, WRONG)
    assert fresh.target == loaded(7, TREE)


def test_a_tree_for_a_newer_cxm_is_told_apart() -> None:
    fresh = revisions(at=7)
    fresh.seen(head(8), AGREED, 1.0)
    newer = loaded(8, None, errors=(WRONG,))
    newer = type(newer)(head=newer.head, digest="x", desired=None, needs_upgrade=True)
    assert fresh.loaded(newer, AGREED, None, decides=True).target is None
    assert fresh.reason == "NeedsUpgrade"


def test_the_tree_of_another_cluster_is_rejected() -> None:
    fresh = Revisions("another", None)
    fresh.seen(head(7), None, 1.0)
    assert fresh.loaded(loaded(7, TREE), None, None, decides=True).target is None
    assert fresh.reason == "WrongCluster"


def test_what_goes_beyond_the_limits_needs_the_exact_line() -> None:
    fresh = revisions(at=7)
    fresh.seen(head(8), AGREED, 1.0)
    fresh.loaded(loaded(8, FEWER), AGREED, None, decides=True)
    assert (fresh.state, fresh.reason) == (HeadState.REJECTED, "ConsentMissing")
    assert "Cxm-Accept: removals=vm/web2,vm/web3" in fresh.message


def test_with_consent_the_same_tree_becomes_the_target() -> None:
    fresh = revisions(at=7)
    message = "two less\n\nCxm-Accept: removals=vm/web2,vm/web3"
    fresh.seen(head(8, message), AGREED, 1.0)
    assert fresh.loaded(loaded(8, FEWER, message), AGREED, None, decides=True).target is not None


def test_a_revision_does_not_lift_the_limits_that_stop_it() -> None:
    fresh = revisions(at=7)
    lifted = desired(cluster={"limits": {"removalsPerRevision": 9}}, vms={"web1": {}})
    fresh.seen(head(8), AGREED, 1.0)
    assert fresh.loaded(loaded(8, lifted), AGREED, None, decides=True).target is None


def gated(*, head_revision: int = 8) -> Revisions:
    fresh = Revisions(CLUSTER, loaded(7, GATED))
    fresh.seen(head(head_revision), AGREED, 1.0)
    fresh.loaded(loaded(head_revision, GATED), AGREED, None, decides=True)
    return fresh


def test_in_gated_mode_a_head_waits_for_approval() -> None:
    fresh = gated()
    assert fresh.state.value == "gated"
    assert fresh.candidate == loaded(8, GATED)
    assert fresh.target == loaded(7, GATED)
    verdict = fresh.approve(8, AGREED)
    assert verdict.target is not None
    assert verdict.target.revision == 8
    settled, waiting = fresh.state, fresh.candidate
    assert settled is HeadState.TARGET
    assert waiting is None


def test_only_the_revision_that_waits_can_be_approved() -> None:
    fresh = gated()
    assert fresh.approve(9, AGREED).target is None
    assert fresh.state is HeadState.GATED


def test_to_leave_gated_mode_needs_an_approval_too() -> None:
    fresh = Revisions(CLUSTER, loaded(7, GATED))
    fresh.seen(head(8), AGREED, 1.0)
    assert fresh.loaded(loaded(8, TREE), AGREED, None, decides=True).target is None
    assert fresh.state is HeadState.GATED


def test_what_was_approved_before_a_restart_is_not_gated_again() -> None:
    fresh = gated(head_revision=7)
    assert fresh.state is HeadState.TARGET


def test_a_newer_head_takes_the_place_of_one_that_waits() -> None:
    fresh = gated()
    fresh.seen(head(9), AGREED, 1.0)
    assert fresh.approve(8, AGREED).target is None
    fresh.loaded(loaded(9, GATED), AGREED, None, decides=True)
    assert fresh.candidate == loaded(9, GATED)


def test_a_rejected_head_takes_the_place_of_one_that_waits() -> None:
    fresh = gated()
    fresh.seen(head(9), AGREED, 1.0)
    fresh.loaded(loaded(9, None, errors=(WRONG,)), AGREED, None, decides=True)
    assert (fresh.state, fresh.candidate) == (HeadState.REJECTED, None)


def test_a_tree_that_was_superseded_while_it_was_fetched_is_dropped() -> None:
    fresh = revisions(at=7)
    fresh.seen(head(8), AGREED, 1.0)
    fresh.seen(head(9), AGREED, 1.0)
    assert fresh.loaded(loaded(8, TREE), AGREED, None, decides=True).target is None
    assert fresh.state is HeadState.FETCHING
    verdict = fresh.loaded(loaded(9, TREE), AGREED, None, decides=True)
    assert verdict.target is not None
    assert verdict.target.revision == 9


# --- a repository that is not believed --------------------------------------------------------------


def doubted(fresh: Revisions) -> str:
    assert fresh.state is HeadState.DOUBTED
    assert fresh.target == loaded(7, TREE)
    return fresh.reason


def test_another_repository_is_not_believed() -> None:
    fresh = revisions(at=7)
    verdict = fresh.seen(head(9, repository="another"), AGREED, 1.0)
    assert verdict.fetch is None
    assert isinstance(verdict.entries[0], SourceLost)
    assert doubted(fresh) == "OtherRepository"


def test_another_repository_is_believed_with_consent() -> None:
    fresh = revisions(at=7)
    consent = head(2, "moved\n\nCxm-Accept: source-changed", repository="another")
    assert fresh.seen(consent, AGREED, 1.0).fetch is not None


def test_a_repository_that_went_back_is_not_believed() -> None:
    fresh = revisions(at=7)
    assert fresh.seen(head(6), AGREED, 1.0).fetch is None
    assert doubted(fresh) == "WentBack"


def test_a_revision_that_says_something_else_than_before_is_not_believed() -> None:
    fresh = Revisions(CLUSTER, loaded(7, TREE))
    fresh.seen(head(7), AGREED, 1.0)
    other = loaded(7, TREE)
    forged = type(other)(head=other.head, digest="f" * 64, desired=TREE)
    assert fresh.loaded(forged, AGREED, None, decides=True).target is None
    assert doubted(fresh) == "DigestDiffers"


def test_a_repository_that_is_itself_again_is_looked_at_again() -> None:
    fresh = revisions(at=7)
    fresh.seen(head(6), AGREED, 1.0)
    assert fresh.seen(head(7), AGREED, 1.0).fetch is not None
    fresh.loaded(loaded(7, TREE), AGREED, None, decides=True)
    assert (fresh.state, fresh.reason) == (HeadState.TARGET, "")


def test_a_fetch_that_failed_is_tried_again_at_the_next_look() -> None:
    fresh = revisions()
    fresh.seen(head(7), None, 1.0)
    fresh.failed()
    assert fresh.seen(head(7), None, 1.0).fetch is not None


# --- the table --------------------------------------------------------------------------------------


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TABLE.values()) | {HeadState.NONE} == set(HeadState)
    assert {state for state, _ in TABLE} == set(HeadState)
    assert {event for _, event in TABLE} == set(HeadEvent)


@pytest.mark.parametrize("state", HeadState)
def test_a_new_head_and_a_doubt_are_taken_in_every_state(state: HeadState) -> None:
    assert TABLE[state, HeadEvent.SEEN] is HeadState.FETCHING
    assert TABLE[state, HeadEvent.DOUBT] is HeadState.DOUBTED


def test_only_what_waits_can_be_approved() -> None:
    assert [s for s, event in TABLE if event is HeadEvent.APPROVED] == [HeadState.GATED]


# --- what a daemon may start from -------------------------------------------------------------------


def test_a_daemon_starts_from_what_was_agreed_or_is_newer() -> None:
    assert trusted(loaded(7, TREE), AGREED) == loaded(7, TREE)
    assert trusted(loaded(8, TREE), AGREED) == loaded(8, TREE)
    assert trusted(loaded(6, TREE), AGREED) is None
    assert trusted(loaded(6, TREE), None) == loaded(6, TREE)
    assert trusted(None, AGREED) is None


@pytest.mark.parametrize(
    ("message", "first"), [("", ""), ("\n\n  a \nb", "a"), ("one", "one"), ("\n \n", "")]
)
def test_a_summary_is_the_first_line_that_says_anything(message: str, first: str) -> None:
    assert summary(message) == first


# --- through the reconciler -------------------------------------------------------------------------


def test_the_ledger_knows_the_target_before_anybody_acts_on_it() -> None:
    stage = Stage()
    stage.commit(7, TREE)
    assert [share.fact.value for share in stage.of(Share)] == [AGREED]
    assert stage.status.revision.target == 7


def test_a_doubt_is_journalled_once_and_so_is_its_end() -> None:
    stage = Stage()
    stage.commit(7, TREE)
    for _ in range(3):
        stage.tell(SourceSeen(head=head(6)))
    assert len([e for e in stage.entries if isinstance(e, SourceLost)]) == 1
    assert stage.status.revision.target == 7
    stage.tell(SourceSeen(head=head(7)))
    assert not [e for e in stage.entries if isinstance(e, SourceBack)], "it was only seen so far"
    stage.tell(loaded(7, TREE))
    assert len([e for e in stage.entries if isinstance(e, SourceBack)]) == 1


def test_a_repository_out_of_reach_is_told_and_the_target_stays() -> None:
    stage = Stage()
    stage.commit(7, TREE)
    stage.tell(SourceFailed(reason="unreachable", message="no route"))
    source = stage.status.source
    assert (source.reachable, source.reason, source.failures) == (False, "unreachable", 1)
    assert source.using_last_known_good
    assert stage.status.revision.target == 7


def test_a_fetch_that_failed_counts_as_a_failure_of_the_source() -> None:
    stage = Stage()
    stage.tell(SourceSeen(head=head(7)))
    stage.tell(FetchFailed(head=head(7), reason="broken", message="no such file"))
    assert stage.status.source.reason == "broken"
    stage.tell(SourceSeen(head=head(7)))
    assert len(stage.of(Fetch)) == 1


def test_the_fetch_of_a_head_that_is_no_longer_one_may_fail_unheard() -> None:
    stage = Stage()
    stage.tell(SourceSeen(head=head(7)))
    stage.tell(SourceSeen(head=head(8)))
    stage.tell(FetchFailed(head=head(7), reason="broken", message="no such file"))
    assert stage.status.source.failures == 0
