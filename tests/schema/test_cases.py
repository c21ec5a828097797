"""Runs the tables in `cases/`: what must be said of a tree, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from schema.tree import load

CASES = Path(__file__).parent / "cases"
VM = "vms/web1.yaml"
HEAD = "apiVersion: cxm/v1\nkind: {}\nname: {}\n"
VM_HEAD = HEAD.format("VM", "web1") + "manage: observe\nmatch: {name: web1}\n"


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yaml")):
        for case in YAML(typ="safe", pure=True).load(path):
            yield pytest.param(case, id=f"{path.stem}: {case['rule']}")


def files_of(case: Mapping[str, Any], tree: Callable[..., dict[str, bytes]]) -> dict[str, bytes]:
    if "only" in case:
        return {path: text.encode() for path, text in case["only"].items()}
    files = tree({VM: case.get("whole", VM_HEAD + case.get("text", "")), **case.get("files", {})})
    files["cluster.yaml"] += case.get("cluster", "").encode()
    if "bytes" in case:
        files[VM] = case["bytes"].encode("latin-1").decode("unicode_escape").encode("latin-1")
    if "node" in case:
        files["nodes/xen3.yaml"] = (HEAD.format("Node", "xen3") + case["node"]).encode()
    return files


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: Mapping[str, Any], tree: Callable[..., dict[str, bytes]]) -> None:
    loaded = load(files_of(case, tree))
    found = [*loaded.errors, *loaded.warnings]
    said = [f"{e.path}:{e.line}:{e.column} {e.code} {e.message} {e.hint}" for e in found]
    assert len(said) == len(case["expect"]), said
    for line, expected in zip(said, case["expect"], strict=True):
        place, code, *words = expected.split(" ", 2)
        if not place.count(":") > 1:
            place = f"{VM}:{place}"
        assert line.startswith(f"{place} {code} "), said
        assert " ".join(words) in line, said
    assert (loaded.desired is None) == bool(loaded.errors)


def test_every_rule_is_held_once() -> None:
    rules = [case.values[0]["rule"] for case in cases()]
    assert len(rules) == len(set(rules)) >= 60
