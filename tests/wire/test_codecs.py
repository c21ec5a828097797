"""The two codecs: what goes out comes back, and nothing that comes in can break them."""

from __future__ import annotations

import json
import xmlrpc.client
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.values import DateTime, Value
from simulator.wire import jsonrpc
from simulator.wire import xmlrpc as xml
from simulator.wire.rpc import Call, Malformed

# Text as a database can hold it. A carriage return does not survive XML, by its own rules.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]) | st.sampled_from("\t\n"))
DATES = st.datetimes().map(
    lambda moment: DateTime(moment.strftime("%Y%m%dT%H:%M:%SZ").rjust(17, "0"))
)
# Sixteen digits, as a real server sends, lose the last bit of some doubles; of these they do not.
FLOATS = st.integers(-(2**30), 2**30).map(lambda sixty_fourths: sixty_fourths / 64)
LEAVES = TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | FLOATS
VALUES = st.recursive(
    LEAVES | DATES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


def as_client_sees(value: Value) -> object:
    """What Python's own XML-RPC client makes of a value: integers arrive as text."""
    match value:
        case DateTime():
            return xmlrpc.client.DateTime(str(value))
        case bool() | str() | float():
            return value
        case int():
            return str(value)
        case Mapping():
            return {key: as_client_sees(item) for key, item in value.items()}
    return [as_client_sees(item) for item in value]


@given(VALUES)
def test_an_independent_client_reads_every_value_from_xml(value: Value) -> None:
    answer = xmlrpc.client.loads(xml.encode_success(value).decode())[0][0]
    assert answer == {"Status": "Success", "Value": as_client_sees(value)}


@given(VALUES)
def test_an_independent_client_reads_every_value_from_json(value: Value) -> None:
    request = jsonrpc.Request(Call("C.f", ()), 1, two=True)
    answer = json.loads(jsonrpc.encode_success(request, value))
    assert answer == {"jsonrpc": "2.0", "result": value, "id": 1}


@given(
    st.lists(
        st.recursive(
            TEXT | st.integers(-(2**31), 2**31 - 1) | st.booleans() | FLOATS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_calls_of_an_independent_client_are_understood(params: list[Any]) -> None:
    by_xml = xml.decode_call(xmlrpc.client.dumps(tuple(params), "VM.start").encode())
    assert by_xml == Call("VM.start", tuple(params))
    body = json.dumps({"jsonrpc": "2.0", "method": "VM.start", "params": params, "id": "a"})
    by_json = jsonrpc.decode_request(body.encode())
    assert by_json == jsonrpc.Request(Call("VM.start", tuple(params)), "a", two=True)


@given(st.binary(max_size=200))
@example(b"")
@example(b"<methodCall/>")
@example(b"<?xml version='1.0' encoding='no-such'?><methodCall/>")
@example(b"[]")
@example(b'"\\ud800"')
@example(b'{"jsonrpc":"2.0","method":"VM.get_all","params":[1e999],"id":1}')
@example(b"[" * 100_000)
@example(b"<value>" * 100_000)
def test_garbage_is_malformed_and_never_another_exception(body: bytes) -> None:
    for decode in (xml.decode_call, jsonrpc.decode_request):
        with pytest.raises(Malformed) as refused:
            decode(body)
        assert refused.value.text


FRAME = "<methodCall><methodName>C.f</methodName><params>{}</params></methodCall>"


@pytest.mark.parametrize(
    "inside",
    [
        "<param/>",
        "<param><value><int>five</int></value></param>",
        "<param><value><int>5</int><int>6</int></value></param>",
        "<param><value><boolean>yes</boolean></value></param>",
        "<param><value><double>nan</double></value></param>",
        "<param><value><array/></value></param>",
        "<param><value><array><data><string>x</string></data></array></value></param>",
        "<param><value><struct><member><name>x</name></member></struct></value></param>",
        "<param><value><nil/></value></param>",
        "<param>" + "<value><array><data>" * 40 + "</data></array></value>" * 40 + "</param>",
    ],
)
def test_well_formed_xml_that_is_no_call_is_malformed(inside: str) -> None:
    with pytest.raises(Malformed, match="Failure"):
        xml.decode_call(FRAME.format(inside).encode())


def test_a_document_type_is_refused_before_its_entities_are_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + FRAME.format(
        "<param><value>&b;</value></param>"
    )
    with pytest.raises(Malformed, match="document type"):
        xml.decode_call(bomb.encode())


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("<value>plain</value>", "plain"),
        ("<value> kept </value>", " kept "),
        ("<value/>", ""),
        ("<value>\n  <string>x</string>\n</value>", "x"),
        ("<value><i4>7</i4></value>", 7),
        ("<value><i8>8589934592</i8></value>", 8589934592),
        ("<value><double>5</double></value>", 5.0),
        ("<value><boolean>1</boolean></value>", True),
        (
            "<value><dateTime.iso8601>20260822T10:00:00Z</dateTime.iso8601></value>",
            DateTime("20260822T10:00:00Z"),
        ),
        ("<value><struct></struct></value>", {}),
        ("<value><array><data></data></array></value>", []),
        ("<value>a &lt; b &amp; c</value>", "a < b & c"),
    ],
)
def test_the_forms_in_which_clients_send_values(sent: str, meant: Value) -> None:
    call = xml.decode_call(FRAME.format(f"<param>{sent}</param>").encode())
    assert call.params == (meant,)
    assert type(call.params[0]) is type(meant)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("Running", "Running"),
        ("", ""),
        (5, "5"),
        (2**63 - 1, "9223372036854775807"),
        (True, "<boolean>1</boolean>"),
        (0.0, "<double>0</double>"),
        (1 / 7, "<double>0.1428571428571428</double>"),
        (DateTime("19700101T00:00:00Z"), "<dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601>"),
        ([], "<array><data></data></array>"),
        ({}, "<struct></struct>"),
        ("say \"a\" & 'b' < c", "say &quot;a&quot; &amp; 'b' &lt; c"),
        ("cut here\x00rest", "cut here"),
        ({"n": 1}, "<struct><member><name>n</name><value>1</value></member></struct>"),
        (
            {"valid_ref_counts": {"vm": 3}},
            (
                "<struct><member><name>valid_ref_counts</name><value><struct><member>"
                "<name>vm</name><value><i4>3</i4></value></member></struct></value></member>"
                "</struct>"
            ),
        ),
    ],
)
def test_values_have_exactly_the_form_of_a_real_server(value: Value, form: str) -> None:
    assert xml.encode_value(value) == form


