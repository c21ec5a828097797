"""The socket at which the programs that play fence devices ask the world, a line each way.

``status NAME``, ``on NAME`` or ``off NAME`` is answered with ``on`` or ``off``, with ``done`` once
the command is taken, or with ``failed``. Where the reply is to be lost, the connection ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from simulator.bmc import BmcError, Bmcs

_COMMANDS = ("status", "on", "off")


class Wires:
    """Serves the devices of one world. ``silence`` is awaited when a device's reply is lost."""

    def __init__(self, bmcs: Bmcs, path: Path, silence: Callable[[str], Awaitable[None]]) -> None:
        self._bmcs = bmcs
        self._path = path
        self._silence = silence
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen; a socket left behind by a simulator that died is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop to listen and remove the socket; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                command, _, name = line.decode().strip().partition(" ")
                writer.write(f"{await self._answer(command, name)}\n".encode())
                await writer.drain()
        except (ConnectionError, UnicodeDecodeError):
            # The program was killed while it waited, as a controller that loses its power.
            pass
        finally:
            writer.close()

    async def _answer(self, command: str, name: str) -> str:
        if command not in _COMMANDS or name not in self._bmcs.names():
            return "failed"
        try:
            if command == "status":
                return await self._bmcs.status(name)
            await self._bmcs.switch(name, "on" if command == "on" else "off")
        except BmcError as error:
            if error.kind == "no-answer":
                await self._silence(name)
            return "failed"
        return "done"
