"""Names that say nothing, nets that catch everything, and tests that look away."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import ROOMS, ROOT, Source, sources, tracked

EMPTY_WORDS = frozenset({"util", "utils", "helper", "helpers", "common", "manager"})

TOP_BOUNDARY = frozenset({Path("reconciler/edge/daemon.py")})
"""Where an unforeseen exception is told before it ends the process."""


def words(name: str) -> set[str]:
    """`SessionCache` and `session_cache` are both session, cache."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_no_name_says_nothing() -> None:
    empty = [
        f"{source.at(node)}: {node.name}"
        for source in sources(*ROOMS, "bench", "tests")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and words(node.name) & EMPTY_WORDS
        and not node.name.startswith("test_")
    ]
    files = [str(path) for path in tracked() for part in path.parts if words(part) & EMPTY_WORDS]
    assert empty + files == []


def wide_nets(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {"everything" if kind is None else ast.unparse(kind) for kind in caught}
        for name in sorted(names & {"everything", "Exception", "BaseException"}):
            yield f"{source.at(node)}: catches {name}"


def test_nothing_catches_everything() -> None:
    caught = [
        line
        for source in sources(*ROOMS, "bench", "tests")
        if source.path not in TOP_BOUNDARY
        for line in wide_nets(source)
    ]
    assert caught == [], "\n".join(caught)


def test_a_wide_net_is_seen() -> None:
    for handler in ("except Exception:", "except (ValueError, BaseException):", "except:"):
        text = f"try:\n    pass\n{handler}\n    pass\n"
        assert list(wide_nets(Source(Path("xapi/sample.py"), text, ast.parse(text))))


def test_no_package_below_tests() -> None:
    """An `__init__.py` there would shadow the room of the same name."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def skips(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in {
            "skip",
            "skipif",
            "xfail",
            "importorskip",
        }:
            yield f"{source.at(node)}: {ast.unparse(node)}"


def test_no_test_is_skipped() -> None:
    """A missing tool fails loudly: a test that may not run proves nothing."""
    assert [line for source in sources("tests") for line in skips(source)] == []


def checks_something(function: ast.AST, checking: frozenset[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert | ast.Raise):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.split(".")[-1] in checking or name in {"pytest.raises", "pytest.fail"}:
                return True
    return False


def test_every_test_asserts() -> None:
    """Directly, or through a function that does: one whose own body asserts or raises."""
    checking = frozenset(
        function.name
        for source in sources("tests", "simulator")
        for function in source.functions()
        if not function.name.startswith("test_") and checks_something(function, frozenset())
    )
    idle = [
        f"{source.at(function)}: {function.name}"
        for source in sources("tests")
        for function in source.functions()
        if function.name.startswith("test_") and not checks_something(function, checking)
    ]
    assert idle == [], "\n".join(idle)
