"""`cxm apply` and saved plans: approval of exactly what was read."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.messages import Reply
from reconciler.sameness import plan_digest
from reconciler.status import Status
from tests.cli import canned
from tests.cli.conftest import Cxm, Script

APPROVED = replace(canned.DIFFERS, mode="gated")


def test_apply_in_mode_auto(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.CALM]
    assert cxm("apply").exit == 0
    ask = {"ask": "apply", "revision": 145, "plan": None}
    assert daemon.posted == [("/v1/look", {}), ("/v1/apply", ask)]


def test_apply_in_mode_gated_needs_a_word(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.GATED]
    refused = cxm("apply")
    assert refused.exit == 4
    assert "> vm/web2" in refused.err
    assert daemon.posted == [("/v1/look", {})]
    daemon.statuses = [canned.GATED, canned.GATED, canned.GATED, APPROVED]
    begun = cxm("apply", "--yes", "--no-wait")
    assert begun.exit == 2
    ask = {"ask": "apply", "revision": 146, "plan": None}
    assert daemon.posted[-1] == ("/v1/apply", ask)
    assert begun.out.startswith("lyon: 3 actions, 2 blocked for r146 (alice")
    assert "waits for cxm apply" not in begun.out


def test_apply_waits_until_the_head_that_waits_is_planned(daemon: Script, cxm: Cxm) -> None:
    unplanned = replace(canned.GATED, proposed=None)
    daemon.statuses = [unplanned, unplanned, unplanned, canned.GATED, APPROVED]
    found = cxm("apply", "--yes", "--no-wait")
    assert found.exit == 2
    assert "waiting: the head is being read and planned" in found.err
    assert "3 actions, 2 blocked for r146" in found.err


def test_a_person_agrees_to_what_was_read_and_to_nothing_else(
    daemon: Script, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.options.Invocation.may_ask", True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    daemon.statuses = [canned.GATED, canned.GATED, canned.GATED, APPROVED]
    assert cxm("apply", "--no-wait").exit == 2
    ask = {"ask": "apply", "revision": 146, "plan": plan_digest(canned.PLAN)}
    assert daemon.posted[-1] == ("/v1/apply", ask)


def test_apply_of_an_old_revision_is_refused(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.CALM]
    found = cxm("apply", "-r", "12")
    assert found.exit == 4
    assert "svn merge -r HEAD:12" in found.err
    assert daemon.posted == [("/v1/look", {})]


def test_apply_of_a_saved_plan_is_exact_or_nothing(
    daemon: Script, cxm: Cxm, tmp_path: Path
) -> None:
    daemon.statuses = [canned.GATED]
    file = tmp_path / "plan.json"
    assert cxm("diff", "--out", file).exit == 2
    later = replace(canned.START, waits=None, estimate_s=3.0)
    same = replace(canned.PLAN, actions=(canned.MIGRATE, canned.RESTART, later))
    now = replace(canned.GATED, proposed=same)
    daemon.statuses = [now, now, now, APPROVED]
    assert cxm("apply", file, "--yes", "--no-wait").exit == 2
    ask = {"ask": "apply", "revision": 146, "plan": plan_digest(canned.PLAN)}
    assert daemon.posted[-1] == ("/v1/apply", ask)
    daemon.posted.clear()
    fewer = replace(canned.PLAN, actions=(canned.MIGRATE, later))
    daemon.statuses = [replace(canned.GATED, proposed=fewer)]
    stale = cxm("apply", file, "--yes", "-o", "json")
    assert stale.exit == 7
    assert stale.envelope["errors"][0]["hint"] == "no longer: vm/web1 restart memory 4GiB -> 8GiB"
    assert daemon.posted == [("/v1/look", {})]


def test_a_plan_that_changes_after_the_last_look_is_refused_by_the_daemon(
    daemon: Script, cxm: Cxm, tmp_path: Path
) -> None:
    daemon.statuses = [canned.CALM]
    file = tmp_path / "plan.json"
    assert cxm("diff", "--out", file).exit == 0
    daemon.refuses = Reply(accepted=False, reason="StalePlan", message="it is another one")
    stale = cxm("apply", file, "-o", "json")
    assert stale.exit == 7
    assert stale.envelope["verdict"] == "stale"
    assert [path for path, _ in daemon.posted] == ["/v1/look", "/v1/apply"]


@pytest.mark.parametrize("status", [canned.UNKNOWN, replace(canned.GATED, proposed=None)])
def test_what_is_not_known_is_not_saved(
    status: Status, daemon: Script, cxm: Cxm, tmp_path: Path
) -> None:
    daemon.statuses = [status]
    found = cxm("diff", "--out", tmp_path / "plan.json", "-o", "json")
    assert found.exit == 6
    assert found.envelope["errors"][0]["code"] == "NoPlan"
    assert not (tmp_path / "plan.json").exists()


def test_a_file_that_is_no_plan(daemon: Script, cxm: Cxm, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text("{}", encoding="utf-8")
    assert cxm("apply", file).exit == 1
    assert daemon.posted == []


def test_a_plan_of_uncommitted_files_is_not_saved(
    daemon: Script, cxm: Cxm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.supposing.folder", lambda *_: canned.DIFFERS)
    found = cxm("diff", "--wc", tmp_path, "--out", tmp_path / "plan.json")
    assert found.exit == 4
    assert not (tmp_path / "plan.json").exists()
    assert daemon.asked == []
