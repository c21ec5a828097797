"""JSON-RPC as XenAPI speaks it: 2.0 asked, 1.0 and the form of emergency mode understood too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from xapi.transport import JsonValue, XapiFailure


class Malformed(Exception):
    """An answer that is no JSON-RPC answer; the text says what is wrong with it."""


def encode_call(method: str, params: Sequence[JsonValue]) -> bytes:
    # One exchange per HTTP request: the id never has to tell answers apart, but may not be absent.
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})


def decode_answer(body: bytes) -> JsonValue:
    """The result in `body`; raises XapiFailure for a failure, Malformed for anything else.

    A host in emergency mode answers with an array in `error` and id 0 whatever was asked
    (the form of version 1.0 inside a frame of 2.0), so the id is not looked at.
    """
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise Malformed("not a JSON object")
    if answer.get("error") is not None:
        raise _failure(answer["error"])
    if "result" not in answer:
        raise Malformed("neither result nor error")
    result: JsonValue = answer["result"]
    return result


def _failure(error: Any) -> XapiFailure:
    match error:
        case [str(code), *params]:
            pass
        case {"message": str(code), "data": [*params]}:
            pass
        case {"message": str(code)}:
            params = []
        case _:
            raise Malformed("an error of unknown form")
    return XapiFailure(code, [str(param) for param in params])
