"""The control socket: HTTP/1.1 and JSON over `cxmd.sock`, for the CLI and the post-commit hook.

Errors are a `Reply` that is not accepted, like refusals: 403 for want of rights, 400 for a request
that is not understood, 404 for a path that is not there, 409 for what the reconciler refuses.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
from aiohttp import web

from reconciler.edge.callers import Caller, caller, open_to_readers
from reconciler.messages import (
    AskApply,
    AskBootstrap,
    AskConfirmOff,
    AskDrain,
    AskFence,
    AskFreeze,
    AskHandOver,
    AskHold,
    AskInvite,
    AskLiveDrill,
    AskLook,
    AskNotify,
    AskReadDevices,
    AskRelease,
    AskRetry,
    AskThaw,
    AskUndrain,
    Progress,
    Reply,
    Request,
)
from reconciler.status import Status
from reconciler.whatif import WhatIf
from reconciler.why import Why

SOCKET = "cxmd.sock"
LARGEST_REQUEST = 1024 * 1024

ASKS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "look": AskLook,
        "apply": AskApply,
        "freeze": AskFreeze,
        "thaw": AskThaw,
        "drain": AskDrain,
        "undrain": AskUndrain,
        "retry": AskRetry,
        "hold": AskHold,
        "release": AskRelease,
        "hand-over": AskHandOver,
        "confirm-off": AskConfirmOff,
        "fence": AskFence,
        "read-devices": AskReadDevices,
        "live-drill": AskLiveDrill,
        "bootstrap": AskBootstrap,
        "notify": AskNotify,
    }
)
BROUGHT = frozenset({"hold", "release"})
"""What is answered once other nodes have it."""

READERS_MAY_ASK = frozenset({"look"})
"""The hook of a repository on this machine runs as the server's user, who is in group cxm at most."""

_CALLER = web.RequestKey("caller", Caller)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Answers(Protocol):
    """What the daemon answers with."""

    async def status(self) -> Status: ...
    async def why(self, obj: str) -> Why: ...
    async def what_if(self, down: Sequence[str]) -> WhatIf | Reply: ...
    async def request(self, ask: Request) -> Reply: ...
    async def bring(
        self, ask: AskHold | AskRelease, told: Callable[[Progress], Awaitable[None]]
    ) -> Reply: ...
    async def invite(self, ask: AskInvite) -> msgspec.Struct: ...


class Events(Protocol):
    """The journal as lines of JSON."""

    def since(self, seq: int) -> Iterator[tuple[int, bytes]]: ...
    def follow(self, seq: int) -> AsyncIterator[bytes]: ...


class Control:
    """Serves until closed. Only one may exist on a path: whoever holds the state's lock."""

    def __init__(self, path: Path, answers: Answers, events: Events) -> None:
        self._path = path
        self._answers = answers
        self._events = events
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Raises OSError where the socket cannot be made."""
        app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_as_reply, _known])
        app.router.add_get("/v1/status", self._status)
        app.router.add_get("/v1/diff", self._status)
        app.router.add_get("/v1/plan", self._plan)
        app.router.add_get("/v1/why/{object:.+}", self._why)
        app.router.add_get("/v1/what-if/{down}", self._what_if)
        app.router.add_get("/v1/events", self._stream)
        app.router.add_post("/v1/invite", self._invite)
        for verb in ASKS:
            app.router.add_post(f"/v1/{verb}", self._bring if verb in BROUGHT else self._ask)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        self._runner = runner
        await web.SockSite(runner, _bound(self._path)).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(await self._answers.status())

    async def _plan(self, _request: web.Request) -> web.Response:
        return _json((await self._answers.status()).plan)

    async def _why(self, request: web.Request) -> web.Response:
        return _json(await self._answers.why(request.match_info["object"]))

    async def _what_if(self, request: web.Request) -> web.Response:
        answer = await self._answers.what_if(request.match_info["down"].split("+"))
        return _json(answer, status=409 if isinstance(answer, Reply) else 200)

    async def _ask(self, request: web.Request) -> web.Response:
        verb = request.path.rpartition("/")[2]
        ask = _read_ask(verb, await request.read(), request[_CALLER].name)
        reply = await self._answers.request(ask)
        return _json(reply, status=200 if reply.accepted else 409)

    async def _bring(self, request: web.Request) -> web.StreamResponse:
        """Lines of `Progress`: that others know of it may take longer than people are patient."""
        verb = request.path.rpartition("/")[2]
        ask = _read_ask(verb, await request.read(), request[_CALLER].name)
        assert isinstance(ask, AskHold | AskRelease), "by its verb"
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)

        async def say(line: Progress) -> None:
            with contextlib.suppress(ConnectionResetError):
                await response.write(msgspec.json.encode(line) + b"\n")

        reply = await self._answers.bring(ask, say)
        await say(Progress(reply=reply))
        return response

    async def _invite(self, request: web.Request) -> web.Response:
        try:
            ask = msgspec.json.decode(await request.read(), type=AskInvite)
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=f"invite: {error}") from None
        answer = await self._answers.invite(ask)
        return _json(answer, status=409 if isinstance(answer, Reply) else 200)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        start = _number(request.query.get("from", "1"))
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            for seq, row in self._events.since(start):
                await response.write(row + b"\n")
                start = seq + 1
            if request.query.get("follow") == "1":
                async for row in self._events.follow(start):
                    await response.write(row + b"\n")
        return response


def _bound(path: Path) -> socket.socket:
    """A listening socket. The one left over by a daemon that was killed is taken away."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        door.bind(str(path))
    finally:
        os.umask(before)
    open_to_readers(str(path))
    return door


@web.middleware
async def _as_reply(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors of HTTP in the form of all others."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        reply = Reply(accepted=False, reason=type(error).__name__[4:], message=error.text or "")
        return _json(reply, status=error.status)


@web.middleware
async def _known(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Who asks, by the kernel's word, and whether they may."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None:
        raise web.HTTPForbidden(text="the connection is gone")
    try:
        who = caller(connection)
    except OSError as error:
        raise web.HTTPForbidden(text=f"the kernel does not say who asks: {error}") from error
    reads = request.method == "GET" or request.path.rpartition("/")[2] in READERS_MAY_ASK
    own = os.geteuid()
    if not (who.may_read(own) if reads else who.may_change(own)):
        group = "cxm or cxm-admin" if reads else "cxm-admin"
        raise web.HTTPForbidden(text=f"{who.name} is not in group {group}")
    request[_CALLER] = who
    return await handler(request)


def _read_ask(verb: str, body: bytes, by: str) -> Request:
    """The request in the name of who is connected, whatever the body says about that."""
    kind = ASKS[verb]
    fields = {field.name for field in msgspec.structs.fields(kind)}
    try:
        given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        unknown = sorted(given.keys() - fields - {"ask"})
        if unknown:
            raise web.HTTPBadRequest(text=f"{verb} knows no {', '.join(unknown)}")
        given["ask"] = verb
        if "by" in fields:
            given["by"] = by
        return msgspec.convert(given, type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=f"{verb}: {error}") from None


def _number(text: str) -> int:
    if not text.isdecimal():
        raise web.HTTPBadRequest(text=f"from={text}: a number of an event is expected")
    return int(text)


def _json(model: msgspec.Struct, status: int = 200) -> web.Response:
    body = msgspec.json.encode(model)
    return web.Response(body=body, status=status, content_type="application/json")
