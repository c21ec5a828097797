"""One run of a program that is not ours: what it is told, what it may take, and that it ends."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from fencing.agents import DEADLINE, NO_PROGRAM, Ended

# Nothing of the daemon's own environment: its PYTHONPATH would give the agents our package
# `fencing` in the place of their module of that name, and its secrets to whoever looks.
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONWARNINGS": "ignore",
    }
)
LONGEST = 64 * 1024
"""Bytes that are kept of each of a program's two outputs; the rest is read and dropped."""

GRACE_S = 6.0
"""So much later than its deadline a run is given up, though its warden should have ended it."""

_WARDEN = Path(__file__).with_name("warden.py")


def boot_s() -> float:
    """CLOCK_BOOTTIME, which goes on while the machine sleeps, and on which leases are counted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Output:
    """What one stream said, as far as it is kept."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.cut = False

    async def drain(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(LONGEST):
            room = LONGEST - len(self._kept)
            self._kept += chunk[:room]
            self.cut = self.cut or len(chunk) > room

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


def _whole(said: bytes) -> BinaryIO:
    """Standard input that holds everything from the start.

    Through a pipe an agent whose caller dies would read the beginning and take it for the whole;
    one that is told no action reboots. Never on a disk, never in a folder.
    """
    file = os.fdopen(os.memfd_create("request", os.MFD_CLOEXEC), "w+b", buffering=0)
    file.write(said)
    file.seek(0)
    return file


async def _over(child: asyncio.subprocess.Process) -> None:
    """Sees to it that nothing of a run that nobody waits for any more goes on."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            # To the end of its outputs, too: pipes left open outlive the loop, and complain.
            await asyncio.wait_for(child.communicate(), GRACE_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()


class Run:
    """One program with its arguments, and what it wrote so far.

    The warden gets its signal when the *thread* that starts it ends: await `ended` in the thread
    that lives as long as the daemon, its event loop's.
    """

    def __init__(self, program: Path, arguments: tuple[str, ...] = ()) -> None:
        self._command = (str(program), *arguments)
        self.out = Output()
        self.err = Output()

    async def ended(self, said: bytes, until_s: float) -> Ended:
        """Runs it with `said` on its standard input; it and all that it started end by `until_s`.

        An instant of CLOCK_BOOTTIME. Nothing is run that has no time left.
        """
        starting = asyncio.create_task(self._started(said, until_s))
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # asyncio loses a child whose start is cancelled; it would go on, with nobody to end it.
            await _over(await starting)
            raise
        except OSError as error:
            return Ended(code=NO_PROGRAM, err=f"this machine starts no program: {error.strerror}")
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            async with asyncio.timeout(max(0.0, until_s - boot_s()) + GRACE_S):
                await asyncio.gather(
                    self.out.drain(child.stdout), self.err.drain(child.stderr), child.wait()
                )
        except TimeoutError:
            return self._so_far(DEADLINE)
        finally:
            await _over(child)
        assert child.returncode is not None
        return self._so_far(child.returncode)

    async def _started(self, said: bytes, until_s: float) -> asyncio.subprocess.Process:
        with _whole(said) as file:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(_WARDEN), str(os.getpid()), f"{until_s:.3f}", *self._command),
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(ENVIRONMENT),
                cwd="/",
                start_new_session=True,
            )

    def _so_far(self, code: int) -> Ended:
        return Ended(code=code, out=self.out.text, err=self.err.text)
