"""Sends recorded requests to a served pool and compares what comes back, exchange by exchange.

References and uuids of the recording are replaced by those of the served pool: by pairs learnt
from earlier answers, else by the name of what they stood for. The recordings do not hold the
pauses between requests, so that a read is repeated until it fits or its patience is over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.serve import Simulation
from tests.wire.recorded import (
    REFERENCE,
    Exchange,
    Known,
    decode_response,
    value_of,
)
from tests.wire.served import NOTHING, Answer, Connection, Session
from tests.wire.shapes import differences

PATIENCE_S = 6.0
SILENCE_S = 1.5
"""How long an exchange that was recorded without an answer is watched for staying silent."""

_STORY = "event.from during "
_UUID = re.compile(r"(?<![:0-9a-f-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"\d{20},\d{20}")
"""As servers write them; a client may send shorter ones."""
_NO_TOKEN = re.compile("0{20},|9")
_READ = re.compile(r"(?:\w+)\.get_\w+|event\.from")
_COMPARED_HEADERS = (
    "content-type",
    "connection",
    "cache-control",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one recording needs beside its own requests.

    ``before``: calls of another client right before an exchange, as [method, argument…] where
    ``@VM/name`` names an object; ``meanwhile``: the same, 0.2 s after the exchange was sent.
    ``deeds``: what happens to the world right before an exchange, as [verb, host]: ``stop`` or
    ``start`` its toolstack.
    ``pause``: seconds to wait before an exchange, where the recorder waited for a guest.
    ``names``: recorded reference -> class and name, where no record of the recording tells them.
    ``unmatched``: index -> why the answer cannot be the recorded one; it is sent all the same.
    """

    pool: str
    pause: Mapping[int, float] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    before: Mapping[int, Sequence[Sequence[Any]]] = field(default_factory=dict)
    meanwhile: Mapping[int, Sequence[Sequence[Any]]] = field(default_factory=dict)
    deeds: Mapping[int, Sequence[Sequence[str]]] = field(default_factory=dict)
    unmatched: Mapping[int, str] = field(default_factory=dict)


