"""The project's own Python, read once: what the tests of its shape look at."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("schema", "membership", "reconciler", "fencing", "xapi", "simulator", "snmp", "cli")
CORE_ROOMS = ("schema", "membership", "reconciler", "fencing")

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file. `path` is relative to the root of the project."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.parts[0]

    @property
    def core(self) -> bool:
        """Whether this file must be pure: the mixed rooms keep what does IO below `edge`."""
        if self.room == "cli":
            return self.path.parts[1] in ("render", "render.py")
        return self.room in CORE_ROOMS and "edge" not in self.path.parts

    def functions(self) -> Iterator[Definition]:
        for node in ast.walk(self.tree):
            if isinstance(node, Definition):
                yield node

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the project but what git ignores, relative to its root."""
    listed = subprocess.run(
        ["/usr/bin/git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = sorted(name for name in listed.split("\0") if name and not name.startswith(".venv/"))
    return tuple(path for path in map(Path, names) if (ROOT / path).is_file())


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below these folders."""
    return tuple(_read(path) for path in tracked() if _python(path) and path.parts[0] in folders)


def _python(path: Path) -> bool:
    return path.suffix == ".py"


@cache
def _read(path: Path) -> Source:
    text = (ROOT / path).read_text(encoding="utf-8")
    return Source(path, text, ast.parse(text, filename=str(path)))


def core() -> tuple[Source, ...]:
    return tuple(source for source in sources(*ROOMS) if source.core)


def imported(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """(statement, full name) of everything the file imports, `from a import b` as `a.b`.

    Imports for the type checker alone count too: a name that is only typed with is depended on.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.at(node)}: relative import; write the full name"
            yield from ((node, f"{node.module}.{name.name}") for name in node.names)


def code_lines(source: Source) -> int:
    """Lines that hold code: no blank lines, no comments, no docstrings."""
    texts = {
        number
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        1
        for number, line in enumerate(source.text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#") and number not in texts
    )


def declaration(function: Definition) -> bool:
    """No body but a docstring or `...`: a method of a Protocol, or an overload. It does nothing."""
    return all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for statement in function.body
    )
