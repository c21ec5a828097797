"""`cxm wait`: what it waits for, what ends it, what it says meanwhile."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.status import SourceStatus
from tests.cli import canned
from tests.cli.conftest import Cxm, Script


def test_wait_looks_at_subversion_first_and_waits_for_its_head(daemon: Script, cxm: Cxm) -> None:
    stale = replace(canned.CALM, source=SourceStatus(reachable=True, age_s=9.0, looks=6))
    newer = replace(canned.DIFFERS, source=SourceStatus(reachable=True, age_s=0.1, looks=7))
    settled = replace(
        canned.CALM,
        revision=replace(canned.CALM.revision, head=146, target=146, converged=146),
        planned=146,
    )
    daemon.statuses = [stale, stale, newer, newer, settled]
    found = cxm("wait", "all")
    assert found.exit == 0
    assert daemon.posted == [("/v1/look", {})]
    assert "> vm/web2 migrate  xen2 -> xen3" in found.err
    assert "ended after" in found.err
    assert found.out.startswith("lyon r146 AUTO, converged")


def test_wait_for_a_revision_does_not_look(daemon: Script, cxm: Cxm) -> None:
    assert cxm("wait", "all", "-r", "145").exit == 0
    assert daemon.posted == []
    late = cxm("wait", "all", "-r", "146", "--timeout", "300ms", "-o", "json")
    assert late.exit == 8
    assert late.envelope["verdict"] == "timeout"
    assert "waiting: r146 has not been seen yet" in late.err


def test_wait_ends_at_once_at_a_rejected_head(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.REJECTED]
    found = cxm("wait", "all", "--timeout", "30s")
    assert found.exit == 3
    assert "r147 (mallory" in found.err
    assert "vms/web2.yaml:5:1: error[V003]" in found.err
    assert cxm("wait", "all", "-r", "145", "--timeout", "300ms").exit == 0


def test_wait_never_takes_an_old_picture_for_the_truth(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.UNKNOWN]
    assert cxm("wait", "all", "--timeout", "300ms").exit == 8


@pytest.mark.parametrize("sel", ["all", "vm/web2"])
def test_wait_ends_by_nothing_that_was_so_before_it_began(
    sel: str, daemon: Script, cxm: Cxm
) -> None:
    """A server whose power has just failed is believed alive for seconds, and its VMs to run."""
    seen = replace(canned.OBSERVATION, age_s=0.0)
    for age_s, heard_age_s in ((9.0, 0.0), (0.0, 9.0), (0.0, None)):
        before = replace(seen, age_s=age_s, heard_age_s=heard_age_s)
        daemon.statuses = [replace(canned.CALM, observation=before)]
        assert cxm("wait", sel, "-r", "145", "--timeout", "300ms").exit == 8
        assert cxm("wait", sel, "--for", "ready", "-r", "145", "--timeout", "300ms").exit == 8
    since = replace(seen, age_s=0.3, heard_age_s=0.4)
    daemon.statuses = [replace(canned.CALM, observation=since)]
    assert cxm("wait", sel, "-r", "145", "--timeout", "20s").exit == 0


def test_wait_for_all_ends_by_no_proof_of_before_it_began(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [replace(canned.CALM, converged_age_s=9.0)]
    assert cxm("wait", "all", "-r", "145", "--timeout", "300ms").exit == 8


def test_wait_for_ready_and_for_a_word_that_means_nothing(daemon: Script, cxm: Cxm) -> None:
    assert cxm("wait", "web1", "--for", "ready", "-r", "145").exit == 0
    daemon.statuses = [canned.DIFFERS]
    assert cxm("wait", "vm/ci2", "--for", "ready", "-r", "1", "--timeout", "200ms").exit == 8
    assert cxm("wait", "vm/ci2", "--for", "Degraded", "-r", "1", "--timeout", "5s").exit == 0
    assert cxm("wait", "all", "--for", "happiness").exit == 64


def test_wait_believes_the_rows_of_the_revision_it_waits_for_alone(
    daemon: Script, cxm: Cxm
) -> None:
    """A daemon plans once a second: just after a commit the rows are still those of before."""
    planned = replace(canned.DIFFERS, in_flight=())
    after = replace(canned.CALM, revision=replace(planned.revision, converged=146), planned=146)
    for sel in ("vm/web2", "all"):
        daemon.statuses = [canned.UNPLANNED, canned.UNPLANNED, planned, after]
        found = cxm("wait", sel, "-r", "146", "--timeout", "10s")
        assert found.exit == 0
        assert found.err == "waiting: r146 is being planned\n"
        assert daemon.statuses == [after]


def test_wait_for_what_only_the_new_revision_has(daemon: Script, cxm: Cxm) -> None:
    new = replace(
        canned.CALM,
        revision=replace(canned.CALM.revision, head=146, target=146, converged=146),
        planned=146,
        vms=(canned.vm("new1"),),
    )
    daemon.statuses = [canned.CALM, canned.UNREAD, new]
    assert cxm("wait", "vm/new1", "-r", "146", "--timeout", "10s").exit == 0
    assert cxm("wait", "vm/nwe1", "-r", "146", "--timeout", "10s").exit == 1
    assert daemon.statuses == [new]


def test_wait_tells_who_must_act_where_a_head_waits(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.GATED]
    late = cxm("wait", "all", "--timeout", "300ms")
    assert late.exit == 8
    assert "waiting: r146 waits for cxm apply" in late.err


def test_wait_without_subversion_waits_for_what_is_in_force(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.OFFLINE]
    found = cxm("wait", "all", "--timeout", "5s")
    assert found.exit == 0
    assert "Subversion does not answer" in found.err
