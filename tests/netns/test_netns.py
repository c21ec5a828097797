"""The runs that are part of `make test`, and what they stand on. `make netns` has all the runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.harness import FOLDER, alone, remove_all
from tests.netns.nodes import until
from tests.netns.runs import RUNS, Run, carry_out
from tests.netns.wires import PREFIX, Wires, address, inside, namespace, run

OFTEN = tuple(run for run in RUNS if run.often)
PROGRAMS = ("ip", "nft", "losetup", "nsenter", "unshare", "mkfs.ext4", "fsfreeze", "svnserve")

pytestmark = [pytest.mark.xdist_group("netns"), pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def able() -> None:
    """Where this cannot be tested, that is a failure which says why: what may not run proves nothing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.fail(f"there is no {missing[0]}; make setup installs it")
    if os.geteuid() != 0:
        pytest.fail("network namespaces and loop devices need root: run the tests as root")


def test_few_enough_runs_are_part_of_every_check() -> None:
    assert 1 <= len(OFTEN) <= 8
    assert len({run.name for run in RUNS}) == len(RUNS)


@pytest.mark.parametrize("often", OFTEN, ids=lambda run: run.name)
def test_run(often: Run) -> None:
    carry_out(often)


def test_what_an_earlier_run_left_is_removed() -> None:
    with alone():
        Wires(1).lay()
        FOLDER.mkdir()
        file = FOLDER / "disk"
        file.write_bytes(bytes(8192))
        run("losetup", "--find", file)
        (FOLDER / "state").mkdir()
        run("mount", "-t", "tmpfs", "tmpfs", FOLDER / "state")
        sleeper = subprocess.Popen([*inside(namespace(1)), "sleep", "1000"])
        until(lambda: str(sleeper.pid) in run("ip", "netns", "pids", namespace(1)), 5, "it sleeps")
        remove_all()
        assert sleeper.wait(5) == -signal.SIGKILL
        assert not FOLDER.exists()
        assert PREFIX not in run("ip", "netns", "list")
        assert str(FOLDER) not in run("losetup", "--list", "--noheadings", "--output", "BACK-FILE")
        assert f" {FOLDER}/" not in Path("/proc/self/mounts").read_text()


def test_what_is_cut_in_one_direction_passes_in_the_other() -> None:
    with alone():
        wires = Wires(2)
        wires.lay()
        assert passes(1, 2)
        wires.deafen([1], [2], [1])
        assert passes(1, 2)
        assert not passes(2, 1)
        wires.part([1])
        assert not passes(1, 2)
        wires.heal()
        assert passes(1, 2)
        assert passes(2, 1)
        wires.unplug(2, 1)
        assert not passes(1, 2)


def passes(speaker: int, ear: int) -> bool:
    """Whether a datagram from one node arrives at another, on their first link."""
    hear = (
        "import socket, sys; door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "door.bind((sys.argv[1], 99)); door.settimeout(1); print('open', flush=True); door.recv(9)"
    )
    say = (
        "import socket, sys; door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "door.sendto(b'x', (sys.argv[1], 99))"
    )
    words = (sys.executable, "-c", hear, address(ear, 1))
    listener = subprocess.Popen(
        [*inside(namespace(ear)), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert listener.stdout is not None
    listener.stdout.readline()
    run(*inside(namespace(speaker)), sys.executable, "-c", say, address(ear, 1))
    with listener:
        return listener.wait(5) == 0
