"""Programs in the background, for as long as the demo stands."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_RESTART_AFTER_S = 1.0
_END_WITHIN_S = 5.0


def free_port(address: str = "127.0.0.1") -> int:
    """A port of `address` that nobody listens at, by TCP or by UDP. Raises OSError."""
    with (
        socket.socket() as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind((address, 0))
        port = int(tcp.getsockname()[1])
        udp.bind((address, port))
        return port


@dataclass(slots=True)
class Child:
    """A program in the background. With `again` it is started anew, one second after it died."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    again: bool = False
    process: subprocess.Popen[bytes] | None = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _powered: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        self._powered.set()
        self._launch()
        if self.again:
            self._keeper = threading.Thread(target=self._keep, name=f"keep {self.name}")
            self._keeper.start()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                self.command, env=dict(self.env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _keep(self) -> None:
        while not self._ending.is_set():
            assert self.process is not None
            self.process.wait()
            self._powered.wait()
            if not self._ending.wait(_RESTART_AFTER_S):
                self._launch()
                if self._ending.is_set():  # Asked to end while it was being started.
                    self._signal(signal.SIGTERM)

    @property
    def powered(self) -> bool:
        return self._powered.is_set()

    def power(self, *, on: bool) -> None:
        """The machine that it runs on loses its power, or has it again."""
        if on:
            self._powered.set()
            return
        self._powered.clear()
        self._signal(signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """SIGTERM once, without waiting. A frozen program hears it only when it runs again."""
        if not self._ending.is_set():
            self._ending.set()
            self._powered.set()
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end, and end it where it does not."""
        self.ask_to_end()
        if self._keeper is not None:
            self._keeper.join(_END_WITHIN_S + _RESTART_AFTER_S)
        if self.process is not None:
            try:
                self.process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)
