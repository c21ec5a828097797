"""The JSON Schemas: sound, complete, and of one mind with the model."""

from __future__ import annotations

import json
import posixpath
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from schema import fields, model
from schema.normal import normal

FORMED = [*fields.KINDS, "settings"]


@pytest.mark.parametrize("kind", FORMED)
def test_schemas_are_sound_and_need_no_other_file(kind: str) -> None:
    document = fields.document(kind)
    Draft202012Validator.check_schema(document)
    assert "$ref" not in json.dumps(document)
    assert document["additionalProperties"] is False


@pytest.mark.parametrize("kind", FORMED)
def test_every_field_is_described_and_unknown_keys_are_errors(kind: str) -> None:
    def walk(part: dict[str, Any], path: str) -> None:
        if "properties" in part:
            assert part["additionalProperties"] is False, path
        for key, inner in part.get("properties", {}).items():
            assert inner.get("description"), f"{path}.{key}"
            walk(inner, f"{path}.{key}")

    walk(fields.document(kind), kind)


@pytest.mark.parametrize("kind", fields.KINDS)
def test_every_field_says_whether_it_acts(kind: str) -> None:
    def told(part: dict[str, Any], above: bool) -> bool:
        here = above or "x-cxm-effective" in part
        inner = part.get("properties", {}).values()
        return all(told(field, here) for field in inner) if inner else here

    assert all(told(field, False) for field in fields.document(kind)["properties"].values())


MINIMAL: dict[str, dict[str, Any]] = {
    "Cluster": {"name": "c", "id": "0", "mode": "auto"},
    "Node": {"name": "n"},
    "VM": {"name": "v", "manage": "observe", "match": {"name": "v"}},
    "Profile": {"name": "p"},
    "PlacementRule": {"name": "r", "select": {"a": "b"}, "rule": "spread"},
    "FenceDevice": {"name": "d", "agent": "manual"},
    "FencingPolicy": {"name": "f", "levels": [["d"]]},
    "MaintenanceWindow": {
        "name": "w",
        "type": "allow",
        "cron": "* * * * *",
        "duration": "1h",
        "timezone": "UTC",
    },
}


@pytest.mark.parametrize("kind", fields.KINDS)
def test_defaults_of_the_schema_are_those_of_the_model(kind: str) -> None:
    filled: dict[str, Any] = json.loads(json.dumps(MINIMAL[kind]))
    for path, schema, _ in fields.leaves(kind):
        if "default" not in schema or path[0] in ("defaults", "match", "fencing"):
            continue
        part = filled
        for key in path[:-1]:
            part = part.setdefault(key, {})
        part.setdefault(path[-1], schema["default"])
    if kind == "FencingPolicy":
        filled["budget"]["per 1h"] = 1
    for absent in ("maintenance",):
        filled.pop(absent, None)
    if kind != "Profile":
        assert normal(kind, filled) == normal(kind, MINIMAL[kind])


@pytest.mark.parametrize("kind", fields.KINDS)
def test_every_field_of_the_schema_reaches_the_model(kind: str) -> None:
    leaves = {path[0] for path, _, _ in fields.leaves(kind)} - {"apiVersion", "kind", "defaults"}
    structure = getattr(model, kind)
    names = {name.replace("_", "") for name in structure.__struct_fields__}
    if kind == "Profile":
        # What a Profile says for its VMs is kept as written, in `spec`.
        leaves &= {"name", "labels", "description", "previousNames"}
        names -= {"spec"}
    renamed = {"tags": "tagsadd", "duration": "durations", "drill": "drills", "delay": "delays"}
    assert {renamed.get(leaf, leaf).lower() for leaf in leaves} == names


def test_what_acts_in_this_release() -> None:
    acting = fields.effective()
    assert {"Cluster.mode", "Node.reserve.memory", "Node.capacity.maxVMs"} <= acting
    assert {"VM.placement.only", "VM.start.wave", "VM.start.after", "VM.tags.add"} <= acting
    assert {"VM.start.ready.by", "Node.bmc", "FenceDevice.agent", "FencingPolicy.levels"} <= acting
    later = {"FencingPolicy.delay", "Cluster.balance.auto", "VM.source.template"}
    later |= {"PlacementRule.rule", "FenceDevice.labels", "Node.capacity.cpuOvercommit"}
    assert not acting & later


def test_editors_find_the_schema_that_a_file_names(sample: dict[str, bytes]) -> None:
    files = fields.editor_files()
    for path, content in sample.items():
        comment = content.decode().splitlines()[0]
        name = comment.removeprefix("# yaml-language-server: $schema=")
        assert posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) in files
    assert json.loads(files[".schema/vm.schema.json"])["title"] == "VM"


def test_references_are_found_by_the_schema() -> None:
    assert (("placement", "only", "*"), "Node") in fields.references("VM")
    assert (("extends",), "Profile") in fields.references("VM")
    assert (("levels", "*", "*"), "FenceDevice") in fields.references("FencingPolicy")
    assert (("plugs", "<keys>"), "Node") in fields.references("FenceDevice")


def test_defaults_are_of_the_dialect() -> None:
    """A default could be copied into a file as it is shown."""
    for kind in fields.KINDS:
        for path, schema, _ in fields.leaves(kind):
            if "default" in schema:
                text = msgspec.json.encode(schema["default"]).decode()
                assert YAML(typ="safe", pure=True).load(text) == schema["default"], path
                assert Draft202012Validator(schema).is_valid(schema["default"]), path
