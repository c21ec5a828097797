"""etcd as engine: a lease and a key by compare-and-set. What is decided is in `membership.lease`.

The cluster's keys lie below `/cxm/CLUSTER ID/`: `leader` is whoever leads, `successor` whom a leader
handed over to, `base` what terms count from. A user of etcd for cxm needs to read and write that prefix
and nothing else.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from membership.edge.etcd_members import Asked, KeyValue, Members, Reply
from membership.edge.node_settings import EngineAccess
from membership.lease import (
    Answer,
    Base,
    Contender,
    Done,
    Heir,
    Holder,
    LetGo,
    Look,
    Open,
    Opened,
    Renew,
    Renewed,
    Request,
    Revoke,
    Seen,
    Seize,
)
from membership.roster import Timing
from membership.view import Standing
from schema.model import Frozen

_T = TypeVar("_T", Base, Heir)


class _Written(Frozen, frozen=True, kw_only=True):
    """The value of the key that the leader holds."""

    node: str
    nonce: str


class _Strange(Exception):
    """A key below ours does not hold what is written there."""


class _Keys:
    """Requests as questions to the gateway, and its replies as answers."""

    def __init__(self, cluster_id: str, me: str, nonce: str) -> None:
        self._under = f"/cxm/{cluster_id}/"
        self._leader = self._key("leader")
        self._successor = self._key("successor")
        self._base = self._key("base")
        self._value = msgspec.json.encode(_Written(node=me, nonce=nonce))

    def _key(self, name: str) -> bytes:
        return f"{self._under}{name}".encode()

    def question(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        """(path, body); bytes in it become base64, as the gateway wants them."""
        match request:
            case Look():
                # Whatever begins with the prefix: up to its last character's next one.
                end = self._under[:-1] + chr(ord("/") + 1)
                whole = {"key": self._under.encode(), "range_end": end.encode(), "limit": 16}
                return "/v3/kv/range", whole
            case Open():
                return "/v3/lease/grant", {"TTL": request.ttl_s}
            case Renew():
                return "/v3/lease/keepalive", {"ID": request.lease}
            case Revoke():
                return "/v3/lease/revoke", {"ID": request.lease}
            case Seize():
                return "/v3/kv/txn", self._seizing(request)
            case LetGo():
                return "/v3/kv/txn", self._letting_go(request)

    def _seizing(self, request: Seize) -> Mapping[str, Any]:
        seen = request.seen
        steps = [_put(self._leader, self._value, request.lease)]
        if request.base != seen.base:
            steps.append(_put(self._base, msgspec.json.encode(request.base)))
        if seen.heir_changed:
            steps.append(_delete(self._successor))
        compare = [
            _made(self._leader, 0),
            _changed(self._base, seen.base_changed),
            _changed(self._successor, seen.heir_changed),
        ]
        return {"compare": compare, "success": steps}

    def _letting_go(self, request: LetGo) -> Mapping[str, Any]:
        steps = [_delete(self._leader)]
        if request.heir is not None:
            heir = msgspec.json.encode(request.heir)
            steps.append(_put(self._successor, heir, request.lease))
        return {"compare": [_made(self._leader, request.revision)], "success": steps}

    def answer(self, request: Request, reply: Reply) -> Answer:
        """Raises _Strange."""
        match request:
            case Look() if not reply.code:
                return self._seen(reply)
            case Open() if reply.lease:
                return Opened(lease=reply.lease)
            case Renew() if not reply.code:
                return Renewed(lives=reply.ttl_s > 0)
            case Seize() | LetGo() | Revoke():
                return Done()
        raise _Strange(f"etcd answers {type(request).__name__.lower()} with: {reply.message}")

    def _seen(self, reply: Reply) -> Seen:
        found = {pair.key: pair for pair in reply.kvs}
        holder = found.get(self._leader)
        base, heir = found.get(self._base), found.get(self._successor)
        return Seen(
            revision=reply.header.revision,
            base=_read(base, Base) if base is not None else Base(),
            base_changed=base.mod_revision if base is not None else 0,
            holder=_holder(holder) if holder is not None else None,
            heir=_read(heir, Heir) if heir is not None else None,
            heir_changed=heir.mod_revision if heir is not None else 0,
        )


def _read(pair: KeyValue, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(pair.value, type=kind)
    except msgspec.DecodeError:
        key = pair.key.decode("utf-8", "replace")
        message = f"key {key} does not hold what cxm writes there; remove it (etcdctl del {key})"
        raise _Strange(message) from None


def _holder(pair: KeyValue) -> Holder:
    """What is not of cxm is a holder without a name: it is waited for, never removed."""
    try:
        written = msgspec.json.decode(pair.value, type=_Written)
    except msgspec.DecodeError:
        written = _Written(node="", nonce="")
    return Holder(
        node=written.node, nonce=written.nonce, lease=pair.lease, revision=pair.create_revision
    )


def _put(key: bytes, value: bytes, lease: int = 0) -> Mapping[str, Any]:
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def _delete(key: bytes) -> Mapping[str, Any]:
    return {"request_delete_range": {"key": key}}


def _made(key: bytes, revision: int) -> Mapping[str, Any]:
    """True where the key was made at `revision`; 0: where there is none."""
    return {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": revision}


def _changed(key: bytes, revision: int) -> Mapping[str, Any]:
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}


class EtcdEngine:
    """Leadership by etcd, for one node. All methods belong to one event loop.

    `grant` gets each new standing, its times on `boot_clock` (CLOCK_BOOTTIME, seconds); never from
    within `stand` or `hand_over`. `tell` gets what is wrong with etcd, and that it no longer is, once
    each. Nothing here raises for what etcd does or does not do.
    """

    def __init__(
        self,
        settings: EngineAccess,
        cluster_id: str,
        me: str,
        timing: Timing,
        grant: Callable[[Standing], None],
        boot_clock: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        nonce = os.urandom(8).hex()
        self._contender = Contender(me=me, nonce=nonce, timing=timing)
        self._keys = _Keys(cluster_id, me, nonce)
        # A frozen member, and the one after it, must both have had their turn well within a lease.
        attempt_s = timing.lease_s / 5.0
        self._members = Members(settings, attempt_s, 2.0 * attempt_s, boot_clock)
        self._patience_s = timing.lease_s
        self._grant, self._clock, self._tell = grant, boot_clock, tell
        self._granted: Standing | None = None
        self._told: dict[str, str] = {}
        self._strange = ""
        self._unclaimed = asyncio.Event()
        self._unclaimed.set()
        self._rung = False
        self._bell: asyncio.Future[None] | None = None

    def stand(self, wants: bool, floor: int) -> None:
        """Whether this node is to lead, in a term above `floor`. To be heard at once."""
        self._contender.stand(wants, floor, self._clock())
        self._ring()

    def hand_over(self, to: str | None) -> None:
        """Step down for `to`, or for anybody else; nothing where this node does not lead."""
        self._contender.hand_over(to, self._clock())
        self._ring()

    @property
    def reason(self) -> str:
        """Why nobody is known to lead; "" where somebody is."""
        return self._contender.reason(self._clock())

    async def leave(self) -> None:
        """Lead no more, and let the others know if etcd answers in time. `run` must be running."""
        self.stand(False, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await self._unclaimed.wait()

    async def run(self) -> None:
        """Until it is cancelled, which gives up nothing: the key then ends with its lease."""
        with _Worker(self._members) as worker:
            while True:
                request = self._contender.next(self._clock())
                self._publish()
                if request is None:
                    await self._wait(self._contender.due_s)
                else:
                    await self._carry_out(request, worker)

    async def _carry_out(self, request: Request, worker: _Worker) -> None:
        """However long it takes, the standing ends when it ends."""
        asked = worker.ask(*self._keys.question(request))
        while not asked.done():
            await self._wait(self._contender.ends_s(self._clock()), asked)
            self._publish()
        self._settle(request, asked.result())
        self._tell_troubles()

    def _settle(self, request: Request, asked: Asked | None) -> None:
        now_s = self._clock()
        if asked is None:
            self._contender.failed(now_s)
            return
        try:
            answer = self._keys.answer(request, asked.reply)
        except _Strange as error:
            self._strange = str(error)
            self._contender.failed(now_s)
            return
        if isinstance(answer, Seen):
            self._strange = ""
        self._contender.answered(request, answer, asked.sent_s, now_s)

    def _publish(self) -> None:
        if not self._contender.claims:
            self._unclaimed.set()
        else:
            self._unclaimed.clear()
        standing = self._contender.standing(self._clock())
        if standing != self._granted:
            self._granted = standing
            self._grant(standing)

    def _tell_troubles(self) -> None:
        now = {f"etcd {endpoint}": text for endpoint, text in self._members.troubles.items()}
        if self._strange:
            now["etcd"] = self._strange
        before, self._told = self._told, now
        for place, text in now.items():
            if before.get(place) != text:
                self._tell(f"{place}: {text}")
        for place in before.keys() - now.keys():
            self._tell(f"{place}: answers as it should again")

    # --- waiting --------------------------------------------------------------------------------

    def _ring(self) -> None:
        self._rung = True
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def _wait(self, until_s: float, *others: asyncio.Future[Asked | None]) -> None:
        """Until that time, or one of these is there, or somebody rings."""
        if not self._rung:
            self._bell = asyncio.get_running_loop().create_future()
            left_s = max(0.0, until_s - self._clock())
            timeout_s = left_s if math.isfinite(left_s) else None
            waited: set[asyncio.Future[Any]] = {self._bell, *others}
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self._rung = False


class _Worker:
    """The one thread that waits for etcd, so that the loop never does."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="etcd")

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """Not waited for: it ends within the deadline of what it is asking."""
        self._pool.submit(self._members.close)
        self._pool.shutdown(wait=False)

    def ask(self, path: str, question: Mapping[str, Any]) -> asyncio.Future[Asked | None]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, self._members.ask, path, question)
