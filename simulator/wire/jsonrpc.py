"""JSON-RPC 1.0 and 2.0 on one path; a request's ``jsonrpc`` member says which.

Recorded from a real server: ``id`` must be a number or a string, batches and notifications are
refused with HTTP 500, ``params`` given as an object count as one positional parameter, and numbers
are numbers in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from simulator.values import DateTime, Value
from simulator.wire.rpc import Call, Malformed

# As for XML: deeper nesting is an attack on recursion, not a call.
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded request and what its answer must repeat."""

    call: Call
    ident: int | float | str
    two: bool
    """True for JSON-RPC 2.0 framing of the answer."""


def decode_request(body: bytes) -> Request:
    """The request in ``body``; raises Malformed for everything that is not a single call."""
    message = _parse(body)
    if not isinstance(message, dict):
        raise Malformed('Jsonrpc.Malformed_method_request("Invalid request body")')
    ident = message.get("id")
    if isinstance(ident, bool) or not isinstance(ident, int | float | str):
        raise _invalid_field("id")
    method = message.get("method")
    if not isinstance(method, str):
        raise _invalid_field("method")
    params = message.get("params", [])
    positional = params if isinstance(params, list) else [params]
    call = Call(method, tuple(_value(item, 0) for item in positional))
    return Request(call, ident, "jsonrpc" in message)


def encode_success(request: Request, value: Value) -> bytes:
    """The answer to a call that went well; ``value`` is ``""`` for void."""
    if request.two:
        return _encode({"jsonrpc": "2.0", "result": value, "id": request.ident})
    return _encode({"result": value, "error": None, "id": request.ident})


def encode_failure(request: Request, code: str, params: Sequence[str]) -> bytes:
    """An API failure: an object under 2.0, the bare list of strings under 1.0."""
    if request.two:
        error = {"code": 1, "message": code, "data": list(params)}
        return _encode({"jsonrpc": "2.0", "error": error, "id": request.ident})
    return _encode({"result": None, "error": [code, *params], "id": request.ident})


def encode_emergency(code: str, params: Sequence[str]) -> bytes:
    """What a host in emergency mode answers to any request: 2.0, id 0, and the bare list."""
    return _encode({"jsonrpc": "2.0", "error": [code, *params], "id": 0})


def _parse(body: bytes) -> Any:
    if not body.strip():
        raise Malformed('Yojson__Common.Json_error("Blank input data")')
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f'Yojson__Common.Json_error("{error}")') from None


def _invalid_field(name: str) -> Malformed:
    return Malformed(
        f"Jsonrpc.Malformed_method_request(\"Invalid field '{name}' in request body\")"
    )


def _value(item: Any, depth: int) -> Value:
    """The world's values from JSON's: null has no meaning in XenAPI and is refused."""
    if depth > MAX_DEPTH:
        raise Malformed(f"Failure(values nested deeper than {MAX_DEPTH})")
    match item:
        case bool() | int() | float() | str():
            return item
        case list():
            return [_value(part, depth + 1) for part in item]
        case dict():
            return {key: _value(part, depth + 1) for key, part in item.items()}
    # What a real server does with null was not recorded; refusing the whole request is the
    # reading that cannot make a client believe that null meant something.
    raise Malformed("Failure(null is not a value)")


def _plain(item: object) -> object:
    if isinstance(item, DateTime):
        return str.__str__(item)
    raise TypeError(f"{type(item).__name__} cannot be sent")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
