"""The peer channel, where it is answered: HTTPS, for holders of the cluster key alone.

POST /v1/facts         facts in, durable when answered; the digest of the whole ledger out
POST /v1/exchange      what the other knows in; what either lacks, and the digest, out
POST /v1/ask           a request of a person in; its answer out
GET  /v1/tree/REV/DIG  the files of an exported revision
POST /v1/join          the one request without certificate: a one-time code

Whoever is no peer learns nothing, and can hold up little: few connections, for a short time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from membership.edge.identity import Identity, node_of
from membership.edge.peer_wire import (
    JOIN,
    LARGEST,
    Known,
    Told,
    TooLarge,
    as_json,
    batches,
    bounded,
    decoded,
)
from membership.ledger import Fact, Ledger
from membership.roster import Door

HANDSHAKE_S = 5.0
READ_S = 10.0
"""How long the body of a request may take to come."""

STRANGER_S = 15.0
MOST_STRANGERS = 64
"""So many connections may exist of whom nobody has shown a peer's certificate, each for so long."""

IDLE_S = 75.0
"""Longer than any peer keeps a connection that it does not use."""

LARGEST_JOIN = 4096

_PEER = web.RequestKey("peer", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host(Protocol):
    """What the daemon answers with."""

    @property
    def ledger(self) -> Ledger: ...

    def take(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns. An OSError is the host's: it has to see that the daemon ends."""

    async def asked(self, peer: str, body: bytes) -> tuple[int, bytes]: ...

    async def tree(self, revision: int, digest: str) -> Mapping[str, bytes] | None: ...

    async def joining(self, body: bytes) -> tuple[int, bytes]: ...


class PeerServer:
    """Serves at its doors until closed. `listen` says which; those that stay are not disturbed."""

    def __init__(self, identity: Identity, host: Host) -> None:
        self._identity = identity
        self._host = host
        self._runner: web.AppRunner | None = None
        self._servers: dict[Door, asyncio.Server] = {}
        self._strangers = _Strangers()
        self._turn = asyncio.Lock()

    @property
    def doors(self) -> frozenset[Door]:
        """Where it listens."""
        return frozenset(self._servers)

    async def listen(self, doors: Iterable[Door]) -> Mapping[Door, OSError]:
        """Listen there and nowhere else; the doors that cannot be bound, and why."""
        async with self._turn:
            return await self._listen(doors)

    async def use(self, identity: Identity) -> None:
        """Be this one from now on, at the same doors. Whoever is connected has to prove itself again;
        a door that is not there any more is for the next `listen`."""
        async with self._turn:
            doors = self.doors
            await self._shut()
            self._identity = identity
            await self._listen(doors)

    async def _listen(self, doors: Iterable[Door]) -> Mapping[Door, OSError]:
        wanted = dict.fromkeys(doors)
        for door in self._servers.keys() - wanted:
            self._servers.pop(door).close()
        failed: dict[Door, OSError] = {}
        for door in [door for door in wanted if door not in self._servers]:
            try:
                self._servers[door] = await self._opened(door)
            except OSError as error:
                failed[door] = error
        return failed

    async def _opened(self, door: Door) -> asyncio.Server:
        made = (await self._set_up()).server
        assert made is not None, "a runner that is set up has a server"
        return await asyncio.get_running_loop().create_server(
            lambda: self._strangers.admitted(made),
            *door,
            ssl=self._identity.server,
            reuse_address=True,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=1.0,
        )

    async def _set_up(self) -> web.AppRunner:
        if self._runner is not None:
            return self._runner
        app = web.Application(middlewares=[self._known])
        app.on_response_prepare.append(_unnamed)
        app.router.add_post("/v1/facts", self._facts)
        app.router.add_post("/v1/exchange", self._exchange)
        app.router.add_post("/v1/ask", self._ask)
        app.router.add_get(r"/v1/tree/{revision:\d{1,18}}/{digest:[0-9a-f]{1,128}}", self._tree)
        app.router.add_post(JOIN, self._join)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_S,
            lingering_time=1.0,
            auto_decompress=False,
        )
        await runner.setup()
        self._runner = runner
        return runner

    async def close(self) -> None:
        async with self._turn:
            await self._shut()

    async def _shut(self) -> None:
        await self._listen(())
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._strangers.forget()

    @web.middleware
    async def _known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A peer by its certificate, or nobody."""
        peer = self._peer(request)
        if peer is not None:
            request[_PEER] = peer
            self._strangers.shown(request.protocol)
        elif request.path != JOIN or request.method != "POST":
            return _refused(403)
        try:
            return await handler(request)
        except msgspec.DecodeError:
            return _refused(400)
        except TooLarge:
            return _refused(413)
        except TimeoutError:
            return _refused(408)

    def _peer(self, request: web.Request) -> str | None:
        transport = request.transport
        shown: Any = transport.get_extra_info("peercert") if transport is not None else None
        names = [name for kind, name in (shown or {}).get("subjectAltName", ()) if kind == "DNS"]
        return node_of(names, self._identity.cluster_id)

    async def _facts(self, request: web.Request) -> web.Response:
        told = decoded(await _body(request, LARGEST), Told)
        self._host.take(told.read())
        return as_json(Told(digest=self._host.ledger.digest))

    async def _exchange(self, request: web.Request) -> web.Response:
        known = decoded(await _body(request, LARGEST), Known).known
        ledger = self._host.ledger
        news = ledger.news_for(known)
        facts = next(batches(news), ())
        left = len(news) - len(facts)
        lacking = ledger.lacking(known)
        return as_json(Told(facts=facts, digest=ledger.digest, left=left, lacking=lacking))

    async def _ask(self, request: web.Request) -> web.Response:
        body = await _body(request, LARGEST)
        status, answer = await self._host.asked(request[_PEER], body)
        return web.Response(status=status, body=answer, content_type="application/json")

    async def _tree(self, request: web.Request) -> web.Response:
        named = request.match_info
        files = await self._host.tree(int(named["revision"]), named["digest"])
        if files is None:
            return web.Response(status=404)
        body = await asyncio.to_thread(_packed, files)
        return web.Response(body=body, content_type="application/octet-stream")

    async def _join(self, request: web.Request) -> web.Response:
        status, body = await self._host.joining(await _body(request, LARGEST_JOIN))
        return web.Response(status=status, body=body, content_type="application/json")


class _Strangers:
    """The connections of which it is not known who they are of."""

    def __init__(self) -> None:
        self._since: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def admitted(self, made: web.Server) -> asyncio.Protocol:
        """The protocol of one more connection."""
        if len(self._since) >= MOST_STRANGERS:
            return _Refused()
        connection = made()
        loop = asyncio.get_running_loop()
        self._since[connection] = loop.call_later(STRANGER_S, self._over, connection)
        return connection

    def shown(self, connection: web.RequestHandler) -> None:
        """It is a peer's."""
        timer = self._since.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def forget(self) -> None:
        for timer in self._since.values():
            timer.cancel()
        self._since.clear()

    def _over(self, connection: web.RequestHandler) -> None:
        del self._since[connection]
        connection.force_close()


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream has a two-way transport"
        transport.abort()


async def _body(request: web.Request, most: int) -> bytes:
    """Raises TooLarge, TimeoutError."""
    async with asyncio.timeout(READ_S):
        return await bounded(request.content, most)


async def _unnamed(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Which software answers is nobody's business."""
    response.headers.popall("Server", None)


def _refused(status: int) -> web.Response:
    """Nothing but the number, and the end of the connection."""
    response = web.Response(status=status)
    response.force_close()
    return response


def _packed(files: Mapping[str, bytes]) -> bytes:
    """Names are bytes, as on disk: they need not be text."""
    return msgspec.msgpack.encode({os.fsencode(name): content for name, content in files.items()})
