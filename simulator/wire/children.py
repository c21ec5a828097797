"""The programs that play fence devices; none outlives the simulator, however it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class CannotPlay(Exception):
    """A program is not there or does not come up; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The fence agent that speaks to a device, and what it has to be told."""

    name: str
    options: Mapping[str, str]


class Child:
    """One program of a Debian package, started anew as often as need be, in a folder of its own."""

    def __init__(self, command: Sequence[str], folder: Path, package: str) -> None:
        self._command = command
        self._folder = folder
        self._package = package
        self._process: asyncio.subprocess.Process | None = None
        self._frozen = False

    @property
    def runs(self) -> bool:
        """Whether the program is there, frozen or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def said(self) -> str:
        """The end of what it wrote."""
        log = self._folder / "log"
        return log.read_text("utf-8", errors="replace")[-500:].strip() if log.exists() else ""

    async def start(self) -> None:
        """Start it, in an environment that owes nothing to ours. Raises CannotPlay."""
        program = self._command[0]
        if shutil.which(program, path=_PATH) is None:
            raise CannotPlay(f"there is no {program}; install it (apt install {self._package})")
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("/usr/bin/setpriv", "--pdeathsig", "KILL"),
                *self._command,
                cwd=self._folder,
                env={"PATH": _PATH, "LC_ALL": "C"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._frozen = False

    async def kill(self) -> None:
        """End it, and what it has started, at once; idempotent."""
        if self._process is not None and self.runs:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def freeze(self, frozen: bool) -> None:
        """Let it neither run nor end, or let it go on."""
        if self._process is not None and self.runs and frozen != self._frozen:
            self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
            self._frozen = frozen
