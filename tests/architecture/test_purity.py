"""The core does no IO, reads no clock, rolls no dice: nothing but its arguments decides.

An import linter sees modules; this sees what is called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOMS, Source, core, declaration, imported

PURE_MODULES = frozenset(
    [
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "graphlib",
        "hashlib",
        "hmac",
        "heapq",
        "ipaddress",
        "itertools",
        "json",
        "keyword",
        "math",
        "numbers",
        "operator",
        "re",
        "string",
        "struct",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
        "uuid",
        "weakref",
        "zlib",
        "msgspec",
        "jsonschema",
        "jsonschema_specifications",
        "referencing",
        "ruamel",
        "typing_extensions",
    ]
)
"""Top-level modules that the core may use: they compute, and do nothing else."""

NARROWED = {
    "random": {"Random"},
    "contextlib": {"suppress"},
    "shlex": {"quote"},
    "xml": {"parsers.expat"},
    "pathlib": {"PurePath", "PurePosixPath"},
    "urllib": {"parse.quote", "parse.unquote", "parse.urlsplit", "parse.urlunsplit"},
}
"""Modules of which only these names are pure. `Random` comes in by constructor, seeded by the edge."""

BANNED_CALLS = frozenset(
    [
        "open",
        "print",
        "input",
        "exec",
        "eval",
        "compile",
        "breakpoint",
        "globals",
        "hash",
        "id",
        "__import__",
    ]
)
"""`hash` and `id` differ from run to run: an order that depends on them is chance."""

BANNED_ATTRIBUTES = frozenset(
    {
        ("datetime", "now"),
        ("datetime", "utcnow"),
        ("datetime", "today"),
        ("date", "today"),
        ("uuid", "uuid1"),
        ("uuid", "uuid4"),
        ("uuid", "getnode"),
    }
)

CONSTANTS_OF_THE_PACKAGE = {
    ("schema", "importlib.resources"),
}
"""(room, module) that reads files shipped inside the package: constants, only written as data."""


def impurities(source: Source) -> Iterator[str]:
    for statement, name in imported(source):
        if not _pure_import(source, name):
            yield f"{source.at(statement)}: imports {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in BANNED_CALLS:
                yield f"{source.at(node)}: calls {node.func.id}()"
        elif isinstance(node, ast.Attribute) and _banned_attribute(node):
            yield f"{source.at(node)}: uses {ast.unparse(node)}"
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield f"{source.at(node)}: assigns to an outer name"
        elif isinstance(node, ast.Await) or _works_asynchronously(node):
            yield f"{source.at(node)}: is asynchronous"


def _works_asynchronously(node: ast.AST) -> bool:
    """A Protocol of the core may say that the edge is asynchronous; the core itself is not."""
    return isinstance(node, ast.AsyncFunctionDef) and not declaration(node)


def _pure_import(source: Source, name: str) -> bool:
    top, _, rest = name.partition(".")
    if top in ROOMS or top in PURE_MODULES:
        return True
    if top in NARROWED:
        return rest in NARROWED[top]
    return any(
        source.room == room and (name == module or name.startswith(f"{module}."))
        for room, module in CONSTANTS_OF_THE_PACKAGE
    )


def _banned_attribute(node: ast.Attribute) -> bool:
    owner = node.value
    last = (
        owner.attr
        if isinstance(owner, ast.Attribute)
        else owner.id
        if isinstance(owner, ast.Name)
        else ""
    )
    return (last, node.attr) in BANNED_ATTRIBUTES


def test_the_core_is_pure() -> None:
    assert core(), "found no core to look at"
    impure = [line for source in core() for line in impurities(source)]
    assert impure == [], "\n".join(impure)


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "import random",
        "from random import choice",
        "import os.path",
        "from pathlib import Path",
        "import structlog",
        "import importlib.resources",
        "open('x')",
        "print(1)",
        "datetime.datetime.now()",
        "datetime.now(tz=UTC)",
        "uuid.uuid4()",
        "sorted(x, key=lambda y: hash(y))",
        "async def f(): return 1",
        "def f():\n    global x\n    x = 1",
    ],
)
def test_an_impurity_is_seen(text: str) -> None:
    assert list(impurities(_written("membership/sample.py", text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("reconciler/sample.py", "from random import Random"),
        ("reconciler/sample.py", "import datetime\ndatetime.datetime.fromisoformat('x')"),
        ("schema/sample.py", "from importlib import resources"),
        ("reconciler/sample.py", "uuid.uuid5(x, 'y')"),
        ("reconciler/sample.py", "class P:\n    async def f(self) -> None: ..."),
    ],
)
def test_what_only_computes_is_allowed(path: str, text: str) -> None:
    assert list(impurities(_written(path, text))) == []


def _written(path: str, text: str) -> Source:
    return Source(Path(path), text, ast.parse(text))
