"""The peer channel, where it is answered: HTTPS, for holders of the cluster key alone.

POST /v1/facts         facts in, durable when answered; the digest of the whole ledger out
POST /v1/exchange      what the other knows in; what it lacks, and the digest, out
POST /v1/ask           a request of a person in; its answer out
GET  /v1/tree/REV/DIG  the files of an exported revision
POST /v1/join          the one request without certificate: a one-time code
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from membership.edge.identity import Identity, node_of
from membership.ledger import Fact, Ledger
from schema.model import Frozen

LARGEST = 32 * 1024 * 1024
_PEER = web.RequestKey("peer", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JOIN = "/v1/join"


class Told(Frozen, frozen=True, kw_only=True):
    """`facts` as they are; the answer's `digest` is of all that is durable there."""

    facts: tuple[msgspec.Raw, ...] = ()
    digest: str = ""


class Known(Frozen, frozen=True, kw_only=True):
    """The stamps of all facts that the sender has, by key."""

    known: Mapping[str, str]


class Host(Protocol):
    """What the daemon answers with."""

    @property
    def ledger(self) -> Ledger: ...

    def take(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns."""

    async def asked(self, peer: str, body: bytes) -> tuple[int, bytes]: ...

    async def tree(self, revision: int, digest: str) -> Mapping[str, bytes] | None: ...

    async def joining(self, body: bytes) -> tuple[int, bytes]: ...


_FACT: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


def readable(facts: Sequence[msgspec.Raw]) -> tuple[Fact, ...]:
    """The facts that this version of cxm knows; one of a newer version is not ours to keep."""
    found: list[Fact] = []
    for raw in facts:
        try:
            found.append(_FACT.decode(raw))
        except msgspec.ValidationError:
            continue
    return tuple(found)


class PeerServer:
    """Serves at one address until closed."""

    def __init__(self, identity: Identity, host: Host) -> None:
        self._identity = identity
        self._host = host
        self._runner: web.AppRunner | None = None

    async def open(self, address: tuple[str, int]) -> None:
        """Raises OSError where the address cannot be bound."""
        app = web.Application(client_max_size=LARGEST, middlewares=[self._known])
        app.router.add_post("/v1/facts", self._facts)
        app.router.add_post("/v1/exchange", self._exchange)
        app.router.add_post("/v1/ask", self._ask)
        app.router.add_get(r"/v1/tree/{revision:\d+}/{digest:[0-9a-f]+}", self._tree)
        app.router.add_post(JOIN, self._join)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, *address, ssl_context=self._identity.server, reuse_address=True)
        await site.start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A peer by its certificate, or nobody."""
        if request.path != JOIN:
            peer = self._peer(request)
            if peer is None:
                raise web.HTTPForbidden
            request[_PEER] = peer
        try:
            return await handler(request)
        except msgspec.DecodeError:
            raise web.HTTPBadRequest from None

    def _peer(self, request: web.Request) -> str | None:
        transport = request.transport
        shown: Any = transport.get_extra_info("peercert") if transport is not None else None
        names = [name for kind, name in (shown or {}).get("subjectAltName", ()) if kind == "DNS"]
        return node_of(names, self._identity.cluster_id)

    async def _facts(self, request: web.Request) -> web.Response:
        told = msgspec.json.decode(await request.read(), type=Told)
        self._host.take(readable(told.facts))
        return _json(Told(digest=self._host.ledger.digest))

    async def _exchange(self, request: web.Request) -> web.Response:
        known = msgspec.json.decode(await request.read(), type=Known)
        ledger = self._host.ledger
        facts = tuple(map(_raw, ledger.news_for(known.known)))
        return _json(Told(facts=facts, digest=ledger.digest))

    async def _ask(self, request: web.Request) -> web.Response:
        status, body = await self._host.asked(request[_PEER], await request.read())
        return web.Response(status=status, body=body, content_type="application/json")

    async def _tree(self, request: web.Request) -> web.Response:
        named = request.match_info
        files = await self._host.tree(int(named["revision"]), named["digest"])
        if files is None:
            raise web.HTTPNotFound
        body = msgspec.msgpack.encode(files)
        return web.Response(body=body, content_type="application/octet-stream")

    async def _join(self, request: web.Request) -> web.Response:
        status, body = await self._host.joining(await request.read())
        return web.Response(status=status, body=body, content_type="application/json")


def _raw(fact: Fact) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(fact))


def _json(model: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(model), content_type="application/json")