def test_a_failure_is_an_answer_and_a_bare_answer_has_no_status() -> None:
    failure = xmlrpc.client.loads(xml.encode_failure("HANDLE_INVALID", ("VM", "x")).decode())[0][0]
    assert failure == {"Status": "Failure", "ErrorDescription": ["HANDLE_INVALID", "VM", "x"]}
    assert xmlrpc.client.loads(xml.encode_bare(["a.b"]).decode())[0][0] == ["a.b"]


def test_json_failures_differ_by_version() -> None:
    one = jsonrpc.decode_request(b'{"method":"VM.get_all","params":[],"id":1}')
    two = jsonrpc.decode_request(b'{"jsonrpc":"2.0","method":"VM.get_all","params":[],"id":"x"}')
    assert jsonrpc.encode_failure(one, "C", ["p"]) == b'{"result":null,"error":["C","p"],"id":1}'
    assert jsonrpc.encode_failure(two, "C", ["p"]) == (
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"C","data":["p"]},"id":"x"}'
    )


def test_json_params_given_as_an_object_are_one_parameter() -> None:
    request = jsonrpc.decode_request(b'{"method":"C.f","params":{"a":1},"id":1}')
    assert request.call == Call("C.f", ({"a": 1},))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "Blank input"),
        (b"{oops", "Json_error"),
        (b"[]", "Invalid request body"),
        (b'{"method":"C.f","params":[]}', "'id'"),
        (b'{"method":"C.f","params":[],"id":null}', "'id'"),
        (b'{"method":"C.f","params":[],"id":true}', "'id'"),
        (b'{"params":[],"id":1}', "'method'"),
        (b'{"method":"C.f","params":[null],"id":1}', "null"),
        (b'{"method":"C.f","params":[' + b"[" * 70 + b"]" * 70 + b'],"id":1}', "nested"),
    ],
)
def test_json_that_is_no_request_is_malformed_and_says_why(body: bytes, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        jsonrpc.decode_request(body)
