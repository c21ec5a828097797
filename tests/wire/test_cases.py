"""The facts of the wire in our own words: each file of ``cases`` holds one rule.

A step asks and says what must come: ``answer`` a shape, or ``error`` code and parameters. Words for
shapes: ref, uuid, date, int, float, text, void, address; ``is`` a value, ``like`` a pattern,
``int``/``count`` a number, ``struct`` members, a list of one shape (every item) or of several.
``keep`` names an answer for ``$name``; ``@class/name`` is an object's reference; ``until`` asks
again until it fits.
"""

from __future__ import annotations

import asyncio
import json
import re
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from simulator.serve import Simulation
from tests.wire.served import NOTHING, Connection, Session, post, request, served

CASES = Path(__file__).parent / "cases"
POOL = (CASES / "pool.yaml").read_text()
TRANSPORTS = ("xml", "json1", "json2")
UNTIL_S = 10.0


def _load(name: str) -> Any:
    return YAML(typ="safe").load((CASES / f"{name}.yaml").read_text())


STEP_FILES = sorted(path.stem for path in CASES.glob("*.yaml") if path.stem not in ("pool", "http"))
EXCHANGES = _load("http")["exchanges"]


class Runner:
    """Runs the steps of one file over one transport."""

    def __init__(self, running: Simulation, transport: str) -> None:
        self._urls = {host.name: host.url for host in running.hosts}
        self._master = running.hosts[0].url
        self._transport = transport
        self._kept: dict[str, Any] = {}
        self._own: Session | None = None

    async def step(self, step: Mapping[str, Any]) -> None:
        deadline = asyncio.get_running_loop().time() + UNTIL_S
        method, *params = await self._resolve(step["ask"])
        url = self._urls[step["at"]] if "at" in step else self._master
        while True:
            value, error = await self._ask(url, method, params)
            unfit = await self._unfit(step, value, error)
            again = step.get("until") and asyncio.get_running_loop().time() < deadline
            if not (unfit and again):
                break
            await asyncio.sleep(0.05)
        if unfit:
            pytest.fail(f"{step['ask']}: {unfit}"[:2000])
        if "keep" in step:
            self._kept[step["keep"]] = value

    async def _unfit(self, step: Mapping[str, Any], value: Any, error: Any) -> str:
        if "error" in step:
            wanted = [_words(word) for word in await self._resolve(step["error"])]
            return "" if error and _fits(wanted, error) else f"{error or value} is not {wanted}"
        if error is not None:
            return f"failed: {error}"
        wanted = await self._resolve(step["answer"])
        return "" if _fits(wanted, value) else f"{value} is not {wanted}"

    async def _ask(self, url: str, method: str, params: Sequence[Any]) -> tuple[Any, Any]:
        if self._transport == "xml":
            body = xmlrpc.client.dumps(tuple(params), method)
            answer: Any = xmlrpc.client.loads((await post(url, "/RPC2", body)).body)[0][0]
            return answer.get("Value"), answer.get("ErrorDescription")
        if self._transport == "json1":
            body = json.dumps({"method": method, "params": list(params), "id": 3})
            answer = json.loads((await post(url, "/jsonrpc", body)).body)
            return answer["result"], answer["error"]
        answer = json.loads((await post(url, "/jsonrpc", request(method, params))).body)
        error = answer.get("error")
        return answer.get("result"), error and [error["message"], *error["data"]]

    async def _resolve(self, item: Any) -> Any:
        match item:
            case str():
                return await self._named(item)
            case list():
                return [await self._resolve(part) for part in item]
            case dict():
                return {key: await self._resolve(part) for key, part in item.items()}
        return item

    async def _named(self, text: str) -> str:
        for word in re.findall(r"@\w+/\w+", text):
            text = text.replace(word, await self._ref(word))
        for word in re.findall(r"\$[\w.]+", text):
            name, _, member = word[1:].partition(".")
            kept = self._kept[name]
            text = text.replace(word, kept[member] if member else kept)
        return text

    async def _ref(self, word: str) -> str:
        if self._own is None:
            self._own = await Session.login(self._master)
        cls, _, name = word[1:].partition("/")
        if cls == "pool":
            return str((await self._own.call("pool.get_all"))[0])
        return str((await self._own.call(f"{cls}.get_by_name_label", name))[0])


def _words(word: str) -> Any:
    """In an error's parameters only some words are shapes; all others are meant literally."""
    return word if word in ("text", "ref", "address", "uuid") else {"is": word}


_FORMS = {
    "ref": re.compile(r"OpaqueRef:(?!NULL).+"),
    "uuid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "date": re.compile(r"\d{8}T\d\d:\d\d:\d\dZ"),
    "address": re.compile(r"127\.\d+\.\d+\.\d+"),
    "text": re.compile(r"(?s).*"),
    "void": re.compile(r""),
}


def _fits(shape: Any, value: Any) -> bool:
    if isinstance(value, xmlrpc.client.DateTime):
        value = str(value)
    match shape:
        case "int":
            return _is_int(value)
        case "float":
            return isinstance(value, float)
        case str():
            return isinstance(value, str) and _FORMS[shape].fullmatch(value) is not None
        case [one]:
            return isinstance(value, list) and value != [] and all(_fits(one, v) for v in value)
        case list():
            fits = isinstance(value, list) and len(shape) == len(value)
            return fits and all(_fits(s, v) for s, v in zip(shape, value, strict=True))
    return _fits_struct(shape, value)


def _fits_struct(shape: Mapping[str, Any], value: Any) -> bool:
    match shape:
        case {"is": wanted}:
            return bool(value == wanted and type(value) is type(wanted))
        case {"like": pattern}:
            return isinstance(value, str) and re.fullmatch(pattern, value) is not None
        case {"int": wanted}:
            return _is_int(value) and int(value) == wanted
        case {"count": wanted}:
            return type(value) is int and value == wanted
    members, absent = shape["struct"], shape.get("without", [])
    fits = isinstance(value, dict) and members.keys() <= value.keys()
    return (
        fits
        and not set(absent) & value.keys()
        and all(_fits(member, value[key]) for key, member in members.items())
    )


def _is_int(value: Any) -> bool:
    return type(value) is int or (
        isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", STEP_FILES)
async def test_case(name: str, transport: str, tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        runner = Runner(running, transport)
        for step in _load(name)["steps"]:
            await runner.step(step)


CALL = xmlrpc.client.dumps(("OpaqueRef:NULL",), "host.get_all")


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: str(exchange["name"]))
async def test_http(exchange: Mapping[str, Any], tmp_path: Path) -> None:
    body = CALL if exchange.get("body") == "call" else exchange.get("body", "")
    length = exchange.get("length", len(body) if "body" in exchange else "absent")
    head = f"{exchange['head']}\r\nHost: x\r\n"
    head += "" if length == "absent" else f"Content-Length: {length}\r\n"
    async with served(tmp_path, POOL) as running:
        connection = await Connection.to(running.hosts[0].url)
        answer = await connection.ask(head + "\r\n", body)
        await connection.close()
    assert answer is not NOTHING
    assert answer.status == exchange["status"]
    assert answer.header("content-type") == exchange["type"]
    assert answer.header("connection") == exchange["connection"]
    assert answer.closed == (exchange["connection"] == "close")
