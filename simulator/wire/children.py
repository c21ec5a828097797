"""The programs that play fence devices; none outlives the simulator, however it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ANSWERS_WITHIN_S = 5.0
_ASK_AGAIN_S = 0.05
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

    async def answers(self, where: tuple[str, int], question: bytes) -> None:
        """Ask it until it answers. Raises CannotPlay if it does not."""
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                await _asked(where, question)
        except TimeoutError:
            told = (self._folder / "log").read_text("utf-8", errors="replace")[-500:].strip()
            place = ":".join(map(str, where))
            raise CannotPlay(f"{self._command[0]} does not answer at {place}: {told}") from None

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


async def _asked(where: tuple[str, int], question: bytes) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(where)
        while True:
            try:
                await loop.sock_sendall(asking, question)
                await asyncio.wait_for(loop.sock_recv(asking, 512), _ASK_AGAIN_S)
                return
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                await asyncio.sleep(_ASK_AGAIN_S)
