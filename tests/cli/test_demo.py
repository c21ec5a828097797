"""`cxm demo --quick --keep`: what it promises to others who stand on it. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.demos import Demo, running, until

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("d") / "demo") as up:
        yield up


def test_the_tree_is_in_force_and_nothing_differs(demo: Demo) -> None:
    assert demo.sh("cxm diff").returncode == 0
    data = json.loads(demo.sh("cxm status -o json").stdout)["data"]
    assert data["mode"] == "auto"
    assert {vm["manage"] for vm in data["vms"]} == {"enforce"}
    assert len(data["vms"]) == 12
    assert {"pool", "hosts", "control", "repository", "working_copy", "nodes"} <= set(demo.document)


def test_a_commit_moves_a_vm_there(demo: Demo) -> None:
    seen = json.loads(demo.sh("cxm sim ctl -o json vm dns1").stdout)["data"]["host"]
    target = "xen2" if seen != "xen2" else "xen3"
    edited = demo.sh(f"echo 'placement: {{only: [{target}]}}' >> $WC/vms/dns1.yaml")
    assert edited.returncode == 0
    assert demo.sh("cxm validate $WC").returncode == 0
    diff = demo.sh("cxm diff --wc $WC")
    assert diff.returncode == 2
    assert "> vm/dns1  migrate" in diff.stdout
    assert demo.sh("svn commit -q -m 'dns1 moves' $WC").returncode == 0
    waited = demo.sh("cxm wait all --for converged --timeout 60s")
    assert waited.returncode == 0, waited.stderr
    now = json.loads(demo.sh("cxm sim ctl -o json vm dns1").stdout)["data"]
    assert (now["host"], now["power_state"]) == (target, "Running")


def test_a_bad_commit_is_refused_with_the_text_of_validate(demo: Demo) -> None:
    demo.sh("echo 'placment: {}' >> $WC/vms/db1.yaml")
    told = demo.sh("cxm validate $WC")
    assert told.returncode == 3
    assert "did you mean" in told.stdout
    refused = demo.sh("svn commit -q -m 'oops' $WC")
    assert refused.returncode == 1
    assert told.stdout.splitlines()[0] in refused.stderr
    assert demo.sh("svn revert -q $WC/vms/db1.yaml").returncode == 0


def test_every_server_has_a_bmc_that_a_fence_agent_can_ask(demo: Demo) -> None:
    bmcs = demo.document["bmcs"]
    assert [bmc["host"] for bmc in bmcs] == [host["name"] for host in demo.document["hosts"]]
    for bmc in bmcs:
        told = "".join(f"{key}={value}\n" for key, value in bmc["options"].items())
        done = subprocess.run(
            [bmc["agent"]],
            input=f"{told}action=status\n",
            env={"PATH": "/usr/sbin:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "Status: ON\n")


def test_a_daemon_that_dies_comes_back_under_another_pid(demo: Demo) -> None:
    before = demo.document["nodes"][0]["pids"]["daemon"]
    os.kill(before, signal.SIGKILL)
    assert until(lambda: demo.document["nodes"][0]["pids"]["daemon"] != before, 10)
    assert demo.sh("cxm wait all --timeout 30s").returncode == 0


def test_without_a_daemon_the_answer_is_the_same(demo: Demo) -> None:
    demo.sh("sed 's#^runDir:.*#runDir: /nowhere#' $CXM_CONFIG > ${CXM_CONFIG%/*}/alone.yaml")
    alone = demo.sh("cxm --config ${CXM_CONFIG%/*}/alone.yaml diff")
    assert alone.returncode == 0, alone.stderr
    assert "asking Subversion and XenAPI directly" in alone.stderr
    assert "nothing to do" in alone.stdout


def test_an_unknown_certificate_is_refused_with_the_exact_option(demo: Demo) -> None:
    host = demo.document["hosts"][0]
    address = host["url"].removeprefix("https://")
    secret = demo.folder / "node" / "secrets.d" / "pool"
    survey = f"cxm survey {address} --password-file {secret}"
    refused = demo.sh(survey)
    assert refused.returncode == 4
    option = f"--fingerprint {host['fingerprint']}"
    assert option in refused.stderr
    known = demo.sh(f"{survey} {option} --calls")
    assert known.returncode == 0
    assert "12 VMs (12 running)" in known.stdout
    assert "session.logout" in known.stderr
    assert "secret" not in known.stderr.replace("secrets.d", "")


def test_a_demo_never_writes_over_what_is_there(demo: Demo) -> None:
    again = demo.sh(f"cxm demo --dir {demo.folder}")
    assert again.returncode == 4
    assert "is not empty" in again.stderr


def test_nothing_ran_twice(demo: Demo) -> None:
    corruption = json.loads(demo.sh("cxm sim ctl -o json corruption").stdout)
    assert corruption["data"]["count"] == 0
