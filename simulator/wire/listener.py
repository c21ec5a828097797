"""One simulated host on the network: an HTTPS listener that is there while the host answers.

Faults that strike the wire are done here. ``api-hang``: the request is read and nothing happens
until the fault is over; then it is performed, as a stopped process that goes on would do it.
``slow``: the answer is late. ``answer-lost``: the call is performed and the connection cut.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from aiohttp import web

from simulator.faults import FaultTable
from simulator.values import ApiError, InEmergency, Unreachable, Value
from simulator.wire import answers, jsonrpc, xmlrpc
from simulator.wire.certificates import Identity
from simulator.wire.names import dotted
from simulator.wire.rpc import Call, Malformed
from simulator.world import World

# The limit of a real server; larger requests are not read at all.
MAX_BODY_BYTES = 300 * 1024

_JSON_PATHS = ("/jsonrpc", "/json")
_BARE = "system.listMethods"

# What is still open when a host goes away is cut, not finished.
_GRACE_S = 0.01


class Listener:
    """The API of one host at one address. ``open`` and ``close`` may alternate for ever."""

    def __init__(self, world: World, host: str, address: str, port: int, shown: Identity) -> None:
        self._world = world
        self._host = host
        self._where = (address, port)
        self._tls = shown.server_context()
        self._runner: web.AppRunner | None = None
        self._socket: socket.socket | None = None
        self._dark: socket.socket | None = None
        self._running: set[asyncio.Task[Value]] = set()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted; refused otherwise."""
        return self._runner is not None

    async def open(self) -> None:
        """Start to listen. Raises OSError if another program took the port meanwhile."""
        self.lighten()
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_response_prepare.append(answers.strip_additions)
        runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=_GRACE_S,
            # A body that is refused unread is not waited for either.
            lingering_time=0,
        )
        await runner.setup()
        self._runner, self._socket = runner, _listening(self._where)
        await web.SockSite(runner, self._socket, ssl_context=self._tls).start()

    async def close(self) -> None:
        """Refuse new connections and cut the open ones. What they asked for goes on: a server
        does not stop an operation because its client is gone."""
        if self._runner is not None and self._socket is not None:
            runner, self._runner = self._runner, None
            # asyncio forgets a connection that it has accepted but not yet set up when the server
            # closes: it would stay open and mute. So first accept no more, then let it catch up.
            asyncio.get_running_loop().remove_reader(self._socket)
            await asyncio.sleep(_GRACE_S)
            await runner.cleanup()

    @property
    def is_dark(self) -> bool:
        """Whether connections are neither refused nor taken up."""
        return self._dark is not None

    def darken(self) -> None:
        """A server without power refuses nothing: who connects waits in vain."""
        if self._dark is None and self._runner is None:
            self._dark = _listening(self._where)
            self._dark.listen()

    def lighten(self) -> None:
        """There is a kernel again, which refuses what nobody listens to."""
        if self._dark is not None:
            self._dark.close()
            self._dark = None

    async def end(self) -> None:
        """Close for good: running calls are given up too."""
        await self.close()
        self.lighten()
        for call in self._running:
            call.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return answers.options(request)
        if request.method != "POST":
            return answers.forbidden()
        try:
            body = await _body(request)
            if request.path in _JSON_PATHS:
                return await self._serve_json(request, body)
            return await self._serve_xml(request, body)
        except Malformed as error:
            return answers.internal_error(error.text)
        except (Unreachable, _AnswerLost):
            return _cut(request)

    async def _serve_xml(self, request: web.Request, body: bytes) -> web.Response:
        call = xmlrpc.decode_call(body)
        try:
            value = await self._perform(call)
        except ApiError as error:
            answer = xmlrpc.encode_failure(error.code, error.params)
        else:
            encode = xmlrpc.encode_bare if call.method == _BARE else xmlrpc.encode_success
            answer = encode(value)
        return answers.result(request, answer, "text/xml")

    async def _serve_json(self, request: web.Request, body: bytes) -> web.Response:
        asked = jsonrpc.decode_request(body)
        try:
            answer = jsonrpc.encode_success(asked, await self._perform(asked.call))
        except InEmergency as error:
            answer = jsonrpc.encode_emergency(error.code, error.params)
        except ApiError as error:
            answer = jsonrpc.encode_failure(asked, error.code, error.params)
        return answers.result(request, answer, "application/json")

    async def _perform(self, call: Call) -> Value:
        """The call's value after the faults that strike it; raises ApiError, Unreachable."""
        method = dotted(call.method)
        about = {"host": self._host, "method": method.removeprefix("Async.")}
        await _sit_out_hang(self._world.faults, about)
        # A call outlives its connection: a task of its own, which waiting for does not cancel.
        task = asyncio.create_task(self._world.call(self._host, method, call.params))
        self._running.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait([task])
        await _delay_or_lose(self._world.faults, about)
        return task.result()

    def _done(self, task: asyncio.Task[Value]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Seen, even if the client is gone and nobody asks for the outcome.
            task.exception()


class _AnswerLost(Exception):
    """The fault of that name struck: performed, but nobody will hear of it."""


async def _sit_out_hang(faults: FaultTable, about: Mapping[str, str]) -> None:
    while (hang := faults.active("api-hang", **about)) is not None:
        await hang.ended.wait()


async def _delay_or_lose(faults: FaultTable, about: Mapping[str, str]) -> None:
    slow = faults.active("slow", **about)
    if slow is not None:
        await asyncio.sleep(int(slow.scope["ms"]) / 1000)
    if faults.strike("answer-lost", **about) is not None:
        raise _AnswerLost


async def _body(request: web.Request) -> bytes:
    """The body, which must come with its length; raises Malformed."""
    length = request.content_length
    if length is None or "Transfer-Encoding" in request.headers:
        raise Malformed('Failure("We require a content-length: HTTP header")')
    if length > MAX_BODY_BYTES:
        raise Malformed("Http_svr.Client_requested_size_over_limit")
    return await request.read()


def _cut(request: web.Request) -> web.Response:
    """Ends the connection without an answer; the response returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _listening(where: tuple[str, int]) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(where)
    except OSError:
        listening.close()
        raise
    return listening
