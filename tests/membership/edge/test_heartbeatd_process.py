"""`cxm-heartbeatd` as real processes: started, killed, flooded, told of other keys and other peers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from membership.edge.clock import boot_s
from membership.edge.disk_keeping import make
from membership.edge.link import HeartbeatLink
from membership.edge.stored import MEMORY, ROSTER
from membership.roster import Candidacy
from membership.view import View
from tests.membership.edge.beaters import CLUSTER, KEY, Beater, Fleet, until

pytestmark = pytest.mark.xdist_group("heartbeatd")
TOO_HEAVY = ("ruamel", "aiohttp", "structlog", "jsonschema", "cryptography", "http", "reconciler")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, 3)
    yield fleet
    fleet.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Beater]:
    """A node that nobody has told of any peers."""
    beater = Beater(tmp_path / "n1", "n1")
    yield beater
    if beater.process is not None and not beater.ended:
        beater.process.kill()
        beater.process.wait(10)


def test_three_peers_hear_each_other_and_one_that_is_killed_is_dead(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    first, second, third = fleet.beaters
    third.stop(signal.SIGKILL)
    until(lambda: first.states()["n3"] == second.states()["n3"] == "dead")
    third.start()
    until(fleet.all_alive)
    assert third.memory()["generation"] == 2
    assert first.view().health.mute == ""


def test_who_is_asked_to_end_says_goodbye(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    first, second, _ = fleet.beaters
    assert second.stop() == 0
    until(lambda: first.states()["n2"] == "left", 0.8)
    assert not (second.run / "heartbeatd.sock").exists()
    assert second.events()[-1]["event"] == "stopped"


def test_a_leader_is_chosen_and_followed_by_candidacies(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    views = asyncio.run(_led(fleet, 4.0))
    leaders = {name: view.leader for name, view in views.items()}
    assert len(set(leaders.values())) == 1
    leader = leaders["n1"]
    assert leader is not None
    (term,) = {view.term for view in views.values()}
    assert term > 7
    assert [name for name, view in views.items() if view.lead_until_s > 0] == [leader]
    voted = [b.memory() for b in fleet.beaters]
    assert [(m["term"], m["voted_for"]) for m in voted].count((term, leader)) >= 2


def test_who_cannot_remember_does_not_vote(fleet: Fleet) -> None:
    """Its state is away when it has to note a vote down: it ends, and nobody has that vote."""
    fleet.start()
    until(fleet.all_alive)
    first, second, third = fleet.beaters
    first.state.rename(first.folder / "away")
    views = asyncio.run(_led(fleet, 4.0))
    assert first.process is not None
    assert first.process.wait(10) == 74
    assert "heartbeat.json" in first.log.read_text()
    assert json.loads((first.folder / "away" / MEMORY).read_text())["memory"]["term"] == 0
    assert views["n2"].leader == views["n3"].leader
    assert views["n2"].leader in ("n2", "n3")
    assert not second.ended
    assert not third.ended


async def _led(fleet: Fleet, for_s: float) -> dict[str, View]:
    """The last views after every `cxmd` has shown for so long that it lives."""
    views: dict[str, View] = {}
    async with _links(fleet, views) as links:
        for _ in range(int(for_s / 0.1)):
            for link in links:
                link.renew(Candidacy(floor=7))
            await asyncio.sleep(0.1)
    return views


@contextlib.asynccontextmanager
async def _links(fleet: Fleet, views: dict[str, View]) -> AsyncIterator[list[HeartbeatLink]]:
    links = [
        HeartbeatLink(
            b.run / "heartbeatd.sock",
            lambda view, name=b.name: views.__setitem__(name, view),  # type: ignore[misc]
            boot_s,
        )
        for b in fleet.beaters
    ]
    tasks = [asyncio.create_task(link.run()) for link in links]
    yield links
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_two_peers_see_each_other_on_the_disk_and_its_loss_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make(disk, CLUSTER, force=False)
    fleet = Fleet(tmp_path, 2, disk)
    try:
        fleet.start()
        until(fleet.all_alive)
        first = fleet.beaters[0]
        until(lambda: first.view().peers["n2"].channels["disk"] == "alive")
        disk.rename(tmp_path / "gone")
        until(lambda: "missing" in first.view().health.disk)
        assert first.states() == {"n2": "alive"}
        (tmp_path / "gone").rename(disk)
        until(lambda: first.view().health.disk == "")
        assert [e["event"] for e in first.events() if e["event"].startswith("disk-")] == [
            "disk-lost",
            "disk-back",
        ]
    finally:
        fleet.close()


def test_without_a_roster_it_waits_and_says_so(alone: Beater) -> None:
    alone.start()
    view = alone.view()
    assert (view.leader, view.peers) == (None, {})
    assert "no membership yet" in view.reason


def test_another_roster_is_taken_up_while_it_runs(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    for beater in fleet.beaters[:2]:
        beater.write_roster(fleet.roster_of(["n1", "n2"]))
    first = fleet.beaters[0]
    until(lambda: first.states() == {"n2": "alive"})
    (first.state / ROSTER).write_text('{"cluster_id": "half')
    until(lambda: first.events()[-1]["event"] == "membership-unusable")
    assert first.states() == {"n2": "alive"}


def test_a_key_is_changed_on_one_node_after_the_other(fleet: Fleet) -> None:
    """First all of them verify the new one, then they sign by it, then the old one goes."""
    fleet.start()
    until(fleet.all_alive)
    fresh = "another-key-of-more-than-32-letters"
    for keys in ((KEY, fresh), (fresh, KEY), (fresh,)):
        for beater in fleet.beaters:
            beater.write_keys(*keys)
            until(lambda b=beater, k=keys: b.events()[-1].get("keys") == len(k))  # type: ignore[misc]
            time.sleep(0.3)
            assert fleet.all_alive()


def test_a_key_that_is_taken_away_is_told_and_the_old_one_kept(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    first = fleet.beaters[0]
    first.write_keys("short")
    until(lambda: first.events()[-1]["event"] == "cluster-key-unusable")
    assert "short" not in first.events()[-1]["message"].replace("characters", "")
    time.sleep(1.0)
    assert fleet.all_alive()


def test_a_flood_of_rubbish_silences_nobody(fleet: Fleet) -> None:
    fleet.start()
    until(fleet.all_alive)
    first = fleet.beaters[0]
    told, sent = len(first.events()), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
        ends_s = time.monotonic() + 3.0
        while time.monotonic() < ends_s:
            for _ in range(20):
                gun.sendto(b"CXMH" + os.urandom(200), ("127.0.1.1", fleet.port))
                sent += 1
            time.sleep(0.002)
            if sent % 5000 == 0:
                assert fleet.all_alive()
    assert sent > 5000
    assert fleet.all_alive()
    assert [e for e in first.events()[told:] if e.get("state") in ("suspect", "dead")] == []


def test_nothing_heavy_is_ever_imported(fleet: Fleet) -> None:
    """As the interpreter itself tells it, from the start to the end of a life with peers."""
    first, second, _ = fleet.beaters
    second.start()
    first.start("-X", "importtime")
    until(lambda: first.states()["n2"] == "alive")
    first.write_keys(KEY, "another-key-of-more-than-32-letters")
    time.sleep(1.2)
    assert first.stop() == 0
    text = first.log.read_text()
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", text, re.MULTILINE))
    assert "membership.heart" in imported
    assert [name for name in imported if name.split(".")[0] in TOO_HEAVY] == []
    assert [name for name in imported if name == "schema.settings"] == []


def test_a_second_one_on_the_same_state_does_not_start(alone: Beater) -> None:
    alone.start()
    done = _run(alone)
    assert done.returncode == 75
    assert f"pid {alone.pid}" in done.stderr
    assert alone.memory()["generation"] == 1


@pytest.mark.parametrize("damage", ["", "{", '{"memory":{"generation":9},"crc":"00000000"}'])
def test_a_damaged_memory_is_not_guessed_around(alone: Beater, damage: str) -> None:
    path = alone.state / MEMORY
    path.write_text(damage)
    done = _run(alone)
    assert (done.returncode, path.read_text()) == (65, damage)
    assert str(path) in done.stderr


def test_settings_that_do_not_hold_end_with_78_and_the_place(alone: Beater) -> None:
    alone.config.write_text(json.dumps(alone.settings(nodde="x"), indent=1))
    done = _run(alone)
    assert done.returncode == 78
    assert f"{alone.config}:" in done.stderr
    assert "nodde" in done.stderr


def test_a_node_without_peers_needs_no_heartbeats(alone: Beater) -> None:
    alone.config.write_text(json.dumps(alone.settings(engine={"kind": "single"})))
    done = _run(alone)
    assert done.returncode == 78
    assert "engine: {kind: builtin}" in done.stderr


def test_without_settings_or_key_it_does_not_start(alone: Beater) -> None:
    (alone.folder / "secrets.d/cluster-key").chmod(0o644)
    done = _run(alone)
    assert done.returncode == 78
    assert "chmod 0600" in done.stderr
    alone.config.unlink()
    done = _run(alone)
    assert done.returncode == 78
    assert "--config FILE" in done.stderr


def test_wrong_usage_is_64(alone: Beater) -> None:
    command = [sys.executable, "-m", "membership.edge.heartbeatd", "--nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert alone.process is None


def test_systemd_is_told_and_kept_awake(
    alone: Beater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "10000000")
        alone.start()
        heard = [ear.recv(64) for _ in range(3)]
        assert b"READY=1" in heard
        assert heard.count(b"WATCHDOG=1") == 2
        alone.stop()
        until(lambda: ear.recv(64) == b"STOPPING=1")


def _run(beater: Beater) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "membership.edge.heartbeatd", "--config", str(beater.config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
