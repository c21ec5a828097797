"""Reads the recorded exchanges and learns what their references stood for.

The recordings are facts of somebody else's pool: their references and uuids mean nothing here. A
name book built from every record in them says "this reference was the host named hosta", so that
a replay can ask its own pool for the host of that name.
"""

from __future__ import annotations

import json
import re
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

REFERENCE = re.compile(r"OpaqueRef:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
JSON_PATHS = ("/jsonrpc", "/json")

Shapeable = Any
"""A decoded value: str, int, float, bool, list, dict, None (JSON) or xmlrpc.client.DateTime."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded exchange. ``method`` is empty for what is no call."""

    index: int
    name: str
    host: str
    request_head: str
    request_body: str
    response_head: str
    response_body: str

    @property
    def path(self) -> str:
        return self.request_head.split(" ", 2)[1]

    @property
    def is_json(self) -> bool:
        return self.path in JSON_PATHS

    @property
    def call(self) -> tuple[str, Sequence[Shapeable]]:
        """Method and parameters; ``("", ())`` where the body is no call."""
        return decode_request(self.path, self.request_body)

    @property
    def answer(self) -> Shapeable:
        return decode_response(self.path, self.response_body)


def load(path: Path) -> list[Exchange]:
    """The exchanges of one file, in order."""
    exchanges = json.loads(path.read_text(encoding="utf-8"))["exchanges"]
    return [
        Exchange(
            index,
            exchange["name"],
            exchange["host"],
            exchange["request"]["head"],
            exchange["request"]["body"],
            exchange["response"]["head"],
            exchange["response"]["body"],
        )
        for index, exchange in enumerate(exchanges)
    ]


def decode_request(path: str, body: str) -> tuple[str, Sequence[Shapeable]]:
    """Method and parameters of a request, by other decoders than the simulator's."""
    try:
        if path in JSON_PATHS:
            message = json.loads(body)
            params = message["params"]
            return message["method"], params if isinstance(params, list) else [params]
        params, method = xmlrpc.client.loads(body)
        return method or "", params
    except (ValueError, TypeError, KeyError, xmlrpc.client.Error, OverflowError, ExpatError):
        return "", ()


def decode_response(path: str, body: str) -> Shapeable:
    """The decoded answer; the text itself where it is a page or nothing."""
    if path in JSON_PATHS and body.startswith("{"):
        return json.loads(body)
    if body.startswith("<?xml"):
        return xmlrpc.client.loads(body)[0][0]
    return body


def value_of(answer: Shapeable) -> Shapeable:
    """The value inside an answer that went well; None otherwise."""
    if isinstance(answer, dict):
        return answer.get("Value", answer.get("result"))
    return answer if isinstance(answer, list) else None


@dataclass(frozen=True, slots=True)
class Known:
    """What a recorded reference stood for. ``cls`` is empty where the recording does not say."""

    cls: str
    uuid: str
    name: str


def name_book(folder: Path) -> dict[str, Known]:
    """Recorded reference -> what it was, from every record in every recording."""
    book: dict[str, Known] = {}
    for path in sorted(folder.glob("*.json")):
        for exchange in load(path):
            for ref, cls, record in _records(exchange):
                book.setdefault(ref, Known(cls, record["uuid"], record.get("name_label", "")))
    return book


def _records(exchange: Exchange) -> Iterator[tuple[str, str, Mapping[str, Shapeable]]]:
    method, params = exchange.call
    value = value_of(exchange.answer)
    cls = method.partition(".")[0]
    if not isinstance(value, dict):
        return
    if method.endswith(".get_record"):
        yield params[1], cls, value
    elif ".get_all_records" in method:
        for ref, record in value.items():
            yield ref, cls, record
    for event in value.get("events", ()):
        if "snapshot" in event:
            yield event["ref"], event["class"], event["snapshot"]
