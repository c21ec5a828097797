"""`cxm demo --peers 3`: three nodes with two daemons each, on loopback addresses and a shared file."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.demos import Demo, running, until

pytestmark = pytest.mark.xdist_group("peers")

NAMES = ("xen1", "xen2", "xen3")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("p") / "demo", "--peers", "3") as up:
        yield up


def status(demo: Demo, name: str) -> dict[str, Any]:
    """What one node says."""
    return dict(demo.json(f"cxm --config $NODES/{name}/node.yaml status")["data"])


def leader(demo: Demo, name: str) -> str | None:
    found: str | None = status(demo, name)["leadership"]["leader"]
    return found


def states(demo: Demo, name: str) -> dict[str, str]:
    return {peer["name"]: peer["state"] for peer in status(demo, name)["peers"]}


def pids(demo: Demo, name: str) -> dict[str, int]:
    return next(dict(node["pids"]) for node in demo.document["nodes"] if node["name"] == name)


def running_on(demo: Demo, host: str) -> list[str]:
    """What really runs on this server."""
    hosts = demo.sim("status")["hosts"]
    return next(list(row["running"]) for row in hosts if row["name"] == host)


def places(foretold: dict[str, Any]) -> dict[str, str]:
    """Where each VM would run, of those that would come back."""
    rows = [row for row in foretold["vms"] if row["outcome"] == "returns"]
    return {row["object"].removeprefix("vm/"): row["to"] for row in rows}


ALL_ALIVE = dict.fromkeys(NAMES, "alive")


def test_each_node_has_two_daemons_and_its_own_settings(demo: Demo) -> None:
    nodes = demo.document["nodes"]
    assert [node["name"] for node in nodes] == list(NAMES)
    for node in nodes:
        assert set(node["pids"]) == {"cxmd", "heartbeatd", "daemon"}
        assert node["pids"]["daemon"] == node["pids"]["cxmd"]
        assert Path(node["config"]) == demo.folder / "nodes" / node["name"] / "node.yaml"
    numbers = {node["pids"][name] for node in nodes for name in ("cxmd", "heartbeatd")}
    assert len(numbers) == 6
    assert all(Path(f"/proc/{number}").is_dir() for number in numbers)
    assert demo.sh("echo $CXM_CONFIG").stdout.strip() == nodes[0]["config"]
    keys = {demo.folder / "nodes" / name / "secrets.d" / "cluster-key" for name in NAMES}
    assert len({key.read_bytes() for key in keys}) == 1


def test_all_hear_each_other_on_every_channel_and_follow_one(demo: Demo) -> None:
    assert until(lambda: all(states(demo, name) == ALL_ALIVE for name in NAMES), 15)
    for peer in status(demo, "xen2")["peers"]:
        assert set(peer["channels"]) == {"net1", "net2", "disk"}
    assert len({leader(demo, name) for name in NAMES}) == 1
    assert leader(demo, "xen1") in NAMES


def test_a_commit_is_told_to_every_node(demo: Demo) -> None:
    assert demo.sh("echo 'description: builds by day' >> $WC/vms/ci1.yaml").returncode == 0
    revision = demo.commit("a word about ci1")

    def known() -> bool:
        return all(status(demo, name)["revision"]["target"] == revision for name in NAMES)

    assert until(known, 8), "by the hook: each of them would look by itself only every 15 s"


@pytest.mark.timeout(120)
def test_a_leader_that_freezes_is_followed_by_another_and_comes_back(demo: Demo) -> None:
    assert until(lambda: leader(demo, "xen1") is not None, 15)
    old = str(leader(demo, "xen1"))
    other = next(name for name in NAMES if name != old)
    frozen = [pids(demo, old)[name] for name in ("heartbeatd", "cxmd")]
    for number in frozen:
        os.kill(number, signal.SIGSTOP)
    try:
        assert until(lambda: leader(demo, other) not in (None, old), 15)
        assert states(demo, other)[old] != "alive"
    finally:
        for number in frozen:
            os.kill(number, signal.SIGCONT)
    assert until(lambda: states(demo, other) == ALL_ALIVE, 20)
    assert until(lambda: leader(demo, old) == leader(demo, other) != old, 20)
    assert demo.sim("corruption")["count"] == 0


@pytest.mark.timeout(120)
def test_either_daemon_comes_back_under_another_pid(demo: Demo) -> None:
    before = pids(demo, "xen3")
    for name in ("cxmd", "heartbeatd"):
        os.kill(before[name], signal.SIGKILL)
    assert until(
        lambda: all(pids(demo, "xen3")[name] != before[name] for name in ("cxmd", "heartbeatd")), 15
    )
    assert until(lambda: states(demo, "xen1") == ALL_ALIVE, 20)
    assert until(lambda: demo.sh("cxm wait all --timeout 20s").returncode == 0, 40)


@pytest.mark.timeout(240)
def test_what_runs_on_a_server_that_loses_its_power_runs_elsewhere_when_a_wait_ends(
    demo: Demo,
) -> None:
    """As was foretold; and then the server comes back."""
    lost = next(name for name in ("xen3", "xen2") if name != leader(demo, "xen1"))
    vms = running_on(demo, lost)
    foretold = demo.json(f"cxm diff --what-if down={lost}")["data"]["whatIf"]
    demo.sim(f"power {lost} off")
    ended = demo.sh("cxm wait all --for converged --timeout 90s")
    assert ended.returncode == 0, ended.stderr
    now = {vm: demo.sim(f"vm {vm}") for vm in vms}
    assert {row["power_state"] for row in now.values()} == {"Running"}
    assert {vm: row["host"] for vm, row in now.items()} == places(foretold)
    assert demo.sim("corruption")["count"] == 0
    demo.sim(f"power {lost} on")
    assert demo.sh(f"cxm wait node/{lost} --for ready --timeout 150s").returncode == 0
    assert until(lambda: states(demo, "xen1") == ALL_ALIVE, 30)
    status_now = demo.json("cxm status")["data"]
    assert status_now["exceptions"] == [], "who came back by a new boot voids no certificate"
    assert running_on(demo, lost) == [], "nothing moves back by itself"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("peers", [1, 2])
def test_fewer_peers_do(peers: int, tmp_path: Path) -> None:
    with running(tmp_path / "d", "--peers", str(peers)) as few:
        assert [node["name"] for node in few.document["nodes"]] == list(NAMES[:peers])
        assert until(lambda: states(few, "xen1") == dict.fromkeys(NAMES[:peers], "alive"), 20)
        assert until(lambda: leader(few, "xen1") in NAMES[:peers], 20)
        assert few.sh("cxm wait all --timeout 40s").returncode == 0
        assert few.sh("cxm diff --what-if down=xen3").returncode == 0
