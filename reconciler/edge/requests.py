"""Requests of people: done here, or brought to the node that has to decide about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from membership.edge.invitation import GOOD_FOR_S
from membership.edge.peer_wire import decoded
from membership.view import View
from reconciler.messages import Ask, AskHold, AskLook, AskNotify, Reply, Request
from reconciler.paging import test
from reconciler.ports import Telling
from reconciler.routing import leader_for, undecidable
from reconciler.status import Status
from reconciler.why import Why
from schema.model import Frozen

FORWARD_S = 15.0
LOOK_S = 2.0
HOLD_EVERY_S = 0.5
HOLD_WITHIN_S = 30.0

_ASKS: msgspec.json.Decoder[Ask] = msgspec.json.Decoder(Ask)


class Invited(Frozen, frozen=True, kw_only=True):
    """A one-time code, and for how many seconds it is good."""

    code: str
    expires_s: float


class Answers(Protocol):
    """The reconciler of this node."""

    async def status(self) -> Status: ...
    async def why(self, obj: str) -> Why: ...
    async def request(self, ask: Ask) -> Reply: ...


class Others(Protocol):
    """The way to other peers' daemons."""

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError where none came."""
        ...

    async def invite(self) -> str:
        """A one-time code for a node that is to join; "" where none can."""
        ...

    async def holds(self, peer: str) -> bool:
        """Whether this peer has made all that our ledger says durable, as far as can be told now."""
        ...


class Requests:
    """What the control socket, and other peers, ask of this node."""

    def __init__(
        self,
        node: str,
        here: Answers,
        others: Others,
        telling: Telling,
        view: Callable[[], View],
    ) -> None:
        self._node = node
        self._here = here
        self._others = others
        self._telling = telling
        self._view = view

    async def status(self) -> Status:
        return await self._here.status()

    async def why(self, obj: str) -> Why:
        return await self._here.why(obj)

    async def request(self, request: Request) -> Reply:
        """The answer to a person, whoever gave it."""
        if isinstance(request, AskNotify):
            return await self._notify(request)
        view = self._view()
        refusal = undecidable(request, view)
        if refusal is not None:
            return refusal
        leader = leader_for(request, view)
        if leader is not None:
            return await self._forward(leader, request)
        reply = await self._here.request(request)
        if isinstance(request, AskHold) and reply.accepted:
            return await self._held(reply)
        if isinstance(request, AskLook) and view.leader not in (None, view.me):
            await self._nudge(str(view.leader), request)
        return reply

    async def invite(self) -> Invited | Reply:
        """A one-time code, or why a node cannot join here."""
        code = await self._others.invite()
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
        view = self._view()
        if view.leader != view.me and not isinstance(ask, AskLook):
            return 409, _refused(
                "NotLeader", f"{view.me} does not lead; {view.leader or 'nobody'} does"
            )
        reply = await self._here.request(ask)
        return (200 if reply.accepted else 409), msgspec.json.encode(reply)

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

    async def _held(self, reply: Reply) -> Reply:
        """A hold counts once the acting leader has it, or nobody can lead without one who has it."""
        try:
            async with asyncio.timeout(HOLD_WITHIN_S):
                await self._until_it_counts()
        except TimeoutError:
            message = (
                f"{reply.message} stands on {self._node}, but a leader that is out of its reach may go"
                " on until it hears of it: look at cxm members, and hold on another node too"
            )
            return Reply(accepted=False, reason="NotAcknowledged", message=message)
        return reply

    async def _until_it_counts(self) -> None:
        while True:
            if await self._counts():
                return
            await asyncio.sleep(HOLD_EVERY_S)

    async def _counts(self) -> bool:
        view = self._view()
        if view.alone or view.leader == view.me:
            return True
        if view.leader is not None:
            return await self._others.holds(view.leader)
        names, enough = _who_counts(view)
        others = (self._others.holds(name) for name in names if name != view.me)
        know = sum(await asyncio.gather(*others)) + (view.me in names)
        return bool(names) and know >= enough

    async def _notify(self, request: AskNotify) -> Reply:
        told = tuple(await self._telling.tell(test(self._node, request.by)))
        if not told:
            message = "node.yaml names no way of telling anybody: add notify"
            return Reply(accepted=False, reason="NoWay", message=message)
        failed = [line for line in told if not line.endswith(": told")]
        reason = "NotifyFailed" if failed else ""
        return Reply(accepted=not failed, reason=reason, message="; ".join(failed), notes=told)


def _who_counts(view: View) -> tuple[Sequence[str], int]:
    """While no leader is known: who may have to do with the next one, and how many of them, told of a
    hold, leave none that does not hear of it.

    Voters are needed by whoever leads. Where they are not known, or do not decide, any peer may lead;
    a node without a view knows of nobody.
    """
    if view.voters.epoch and view.engine == "builtin":
        return view.voters.names, view.voters.blocking
    return tuple(view.peers), len(view.peers)


def _refused(reason: str, message: str) -> bytes:
    return msgspec.json.encode(Reply(accepted=False, reason=reason, message=message))
