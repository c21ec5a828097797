"""What a program that is run may take and see, and that it ends whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fencing.edge.running import ENVIRONMENT, LONGEST, Run
from fencing.metadata import metadata
from tests.fencing.edge.bmcs import alive
from tests.fencing.edge.conftest import Written, soon

ROOT = Path(__file__).parents[3]
SOON_S = 20.0

# It starts one child in its own group, one in a session of its own, and one that is an orphan at
# once; each sleeps under a name that a test can look for.
FAMILY = """\
sleep 600.{mark} &
setsid sleep 600.{mark} &
(setsid sleep 600.{mark} &)
echo here
"""


def until(true: Callable[[], bool], within_s: float = SOON_S) -> bool:
    end_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def mark() -> Iterator[str]:
    """What tells the processes of one test from all others."""
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    yield mark
    for pid in alive([f"600.{mark}"]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def family(mark: str) -> list[int]:
    return alive([f"600.{mark}"])


async def test_it_is_told_everything_and_an_end(program: Written) -> None:
    path = program("copy", "cat; echo odd >&2; exit 2")
    ended = await Run(path).ended(b"action=off\n" * 9000, soon())
    assert (ended.code, ended.err) == (2, "odd\n")
    assert ended.out == ("action=off\n" * 9000)[:LONGEST]


async def test_it_sees_nothing_of_the_daemons_environment(
    program: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXM_SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ended = await Run(program("look", "pwd; env | sort")).ended(b"", soon())
    place, *variables = ended.out.splitlines()
    assert place == "/"
    # A shell adds its own folder to what it is given.
    assert {*variables} == {f"{k}={v}" for k, v in ENVIRONMENT.items()} | {"PWD=/"}


async def test_an_agent_finds_its_own_library_and_not_our_room_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Agents import `fencing`: so is one of our packages called."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(ROOT)
    agent = Path("/usr/sbin/fence_dummy")
    misled = await asyncio.create_subprocess_exec(
        agent, "-o", "metadata", stderr=asyncio.subprocess.DEVNULL
    )
    assert await misled.wait() != 0, "it no longer matters: this test proves nothing"
    ended = await Run(agent).ended(b"action=metadata\n", soon())
    assert metadata(ended.out.encode()).name == "fence_dummy"


async def test_what_is_not_there_does_not_begin(tmp_path: Path) -> None:
    ended = await Run(tmp_path / "nothing").ended(b"", soon())
    assert ended.code == 127
    assert "No such file" in ended.err


async def test_a_machine_that_starts_nothing_says_so(
    program: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    ended = await Run(program("act", "echo done")).ended(b"", soon())
    assert (ended.code, ended.out) == (127, "")
    assert ended.err == "this machine starts no program: No such file or directory"


async def test_a_program_that_dies_is_told_by_its_signal(program: Written) -> None:
    assert (await Run(program("die", "kill -SEGV $$")).ended(b"", soon())).code == 128 + 11


async def test_endless_output_is_cut_and_does_not_block(program: Written) -> None:
    path = program("talk", "head -c 9000000 /dev/zero | tr '\\0' x; echo end >&2; exit 1")
    run = Run(path)
    ended = await run.ended(b"", soon())
    assert (ended.code, len(ended.out), ended.err) == (1, LONGEST, "end\n")
    assert run.out.cut
    assert not run.err.cut


async def test_no_signal_is_ignored_or_held_back(program: Written) -> None:
    path = program("signals", "exec grep -E '^Sig(Ign|Blk)' /proc/self/status")
    ended = await Run(path).ended(b"", soon())
    # Two signals belong to the C library, which lets nobody touch what it began with.
    ours = sum(1 << (number - 1) for number in signal.valid_signals())
    assert {int(line.split()[1], 16) & ours for line in ended.out.splitlines()} == {0}


async def test_at_its_deadline_it_ends_with_all_that_it_started(
    program: Written, mark: str
) -> None:
    path = program("hang", FAMILY.format(mark=mark) + "trap '' TERM\nsleep 600." + mark)
    ended = await Run(path).ended(b"", soon(1.0))
    assert (ended.code, ended.out) == (124, "here\n")
    assert family(mark) == []


async def test_what_has_no_time_left_does_not_begin(program: Written, tmp_path: Path) -> None:
    path = program("act", f"echo done > {tmp_path}/done")
    assert (await Run(path).ended(b"", soon(-1.0))).code == 124
    assert not (tmp_path / "done").exists()


async def test_what_it_leaves_behind_ends_with_it(program: Written, mark: str) -> None:
    """An agent that has said its word must not act later."""
    path = program("leave", FAMILY.format(mark=mark) + "exit 0")
    ended = await Run(path).ended(b"", soon())
    assert (ended.code, ended.out) == (0, "here\n")
    assert family(mark) == []


async def test_a_run_that_nobody_waits_for_ends(program: Written, mark: str) -> None:
    path = program("hang", FAMILY.format(mark=mark) + f"sleep 600.{mark}")
    running = asyncio.create_task(Run(path).ended(b"", soon(60.0)))
    while len(family(mark)) < 4:
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert family(mark) == []


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 20])
async def test_a_run_that_is_given_up_while_it_starts_ends(
    program: Written, mark: str, after: int
) -> None:
    path = program("hang", f"sleep 600.{mark}")
    running = asyncio.create_task(Run(path).ended(b"", soon(60.0)))
    for _ in range(after):
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert alive([f"600.{mark}", str(path)]) == []


DAEMON = """\
import asyncio, sys
from pathlib import Path
from fencing.edge.running import Run
asyncio.run(Run(Path(sys.argv[1])).ended(b"", float(sys.argv[2])))
"""


def daemon(path: Path, until_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DAEMON, str(path), str(until_s)]
    return subprocess.Popen(command, cwd=ROOT)


def test_an_agent_dies_with_a_daemon_that_is_killed(program: Written, mark: str) -> None:
    path = program("hang", FAMILY.format(mark=mark) + f"sleep 600.{mark}")
    caller = daemon(path, soon(600.0))
    assert until(lambda: len(family(mark)) == 4)
    caller.kill()
    caller.wait()
    assert until(lambda: family(mark) == [])
    assert until(lambda: alive([str(path)]) == [])


def test_an_agent_of_a_daemon_that_is_stopped_ends_in_time_all_the_same(
    program: Written, mark: str
) -> None:
    """Its successor waits for no more than the deadline, before it acts."""
    path = program("hang", FAMILY.format(mark=mark) + f"sleep 600.{mark}")
    caller = daemon(path, soon(2.0))
    assert until(lambda: len(family(mark)) == 4)
    caller.send_signal(signal.SIGSTOP)
    assert until(lambda: family(mark) == [])
    caller.send_signal(signal.SIGCONT)
    assert caller.wait() == 0


def test_an_agent_dies_with_its_warden(program: Written, mark: str) -> None:
    path = program("hang", f"exec sleep 600.{mark}")
    caller = daemon(path, soon(600.0))
    assert until(lambda: len(family(mark)) == 1)
    (agent,) = family(mark)
    warden = int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(warden, signal.SIGKILL)
    assert until(lambda: family(mark) == [])
    assert caller.wait() == 0