class Player:
    """Replays one recording against one served pool."""

    def __init__(self, running: Simulation, book: Mapping[str, Known], plan: Plan) -> None:
        self._world = running.world
        self._stopped: dict[str, int] = {}
        self._urls = {"master": running.hosts[0].url, "slave": running.hosts[1].url}
        self._book = book
        self._plan = plan
        self._learnt: dict[str, str] = {}
        self._first_token = ""
        self._story: list[Any] = []
        self._own: Session | None = None

    async def play(self, exchanges: Sequence[Exchange]) -> dict[int, list[str]]:
        """The differences of every exchange, by index; an empty list where it fits."""
        self._own = await Session.login(self._urls["master"])
        self._story = _story(exchanges)
        found: dict[int, list[str]] = {}
        for batch in _by_connection(exchanges):
            found.update(await self._play_batch(batch))
        return found

    async def _play_batch(self, batch: Sequence[Exchange]) -> dict[int, list[str]]:
        await self._prepare(batch[0])
        connection = await Connection.to(self._urls[batch[0].host])
        try:
            found = {batch[0].index: await self._play_one(batch[0], connection)}
            for exchange in batch[1:]:
                await self._prepare(exchange)
                found[exchange.index] = await self._play_one(exchange, connection)
            return found
        finally:
            await connection.close()

    async def _prepare(self, exchange: Exchange) -> None:
        for verb, host in self._plan.deeds.get(exchange.index, ()):
            self._do(verb, host)
        await asyncio.sleep(self._plan.pause.get(exchange.index, 0))
        for call in self._plan.before.get(exchange.index, ()):
            await self._act(call)
        if not self._first_token:
            told = await self._session.call("event.from", ["*"], "", 0.0)
            self._first_token = told["token"]

    async def _play_one(self, exchange: Exchange, connection: Connection) -> list[str]:
        patience = 0.0 if exchange.index in self._plan.unmatched else PATIENCE_S
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            answer = await self._exchange(exchange, connection)
            found = _compare(exchange, answer, self._story)
            late = asyncio.get_running_loop().time() >= deadline
            if not found or late or not _READ.fullmatch(exchange.call[0]):
                self._learn(exchange, answer)
                return found
            await asyncio.sleep(0.02)
            connection = await Connection.to(self._urls[exchange.host])

    async def _exchange(self, exchange: Exchange, connection: Connection) -> Answer:
        head, body = await self._translate(exchange)
        asking = asyncio.ensure_future(connection.ask(head, body))
        if exchange.index in self._plan.meanwhile:
            await asyncio.sleep(0.2)
            for call in self._plan.meanwhile[exchange.index]:
                await self._act(call)
        silent = exchange.response_head == "" and "(#2)" not in exchange.name
        try:
            return await asyncio.wait_for(asking, SILENCE_S if silent else 30)
        except TimeoutError:
            return NOTHING

    # --- translation ------------------------------------------------------------------------------

    async def _translate(self, exchange: Exchange) -> tuple[str, str]:
        body = exchange.request_body
        for ref in set(REFERENCE.findall(body)):
            body = body.replace(ref, await self._ref(ref, exchange))
        for uuid in set(_UUID.findall(body)):
            body = body.replace(uuid, await self._uuid(uuid))
        for token in set(_TOKEN.findall(body)):
            body = body.replace(token, self._token(token))
        if exchange.name.startswith(_STORY):
            # Nothing more to tell is told at the end of the time-out; that may come sooner.
            body = re.sub(r"<double>[23].0</double>", "<double>0.5</double>", body)
        length = f"Content-Length: {len(body.encode())}"
        return re.sub(r"Content-Length: [1-9]\d*", length, exchange.request_head), body

    async def _ref(self, ref: str, exchange: Exchange) -> str:
        if ref not in self._learnt:
            known = self._book.get(ref)
            first = exchange.call[1][0] if exchange.call[1] else ""
            if ref in self._plan.names:
                self._learnt[ref] = await self._named(*self._plan.names[ref])
            elif known is not None and known.name:
                self._learnt[ref] = await self._named(known.cls, known.name)
            elif ref == first and not ref.startswith("OpaqueRef:deadbeef"):
                self._learnt[ref] = (await Session.login(self._urls["master"])).ref
        return self._learnt.get(ref, ref)

    def _token(self, token: str) -> str:
        """A token that no answer gave was taken some time before: the one of our beginning."""
        return self._learnt.get(token, token if _NO_TOKEN.match(token) else self._first_token)

    async def _uuid(self, uuid: str) -> str:
        known = next((one for one in self._book.values() if one.uuid == uuid), None)
        if known is None:
            return uuid
        ref = await self._named(known.cls, known.name)
        return str(await self._session.call(f"{known.cls}.get_uuid", ref))

    async def _named(self, cls: str, name: str) -> str:
        found = await self._session.call(f"{cls}.get_by_name_label", name)
        assert len(found) == 1, f"{len(found)} objects {cls}/{name} in the served pool"
        return str(found[0])

    @property
    def _session(self) -> Session:
        assert self._own is not None
        return self._own

    def _learn(self, exchange: Exchange, answer: Answer) -> None:
        if answer is not NOTHING:
            recorded = value_of(exchange.answer)
            ours = value_of(decode_response(exchange.path, answer.body))
            self._learnt.update(_pairs(recorded, ours))

    def _do(self, verb: str, host: str) -> None:
        if verb == "stop":
            self._stopped[host] = self._world.faults.start("api-restart", 3600, host=host)
        elif verb == "start":
            self._world.faults.stop(self._stopped.pop(host))
        else:
            raise ValueError(f"no such deed {verb!r}")

    async def _act(self, call: Sequence[Any]) -> None:
        method, *params = call
        await self._session.call(method, *[await self._argument(param) for param in params])

    async def _argument(self, param: Any) -> Any:
        if isinstance(param, str) and param.startswith("@"):
            cls, _, name = param[1:].partition("/")
            return await self._named(cls, name)
        if isinstance(param, dict):
            return {key: await self._argument(value) for key, value in param.items()}
        return param


