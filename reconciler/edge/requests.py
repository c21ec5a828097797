"""Requests of people: done here, or brought to the node that has to decide about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from membership.edge.invitation import GOOD_FOR_S
from membership.edge.peer_wire import decoded
from reconciler import holding
from reconciler.edge.acknowledging import Acknowledging, Reach, Standpoint, spread
from reconciler.messages import (
    Ask,
    AskHold,
    AskInvite,
    AskLook,
    AskNotify,
    AskRelease,
    Progress,
    Reply,
    Request,
)
from reconciler.paging import test
from reconciler.ports import Telling
from reconciler.routing import SPREAD, leader_for, undecidable
from reconciler.status import Status
from reconciler.whatif import WhatIf
from reconciler.why import Why
from schema.model import Frozen

FORWARD_S = 15.0
LOOK_S = 2.0

Told = Callable[[Progress], Awaitable[None]]

_ASKS: msgspec.json.Decoder[Ask] = msgspec.json.Decoder(Ask)


class Invited(Frozen, frozen=True, kw_only=True):
    """A one-time code, and for how many seconds it is good."""

    code: str
    expires_s: float


class Answers(Protocol):
    """The reconciler of this node."""

    async def status(self) -> Status: ...
    async def why(self, obj: str) -> Why: ...
    async def what_if(self, down: Sequence[str]) -> WhatIf | Reply: ...
    async def request(self, ask: Ask) -> Reply: ...


class Others(Reach, Protocol):
    """The way to other peers' daemons."""

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError where none came."""
        ...

    async def invite(self, name: str) -> str:
        """A one-time code for the node of this name, which is to join; "" where none can."""
        ...


class Requests:
    """What the control socket, and other peers, ask of this node. `config`: the node.yaml that its daemon
    read at its start."""

    def __init__(
        self,
        node: str,
        config: Path,
        here: Answers,
        others: Others,
        telling: Telling,
        standpoint: Standpoint,
    ) -> None:
        self._node = node
        self._config = config
        self._here = here
        self._others = others
        self._telling = telling
        self._standpoint = standpoint

    async def status(self) -> Status:
        return await self._here.status()

    async def why(self, obj: str) -> Why:
        return await self._here.why(obj)

    async def what_if(self, down: Sequence[str]) -> WhatIf | Reply:
        return await self._here.what_if(down)

    async def request(self, request: Request) -> Reply:
        """The answer to a person, whoever gave it."""
        if isinstance(request, AskNotify):
            return await self._notify(request)
        view = self._standpoint.view
        refusal = undecidable(request, view)
        if refusal is not None:
            return refusal
        leader = leader_for(request, view)
        if leader is not None:
            return await self._forward(leader, request)
        reply = await self._decided(request)
        if isinstance(request, AskLook) and view.leader not in (None, view.me):
            await self._nudge(str(view.leader), request)
        return reply

    async def bring(self, ask: AskHold | AskRelease, told: Told) -> Reply:
        """The answer once the hold, or its end, counts; `told` hears its id, then what it waits for."""
        reply = await self._here.request(ask)
        if not reply.accepted:
            return reply
        released = isinstance(ask, AskRelease)
        identity = ask.id if isinstance(ask, AskRelease) else reply.message
        brought = holding.release(identity) if released else holding.hold(identity)
        await told(Progress(id=identity))
        lacks = await Acknowledging(self._others, self._standpoint).counts(
            brought, lambda waiting: told(Progress(waiting=waiting))
        )
        if lacks:
            return Reply(accepted=False, reason="NotAcknowledged", message=lacks)
        return reply

    async def invite(self, ask: AskInvite) -> Invited | Reply:
        """A one-time code, or why a node cannot join here."""
        code = await self._others.invite(ask.name)
        if code:
            return Invited(code=code, expires_s=GOOD_FOR_S)
        message = "one daemon is the whole cluster: node.yaml says engine: {kind: single}"
        return Reply(accepted=False, reason="Alone", message=message)

    async def asked_by(self, peer: str, body: bytes) -> tuple[int, bytes]:
        """A request that came to `peer`, which took this node for the leader."""
        try:
            ask = _ASKS.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return 400, _refused(
                "NotUnderstood", f"{peer} asks for what is not known here: {error}"
            )
        view = self._standpoint.view
        if view.leader != view.me and not isinstance(ask, AskLook):
            return 409, _refused(
                "NotLeader", f"{view.me} does not lead; {view.leader or 'nobody'} does"
            )
        reply = await self._decided(ask)
        return (200 if reply.accepted else 409), msgspec.json.encode(reply)

    async def _decided(self, ask: Ask) -> Reply:
        """The answer of this node, of what others must know too once enough of them do."""
        reply = await self._here.request(ask)
        if not (reply.accepted and isinstance(ask, SPREAD)):
            return reply
        have, lack = await spread(self._others, self._standpoint)
        if not lack:
            return reply
        message = (
            f"it is in force on {', '.join(sorted({self._node, *have}))} and goes on to the others as soon"
            f" as they are reached: {lack}. Were this node to die before, a successor would not know of"
            " it: look at cxm members, and ask again"
        )
        return replace(reply, accepted=False, reason="NotAcknowledged", message=message)

    async def _forward(self, leader: str, ask: Ask) -> Reply:
        try:
            _, body = await self._others.ask(leader, self._signed(ask), FORWARD_S)
            return decoded(body, Reply)
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            message = f"{leader} leads and does not answer this node: {error}; try again shortly"
            return Reply(accepted=False, reason="LeaderSilent", message=message)

    def _signed(self, ask: Ask) -> bytes:
        """In whose name it is asked, and on which node they sit."""
        plain = msgspec.to_builtins(ask)
        if "by" in plain:
            plain["by"] = f"{plain['by']}@{self._node}"
        return msgspec.json.encode(plain)

    async def _nudge(self, leader: str, ask: AskLook) -> None:
        """A leader that does not hear it looks by itself, a little later."""
        try:
            await self._others.ask(leader, msgspec.json.encode(ask), LOOK_S)
        except (OSError, TimeoutError):
            return

    async def _notify(self, request: AskNotify) -> Reply:
        told = tuple(await self._telling.tell(test(self._node, request.by)))
        if not told:
            message = (
                f"{self._config}, as it was when cxmd started, names no way of telling anybody: add notify"
                " (cxm explain notify), then systemctl restart cxmd"
            )
            return Reply(accepted=False, reason="NoWay", message=message)
        failed = [line for line in told if not line.endswith(": told")]
        reason = "NotifyFailed" if failed else ""
        read = f"by {self._config} as it was when cxmd started"
        return Reply(
            accepted=not failed, reason=reason, message="; ".join(failed) or read, notes=told
        )


def _refused(reason: str, message: str) -> bytes:
    return msgspec.json.encode(Reply(accepted=False, reason=reason, message=message))
