"""Addresses, fingerprints and JSON-RPC answers in every form that occurs in the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xapi.address import Address, parse_address, sibling
from xapi.https import format_fingerprint, parse_fingerprint
from xapi.jsonrpc import Malformed, decode_answer, encode_call
from xapi.transport import XapiFailure


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("xen1", "xen1", 443, "xen1"),
        ("xen1:8443", "xen1", 8443, "xen1:8443"),
        ("10.0.0.1:443", "10.0.0.1", 443, "10.0.0.1"),
        ("fd00::1", "fd00::1", 443, "[fd00::1]"),
        ("[fd00::1]", "fd00::1", 443, "[fd00::1]"),
        ("[fd00::1]:8443", "fd00::1", 8443, "[fd00::1]:8443"),
    ],
)
def test_addresses(text: str, host: str, port: int, written: str) -> None:
    parsed = parse_address(text)
    assert parsed == Address(host=host, port=port)
    assert str(parsed) == written
    assert parse_address(written) == parsed
    assert parsed.url("/jsonrpc").startswith("https://")


@pytest.mark.parametrize(
    "text", ["", ":443", "a:b", "a:0", "a:70000", "a/b", "u@h", "a b", "[x]:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        parse_address(text)


def test_a_sibling_keeps_the_port() -> None:
    assert sibling("10.0.0.1:8443", "fd00::2") == "[fd00::2]:8443"


DIGEST = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [DIGEST.hex(), DIGEST.hex(":").upper(), "SHA256:" + DIGEST.hex(), "sha-256:" + DIGEST.hex()],
)
def test_fingerprints(text: str) -> None:
    assert parse_fingerprint(text) == DIGEST
    assert parse_fingerprint(format_fingerprint(DIGEST)) == DIGEST


@pytest.mark.parametrize("text", ["", "AB:CD", "zz" * 32, "ab" * 20])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        parse_fingerprint(text)


def test_a_call_is_positional_and_has_an_id() -> None:
    call = json.loads(encode_call("VM.start", ["OpaqueRef:s", False, 5]))
    assert call["jsonrpc"] == "2.0"
    assert call["method"] == "VM.start"
    assert call["params"] == ["OpaqueRef:s", False, 5]
    assert isinstance(call["id"], int)


@pytest.mark.parametrize(
    "answer",
    [
        {"jsonrpc": "2.0", "result": {"a": 1}, "id": 1},
        {"result": {"a": 1}, "error": None, "id": "x"},
    ],
)
def test_results(answer: dict[str, Any]) -> None:
    assert decode_answer(json.dumps(answer).encode()) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"jsonrpc": "2.0", "error": {"code": 1, "message": "HOST_BROKEN", "data": ["p"]}, "id": 1},
        {"result": None, "error": ["HOST_BROKEN", "p"], "id": 1},
        # Emergency mode: the array of 1.0 in the frame of 2.0, id 0 whatever was asked.
        {"jsonrpc": "2.0", "error": ["HOST_BROKEN", "p"], "id": 0},
    ],
)
def test_failures(answer: dict[str, Any]) -> None:
    with pytest.raises(XapiFailure) as caught:
        decode_answer(json.dumps(answer).encode())
    assert (caught.value.code, caught.value.params) == ("HOST_BROKEN", ("p",))


def test_a_failure_without_parameters() -> None:
    with pytest.raises(XapiFailure) as caught:
        decode_answer(b'{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_BROKEN"},"id":1}')
    assert caught.value.params == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"5",
        b'{"id": 1}',
        b'{"error": 5}',
        b'{"error": {}}',
        b'{"error": []}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_answer(body)


def test_references_do_not_reach_people() -> None:
    failure = XapiFailure(
        "HANDLE_INVALID", ["VM", "OpaqueRef:8afe09be-4681-554f-3365-94a8d10c9afa"]
    )
    assert failure.message == "XenAPI answered HANDLE_INVALID (VM, (object))"
