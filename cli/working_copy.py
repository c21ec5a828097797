"""A Subversion working copy, through the `svn` program, in the caller's own name."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli import tree
from cli.envelope import failure

_QUICK_S = 30.0
_COMMIT_S = 300.0
_NO_COPY = ("E155007", "W155010", "W155007")
"""svn's words where a folder belongs to no working copy."""


class WorkingCopy:
    """The working copy that `root` lies in. Every method raises Failure (exit 1)."""

    def __init__(self, root: Path, *, may_ask: bool) -> None:
        self.root = root
        self._asking = () if may_ask else ("--non-interactive",)
        self.url = self._svn("info", "--show-item", "url", ".").strip()

    def committed(self) -> tree.Files:
        """The tree as it is at the head of the repository now."""
        with tempfile.TemporaryDirectory(prefix="cxm-") as folder:
            into = Path(folder, "tree")
            self._svn("export", "--quiet", "-r", "HEAD", self.url, str(into))
            return tree.read(into)

    def changes(self) -> list[tuple[str, str]]:
        """(letter of `svn status`, path) of everything that differs; `?` is new, `!` is gone."""
        rows = [(row[0], row[8:]) for row in self._svn("status", ".").splitlines() if len(row) > 8]
        return [(letter, path) for letter, path in rows if letter.strip()]

    def schedule(self, changes: Sequence[tuple[str, str]]) -> None:
        """Have new files added and missing ones removed by the next commit."""
        new = [_named(path) for letter, path in changes if letter == "?"]
        gone = [_named(path) for letter, path in changes if letter == "!"]
        if new:
            self._svn("add", "--quiet", "--parents", *new)
        if gone:
            self._svn("rm", "--quiet", *gone)

    def commit(self, message: str) -> str:
        """Commit everything below the root; what svn said."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="cxm-") as file:
            file.write(message)
            file.flush()
            arguments = ("commit", "--encoding", "UTF-8", "-F", file.name, ".")
            return self._svn(*arguments, timeout_s=_COMMIT_S)

    def _svn(self, *arguments: str, timeout_s: float = _QUICK_S) -> str:
        """The caller's own environment, but for the language: paths must arrive whole."""
        command = ("svn", *arguments[:1], *self._asking, *arguments[1:])
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, no shell
                command,
                cwd=self.root,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            hint = "install it (apt install subversion)"
            raise failure("error", "NoSvn", "there is no svn program", hint) from None
        except subprocess.TimeoutExpired:
            message = f"svn {arguments[0]} took longer than {timeout_s:g} s"
            raise failure("error", "SvnTimeout", message) from None
        if done.returncode:
            raise _failed(self.root, arguments[0], done.stderr)
        return done.stdout


def _failed(root: Path, verb: str, told: str) -> Exception:
    """A commit that a hook refused is a refusal; anything else is an error. svn's words are kept."""
    if any(word in told for word in _NO_COPY):
        hint = (
            "go to one or give it (--wc DIR, cxm commit DIR);"
            " svn checkout URL makes one, with source.url of node.yaml"
        )
        return failure("error", "NoWorkingCopy", f"{root} is no working copy of the tree", hint)
    refused = "E165001" in told
    code = "HookRefused" if refused else "Svn"
    return failure("refused" if refused else "error", code, f"svn {verb} failed", told.rstrip())


def _named(path: str) -> str:
    """svn reads `@` in a path as the start of a peg revision."""
    return f"{path}@" if "@" in path else path
