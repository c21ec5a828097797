"""Each command against a scripted daemon: what it asks, what it says, how it exits."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cli import client
from cli.envelope import EXITS
from reconciler.actions import Plan
from reconciler.messages import Reply
from reconciler.status import Status
from reconciler.why import Why
from tests.cli import canned
from tests.cli.conftest import Cxm, Script


@pytest.mark.parametrize("command", ["status", "diff"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (canned.CALM, 0),
        (canned.DIFFERS, 2),
        (canned.REJECTED, 3),
        (canned.UNKNOWN, 6),
        (canned.OFFLINE, 0),
        (canned.GATED, 2),
    ],
)
def test_exit_status_and_envelope_agree(
    command: str, status: Status, code: int, daemon: Script, cxm: Cxm
) -> None:
    daemon.statuses = [status]
    assert cxm(command).exit == code
    found = cxm(command, "-o", "json")
    assert found.exit == code
    assert found.envelope["verdict"] == status.verdict
    assert found.envelope["cluster"] == "lyon"
    assert found.envelope["observation"]["by"] == "xen1"
    assert found.err == ""


def test_the_table_of_exits() -> None:
    assert dict(EXITS) == {
        "converged": 0,
        "error": 1,
        "differs": 2,
        "invalid": 3,
        "refused": 4,
        "partial": 5,
        "unknown": 6,
        "stale": 7,
        "timeout": 8,
        "held": 4,
        "usage": 64,
        "interrupted": 130,
    }


def test_diff_as_json_has_the_rows_and_a_count_per_verb(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.DIFFERS]
    data = cxm("diff", "-o", "json").envelope["data"]
    assert data["summary"] == {"migrate": 1, "restart": 1, "start": 1, "blocked": 2}
    assert data["revision"]["target"] == 146
    start = data["actions"][2]
    assert start["waits"] == {
        "on": "driftGrace",
        "message": "",
        "until": "2026-11-22T08:26:04Z",
    }
    assert data["blocked"][0]["best"]["node"] == "xen2"
    assert data["told"] == [msgspec.to_builtins(canned.PREFERS)]


def test_what_a_head_that_waits_would_do_stands_beside_what_is_in_force(
    daemon: Script, cxm: Cxm
) -> None:
    daemon.statuses = [canned.GATED]
    data = cxm("diff", "-o", "json").envelope["data"]
    assert [row["object"] for row in data["actions"]] == ["vm/db1"]
    assert data["planned"] == 145
    assert data["proposed"]["revision"] == 146
    assert data["proposed"]["summary"] == {"migrate": 1, "restart": 1, "start": 1, "blocked": 2}
    status = cxm("status", "-o", "json").envelope["data"]
    assert status["proposed"] == data["proposed"]
    assert [row["object"] for row in status["plan"]["actions"]] == ["vm/db1"]


def test_a_selection_differs_where_the_head_that_waits_would_change_it(
    daemon: Script, cxm: Cxm
) -> None:
    daemon.statuses = [replace(canned.GATED, plan=Plan())]
    assert cxm("diff", "vm/web2").exit == 2
    assert cxm("diff", "node/xen1").exit == 0
    assert cxm("diff", "--cause", "drift").exit == 2
    assert "vm/ci2" in cxm("diff", "vm/ci2").out  # New in the head: in no revision before it.
    daemon.statuses = [replace(canned.GATED, plan=Plan(), proposed=None)]
    assert cxm("diff", "node/xen1").exit == 2


def test_diff_of_one_cause_counts_only_its_rows(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.DIFFERS]
    drain = cxm("diff", "--cause", "drain", "-o", "json")
    assert (drain.exit, len(drain.envelope["data"]["blocked"])) == (2, 1)
    daemon.statuses = [replace(canned.DIFFERS, plan=replace(canned.PLAN, blocked=()))]
    assert cxm("diff", "--cause", "drain").exit == 0


def test_a_selection_has_its_own_verdict(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned.DIFFERS]
    assert cxm("status", "node/xen1").exit == 0
    moved = cxm("status", "vm/web2")
    assert moved.exit == 2
    assert "vm/web2" in moved.out
    assert "vm/ci2" not in moved.out


def test_what_stands_for_nothing_is_told_with_what_is_near(daemon: Script, cxm: Cxm) -> None:
    found = cxm("status", "vm/wbe1")
    assert (found.exit, found.out) == (1, "")
    assert 'there is no "vm/wbe1"' in found.err
    assert "did you mean vm/web1?" in found.err
    assert daemon.asked == ["/v1/status"]


def test_another_cluster_is_refused(daemon: Script, cxm: Cxm) -> None:
    found = cxm("status", "--cluster", "paris", "-o", "json")
    assert found.exit == 4
    assert found.envelope["errors"][0]["code"] == "OtherCluster"
    assert cxm("--cluster", "lyon", "status").exit == 0
    assert cxm("--cluster", canned.CALM.cluster_id, "status").exit == 0
    assert daemon.posted == []


def test_global_options_before_and_after_the_command(daemon: Script, cxm: Cxm) -> None:
    before, after = cxm("-o", "jsonl", "status"), cxm("status", "-o", "jsonl")
    assert before.out == after.out
    assert before.out.count("\n") == 1
    assert "\x1b[" in cxm("status", "--color", "always").out
    assert "\x1b[" not in cxm("status").out
    assert len(daemon.asked) == 4


def test_an_answer_of_another_version_is_explained(daemon: Script, cxm: Cxm) -> None:
    daemon.raw = b'{"surprise": 1}'
    found = cxm("status", "-o", "json")
    assert found.exit == 1
    assert found.envelope["errors"][0]["code"] == "Protocol"


def test_events_are_filtered_and_resumable(daemon: Script, cxm: Cxm) -> None:
    rows = [json.loads(row) for row in cxm("events", "-o", "jsonl").out.splitlines()]
    assert [row["seq"] for row in rows] == [n for n in range(1, 17) if n != 6]
    assert rows[0]["at"] == "2026-11-22T08:13:05Z"
    assert rows[4]["entry"]["entry"] == "intended"
    drift = cxm("events", "--cause", "drift", "-o", "json").envelope["data"]["events"]
    assert [row["seq"] for row in drift] == [11, 12]
    web2 = cxm("events", "vm/web2", "-v", "-o", "json").envelope["data"]["events"]
    assert [row["seq"] for row in web2] == [5, 6, 7]
    newest = cxm("events", "-n", "2", "--utc").out.splitlines()
    assert [row.split()[-3] for row in newest][1] == "converged"
    assert cxm("events", "--from", "15", "-o", "jsonl").out.count("\n") == 2
    assert daemon.asked[-1] == "/v1/events?from=15"


def test_events_since_a_moment_or_for_a_while(daemon: Script, cxm: Cxm) -> None:
    late = cxm("events", "--since", "2026-11-22T08:13:18Z", "-o", "jsonl")
    assert [json.loads(row)["seq"] for row in late.out.splitlines()] == [14, 15, 16]
    assert cxm("events", "--since", "yesterday").exit == 64
    assert len(daemon.asked) == 1


def test_watch_resumes_where_the_daemon_broke_off(daemon: Script, cxm: Cxm) -> None:
    found = cxm("watch", "--from", "14", "--timeout", "1500ms", "-o", "jsonl")
    assert found.exit == 0
    assert [json.loads(row)["seq"] for row in found.out.splitlines()] == [14, 15, 16]
    assert daemon.asked[-1] == "/v1/events?from=17&follow=1"


def test_why_takes_a_bare_name(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="vm/web1", known=True, subject=canned.WEB1)
    found = cxm("why", "web1")
    assert found.exit == 0
    assert found.out.startswith(f"vm/web1  {canned.WEB1}\n")
    assert daemon.asked[-1] == "/v1/why/vm/web1"
    assert cxm("why", "web1", "-o", "json").envelope["data"]["subject"] == canned.WEB1


def test_why_of_what_is_not_there(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="vm/bd1", known=False)
    found = cxm("why", "vm/bd1")
    assert found.exit == 1
    assert "did you mean vm/db1?" in found.err


def test_freeze_says_what_why_and_how_long(daemon: Script, cxm: Cxm) -> None:
    daemon.reply = Reply(accepted=True, notes=("vm/web1 is frozen",))
    found = cxm("freeze", "vm/web*", "--for", "1h30m", "--reason", "backup", "--scope", "drift")
    assert (found.exit, found.out) == (0, "vm/web1 is frozen\n")
    path, body = daemon.posted[0]
    assert path == "/v1/freeze"
    assert body == {
        "ask": "freeze",
        "objects": ["vm/web1", "vm/web2"],
        "scopes": ["drift"],
        "for_s": 5400.0,
        "reason": "backup",
    }
    cxm("freeze", "all", "--for", "2h", "--reason", "audit")
    assert daemon.posted[1][1]["objects"] == ["all"]
    assert daemon.posted[1][1]["scopes"] == ["intent", "drift", "rebalance"]


def test_a_freeze_without_an_end_or_a_reason_is_misuse(daemon: Script, cxm: Cxm) -> None:
    assert cxm("freeze", "web1", "--reason", "x").exit == 64
    assert cxm("freeze", "web1", "--for", "2h").exit == 64
    assert cxm("freeze", "web1", "--for", "2 hours", "--reason", "x").exit == 64
    assert daemon.posted == []


def test_thaw_retry_undrain(daemon: Script, cxm: Cxm) -> None:
    assert cxm("thaw", "web1").exit == 0
    assert cxm("retry", "vm/web1,vm/web2").exit == 0
    assert cxm("undrain", "xen3").exit == 0
    assert daemon.posted == [
        ("/v1/thaw", {"ask": "thaw", "objects": ["vm/web1"]}),
        ("/v1/retry", {"ask": "retry", "objects": ["vm/web1", "vm/web2"]}),
        ("/v1/undrain", {"ask": "undrain", "node": "xen3"}),
    ]
    assert cxm("undrain", "web1").exit == 1


def test_retry_of_all_is_of_what_is_in_the_pool(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [replace(canned.CALM, vms=(canned.vm("db1"), canned.vm("x", observed=None)))]
    assert cxm("retry", "all").exit == 0
    assert daemon.posted[0][1]["objects"] == ["node/xen1", "node/xen2", "node/xen3", "vm/db1"]


def test_a_refusal_of_the_daemon_is_exit_4_in_its_words(daemon: Script, cxm: Cxm) -> None:
    daemon.code = 409
    daemon.reply = Reply(accepted=False, reason="NotFrozen", message="nothing is frozen")
    found = cxm("thaw", "all", "-o", "json")
    assert found.exit == 4
    assert found.envelope["errors"] == [{"code": "NotFrozen", "message": "nothing is frozen"}]
    daemon.code = 403
    daemon.reply = Reply(
        accepted=False, reason="Forbidden", message="eve is not in group cxm-admin"
    )
    denied = cxm("thaw", "all")
    assert denied.exit == 4
    assert "eve is not in group cxm-admin" in denied.err


def test_drain_tells_at_once_what_cannot_be_moved(daemon: Script, cxm: Cxm) -> None:
    elsewhere = replace(canned.FAILING, object="vm/db1")
    draining = replace(
        canned.DIFFERS,
        vms=(canned.vm("web3", node="xen3"), canned.vm("db1")),
        plan=replace(canned.PLAN, blocked=(canned.FAILING, elsewhere)),
    )
    daemon.statuses = [canned.CALM, draining]
    found = cxm("drain", "xen3", "--for", "4h", "--reason", "DIMM swap")
    assert found.exit == 0
    assert daemon.posted == [
        ("/v1/drain", {"ask": "drain", "node": "xen3", "for_s": 14400.0, "reason": "DIMM swap"})
    ]
    assert "VM_LACKS_FEATURE" in found.err
    assert "install the guest tools" in found.err
    assert "vm/db1" not in found.err


def test_drain_and_wait_ends_partly_done_where_the_rest_is_blocked(
    daemon: Script, cxm: Cxm
) -> None:
    stuck = replace(canned.DIFFERS, plan=replace(canned.PLAN, actions=()), in_flight=())
    daemon.statuses = [canned.CALM, canned.DIFFERS, stuck]
    found = cxm("drain", "xen3", "--reason", "x", "--wait", "-o", "json")
    assert found.exit == 5
    assert found.envelope["data"] == {"node": "xen3", "vms_running": 3}
    empty = tuple(replace(node, vms_running=0) for node in canned.DIFFERS.nodes)
    daemon.statuses = [replace(stuck, nodes=empty)]
    assert cxm("drain", "xen3", "--reason", "x", "--wait").exit == 0


@pytest.mark.parametrize(
    "line",
    [
        ("thaw", "all"),
        ("events",),
        ("watch",),
        ("retry", "vm/web1"),
        ("drain", "xen1", "--reason", "x"),
    ],
)
def test_what_needs_a_daemon_says_so(line: tuple[str, ...], config: Path, cxm: Cxm) -> None:
    found = cxm(*line, "-o", "json")
    assert found.exit == 1
    fault = found.envelope["errors"][0]
    assert fault["code"] == "NoDaemon"
    assert str(config.parent / "run" / "cxmd.sock") in fault["message"]


def test_who_may_not_speak_to_the_daemon_is_told_so(
    daemon: Script, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(client._Connection, "connect", closed)
    for line in (("status",), ("members",), ("hold", "--reason", "x")):
        found = cxm(*line)
        assert found.exit == 4
        assert "error[Forbidden]" in found.err
        assert "group cxm may read" in found.err
    assert daemon.asked == []


def test_a_daemon_that_is_frozen_is_told_from_none(config: Path, cxm: Cxm) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(config.parent / "run" / "cxmd.sock"))
        door.listen()
        for line in (("thaw", "all"), ("members",)):
            found = cxm(*line, "--timeout", "200ms")
            assert "error[Silent]" in found.err
            assert "ask on another node" in found.err


def test_without_daemon_subversion_and_pool_the_answer_is_unknown(config: Path, cxm: Cxm) -> None:
    found = cxm("status", "-o", "json")
    assert found.exit == 6
    assert found.envelope["verdict"] == "unknown"
    assert "asking Subversion and XenAPI directly" in found.err
    assert not (config.parent / "state").exists()


def test_without_settings(cxm: Cxm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXM_CONFIG", str(tmp_path / "none.yaml"))
    found = cxm("status", "-o", "json")
    assert found.exit == 1
    assert found.envelope["errors"][0]["code"] == "NoSettings"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("nodde: xen1\n", encoding="utf-8")
    bad = cxm("status", "--config", wrong)
    assert bad.exit == 3
    assert 'unknown key "nodde"; did you mean "node"?' in bad.out
