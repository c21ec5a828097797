"""A served pool for tests, and a client so dumb that it cannot hide what goes over the wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from simulator.serve import Simulation, simulation
from simulator.values import Value


@asynccontextmanager
async def served(folder: Path, pool: str, speed: float = 20.0) -> AsyncIterator[Simulation]:
    """The pool of this YAML text, served from files in ``folder`` while the block runs."""
    async with simulation(_written(folder, pool), folder / "state", port=0, speed=speed) as running:
        yield running


def _written(folder: Path, pool: str) -> Path:
    folder.mkdir(exist_ok=True)
    spec = folder / "pool.yaml"
    spec.write_text(pool, encoding="utf-8")
    return spec


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Look again and again until it holds; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.03)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``head`` without the blank line, and whether the server then closed."""

    head: str
    body: str
    closed: bool

    @property
    def status(self) -> str:
        return self.head.split("\r\n", 1)[0]

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return [(name, value) for name, _, value in lines]

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


SECRET = "Secret123"

NOTHING = Answer("", "", closed=True)
"""The connection ended without an answer."""


class Connection:
    """One TLS connection that sends bytes as they are. Certificates are another test's matter."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, url: str) -> Connection:
        address, _, port = url.removeprefix("https://").rstrip("/").partition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return cls(*await asyncio.open_connection(address, int(port), ssl=context))

    async def ask(self, head: str, body: str) -> Answer:
        """Send and await one answer; NOTHING where the server ends the connection instead."""
        self._writer.write(head.encode() + body.encode())
        try:
            got = (await self._reader.readuntil(b"\r\n\r\n"))[:-4].decode()
            length = Answer(got, "", closed=False).header("content-length")
            text = (await self._reader.readexactly(int(length))).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return NOTHING
        closes = Answer(got, "", closed=False).header("connection") == "close"
        return Answer(got, text, closed=closes and await self._reader.read(1) == b"")

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):  # the server may have been quicker
            await self._writer.wait_closed()


class Session:
    """A plain JSON-RPC client with a session of its own, for what surrounds a test."""

    def __init__(self, url: str, ref: str) -> None:
        self._url = url
        self.ref = ref

    @classmethod
    async def login(cls, url: str, user: str = "root", secret: str = SECRET) -> Session:
        """Raises Refused if the login fails."""
        bare = cls(url, "")
        return cls(url, await bare.raw("session.login_with_password", user, secret, "1.0", "test"))

    async def call(self, method: str, *params: Value) -> Any:
        """A call with this session; raises Refused for a failure."""
        return await self.raw(method, self.ref, *params)

    async def raw(self, method: str, *params: Value) -> Any:
        answer = await post(self._url, "/jsonrpc", request(method, params))
        message = msgspec.json.decode(answer.body)
        error = message.get("error")
        if isinstance(error, list):  # a host that is booting, or in emergency mode
            raise Refused(error[0], error[1:])
        if error is not None:
            raise Refused(error["message"], error["data"])
        return message["result"]


class Refused(Exception):
    """An API failure: code and parameters."""

    def __init__(self, code: str, params: Sequence[str]) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = list(params)


def request(method: str, params: Sequence[Value]) -> str:
    """A JSON-RPC 2.0 request body."""
    message = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    return msgspec.json.encode(message).decode()


async def post(url: str, path: str, body: str) -> Answer:
    """One POST on a connection of its own."""
    connection = await Connection.to(url)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body.encode())}\r\n"
        return await connection.ask(head + "Connection: close\r\n\r\n", body)
    finally:
        await connection.close()


async def has_state(session: Session, vm: str, state: str) -> bool:
    """Whether the database says so of this VM."""
    return bool(await session.call("VM.get_power_state", vm) == state)