def _by_connection(exchanges: Sequence[Exchange]) -> list[list[Exchange]]:
    """Exchanges named ``… (#2)`` went over the connection of their ``… (#1)``."""
    batches: list[list[Exchange]] = []
    for exchange in exchanges:
        if exchange.name.endswith("(#2)"):
            batches[-1].append(exchange)
        else:
            batches.append([exchange])
    return batches


def _story(exchanges: Sequence[Exchange]) -> list[Any]:
    """All events of exchanges that tell one story in instalments. How many changes an instalment
    holds is chance, so that each of our events may be like any of them."""
    told = [exchange for exchange in exchanges if exchange.name.startswith(_STORY)]
    return [event for exchange in told for event in value_of(exchange.answer)["events"]]


def _pairs(recorded: Any, ours: Any) -> dict[str, str]:
    """References and tokens that certainly mean the same: a lone answer, fields of one record."""
    if isinstance(recorded, str) and isinstance(ours, str):
        both = REFERENCE.fullmatch(recorded) and REFERENCE.fullmatch(ours)
        return {recorded: ours} if both or _TOKEN.fullmatch(recorded) else {}
    if not (isinstance(recorded, dict) and isinstance(ours, dict)):
        return {}
    if not {"uuid", "token"} & recorded.keys():
        return {}
    shared = recorded.keys() & ours.keys()
    return {
        one: other
        for key in shared
        for one, other in _pairs(recorded[key], ours[key]).items()
        if key != "events"
    }


# --- comparison -----------------------------------------------------------------------------------


def _compare(exchange: Exchange, answer: Answer, story: Sequence[Any]) -> list[str]:
    if exchange.response_head == "":
        return [] if answer is NOTHING else [f"silence recorded, answered: {answer.status}"]
    if answer is NOTHING:
        return ["an answer recorded, none came"]
    recorded = Answer(exchange.response_head, exchange.response_body, closed=False)
    found = list(_compare_heads(recorded, answer))
    one, other = exchange.answer, decode_response(exchange.path, answer.body)
    if isinstance(one, str):
        return found + _compare_pages(one, other)
    if exchange.name.startswith(_STORY) and "events" in (value_of(other) or ()):
        value_of(one)["events"] = story if value_of(other)["events"] else []
    return found + list(differences(one, other))


def _compare_heads(recorded: Answer, answer: Answer) -> list[str]:
    found = []
    if recorded.status != answer.status:
        found.append(f"status: {recorded.status!r} recorded, {answer.status!r} answered")
    names = [name for name, _ in recorded.headers]
    if names != [name for name, _ in answer.headers]:
        found.append(f"headers: {names} recorded, {[n for n, _ in answer.headers]} answered")
    for name in _COMPARED_HEADERS:
        if recorded.header(name) != answer.header(name):
            found.append(f"{name}: {recorded.header(name)!r} recorded, {answer.header(name)!r}")
    if recorded.header("connection") == "close" and not answer.closed:
        found.append("connection: closed in the recording, left open")
    return found


def _compare_pages(recorded: str, ours: Any) -> list[str]:
    """Pages: the same heading, and the same exception named; its details are its parser's own."""
    if not isinstance(ours, str):
        return [f"a page recorded, {type(ours).__name__} answered"]
    heads = [re.findall(r"<h1>[^<]*</h1>", page) for page in (recorded, ours)]
    blames = [re.findall(r"information </h1>([\w.]+)", page) for page in (recorded, ours)]
    return [
        f"page: {one} recorded, {other} answered" for one, other in (heads, blames) if one != other
    ]
