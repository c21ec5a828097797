"""Records and answers of a real server, where they are at hand, as our picture shows them."""

from __future__ import annotations

import json
import os
import warnings
import xmlrpc.client
from pathlib import Path
from typing import Any

import msgspec

from reconciler.observed import Observed, PowerState
from xapi.jsonrpc import Malformed, decode_answer
from xapi.outcomes import ANSWERS
from xapi.picture import Picture
from xapi.records import CLASSES
from xapi.tables import Event, Tables
from xapi.transport import XapiFailure

FACTS = os.environ.get("CXM_XENAPI_FACTS", "")

# Met on the wire, though the published list does not have them.
UNPUBLISHED = {"SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_46"}


def test_it_is_known_whether_there_are_recordings() -> None:
    if not FACTS:
        warnings.warn("CXM_XENAPI_FACTS is unset: no recorded record is decoded", stacklevel=1)
        return
    assert (Path(FACTS) / "xenapi-transcripts").is_dir()


def exchanges(name: str) -> list[dict[str, Any]]:
    path = Path(FACTS) / "xenapi-transcripts" / name
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["exchanges"]
    return found


def plain(value: Any) -> Any:
    """Values of XML-RPC as JSON has them; ints stay digits, as older servers send them there."""
    match value:
        case xmlrpc.client.DateTime():
            return str(value)
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case list():
            return [plain(part) for part in value]
    return value


def xml_value(exchange: dict[str, Any]) -> Any:
    ((answer,), _) = xmlrpc.client.loads(exchange["response"]["body"])
    assert isinstance(answer, dict)
    return plain(answer["Value"])


def whole_pool() -> Tables:
    """All recorded records of the classes that we follow."""
    events = []
    for name in ("05-records-xmlrpc", "06-host-records-xmlrpc", "07-vm-records-xmlrpc"):
        for exchange in exchanges(f"{name}.json"):
            cls, _, method = exchange["name"].partition(".")
            if method == "get_all_records" and cls.lower() in CLASSES:
                events += [
                    Event(cls=cls.lower(), operation="add", ref=ref, snapshot=record)
                    for ref, record in xml_value(exchange).items()
                ]
    tables = Tables()
    tables.replace(tuple(CLASSES), events)
    return tables


if FACTS:

    def pictured() -> Observed:
        tables = whole_pool()
        picture = Picture(tables, "tests")
        changes = Tables().replace(
            tuple(CLASSES),
            [
                Event(cls=cls, operation="add", ref=ref, snapshot=msgspec.to_builtins(record))
                for cls in CLASSES
                for ref, record in tables.table(cls).items()
            ],
        )
        picture.note(changes)
        seen = picture.observed(1.0, 2.0, 0.0)
        assert seen is not None
        return seen

    def test_no_recorded_record_is_unreadable() -> None:
        tables = whole_pool()
        assert tables.unreadable == {}
        assert (len(tables.pool), len(tables.host), len(tables.vm)) == (1, 2, 9)

    def test_the_recorded_pool() -> None:
        seen = pictured()
        assert seen.complete
        assert {node.name for node in seen.nodes.values()} == {"hosta", "hostb"}
        assert seen.nodes[seen.pool.master].name == "hosta"
        for node in seen.nodes.values():
            assert (node.memory_total, node.cpus, node.live) == (64 << 30, 8, True)
            assert node.control_memory > 0
            assert node.boot_hint == "1795327367"
            assert node.hardware_platforms == (0, 1, 2)
            assert len(node.srs) == 1
        internal = [network.name for network in seen.networks.values() if network.internal]
        assert internal == ["Host internal management network"]
        assert all(vm.power is not PowerState.UNKNOWN for vm in seen.vms.values())
        assert {copy.kind for copy in seen.copies} <= {"template", "snapshot"}

    def decoded(exchange: dict[str, Any]) -> object:
        """What our client makes of a recorded answer: a result, or one of its two complaints."""
        try:
            return decode_answer(exchange["response"]["body"].encode())
        except (XapiFailure, Malformed) as complaint:
            return complaint

    def test_every_recorded_json_answer_is_decoded() -> None:
        for exchange in exchanges("12-jsonrpc2.json"):
            answer, head = decoded(exchange), exchange["response"]["head"].split("\r\n")[0]
            assert isinstance(answer, Malformed) == (" 500 " in head)
            if isinstance(answer, Malformed):
                continue
            body = json.loads(exchange["response"]["body"])
            if isinstance(answer, XapiFailure):
                assert [answer.code, *answer.params] == [
                    body["error"]["message"],
                    *body["error"]["data"],
                ]
            else:
                assert answer == body["result"]

    def test_recorded_batches_of_events_are_decoded() -> None:
        tables = Tables()
        for exchange in exchanges("08b-event-from-incremental-xmlrpc.json"):
            batch = xml_value(exchange)
            tables.apply(msgspec.convert(batch["events"], type=list[Event], strict=False))
        assert tables.unreadable == {}
        assert tables.task
        assert tables.vm

    def test_every_code_of_the_table_exists() -> None:
        published = json.loads((Path(FACTS) / "xenapi-errors.json").read_text("utf-8"))["errors"]
        assert ANSWERS.keys() - {error["name"] for error in published} == UNPUBLISHED

    def test_every_field_that_we_read_exists() -> None:
        model = json.loads((Path(FACTS) / "xenapi-datamodel.json").read_text("utf-8"))
        published = {
            entry["name"].lower(): {field["name"] for field in entry["fields"]} for entry in model
        }
        for cls, record in CLASSES.items():
            unknown = set(record.__struct_fields__) - published[cls]
            assert unknown == set(), cls
