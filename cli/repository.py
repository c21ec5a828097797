"""The repository that a new cluster lives in: made here or found elsewhere, and its first tree."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cli import tree
from cli.envelope import failure
from cli.hooks.templates import NAMES, hook_script, this_program

_WITHIN_S = 300.0
_MISSING = ("E160013", "E200009", "W160013", "E170000")
"""svn's words for a path that is not in the repository."""


def created(folder: Path, control: Path) -> bool:
    """A repository in `folder` with cxm's hooks; False where there is one already.

    Hooks that are there are never touched. Raises Failure (1).
    """
    fresh = not (folder / "format").is_file()
    if fresh:
        _run(("svnadmin", "create", str(folder)))
    for name in NAMES:
        hook = folder / "hooks" / name
        if not hook.exists():
            hook.write_text(hook_script(name, this_program(), control), encoding="utf-8")
            hook.chmod(0o755)
    return fresh


LOCAL = "file://"
"""How the URL of a repository begins that is a folder of this machine, which no other one can reach."""


def here(url: str) -> bool:
    """Whether a `LOCAL` URL leads into a repository of this machine."""
    place = Path(unquote(urlsplit(url).path))
    return any((folder / "format").is_file() for folder in (place, *place.parents))


@dataclass(frozen=True, slots=True)
class Login:
    """Without a user svn goes by what it knows of the caller."""

    user: str | None = None
    password: str | None = None
    may_ask: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        if self.user is None:
            return () if self.may_ask else ("--non-interactive",)
        given = () if self.password is None else ("--password-from-stdin",)
        return ("--non-interactive", "--no-auth-cache", "--username", self.user, *given)


class Place:
    """The directory of a repository that holds the tree, by its URL. Methods raise Failure (1)."""

    def __init__(self, url: str, login: Login) -> None:
        self.url, self._login = url, login

    def prepare(self) -> bool:
        """Make the directory; False where it is there already."""
        if self._listed() is not None:
            return False
        self._svn("mkdir", "--parents", "-q", "-m", "A place for the tree", self.url)
        return True

    def files(self) -> tree.Files:
        """The tree at the head; nothing where there is no such directory yet."""
        if not self._listed():
            return {}
        with tempfile.TemporaryDirectory(prefix="cxm-") as folder:
            into = Path(folder, "tree")
            self._svn("export", "-q", self.url, str(into))
            return tree.read(into)

    def commit(self, files: tree.Files, message: str) -> None:
        """Add these files; none of them may be there."""
        with tempfile.TemporaryDirectory(prefix="cxm-") as folder:
            copy = Path(folder, "tree")
            self._svn("checkout", "-q", self.url, str(copy))
            tree.write_new(copy, files)
            top = sorted({path.split("/")[0] for path in files})
            _run(("svn", "add", "-q", "--force", *top), cwd=copy)
            self._svn("commit", "-q", "-m", message, str(copy))

    def _listed(self) -> str | None:
        """Names below the directory; None where it does not exist."""
        done = self._try("list", self.url)
        if done.returncode and not any(word in done.stderr for word in _MISSING):
            raise _failed(("svn", "list", self.url), done.stderr)
        return None if done.returncode else done.stdout

    def _svn(self, *arguments: str) -> None:
        done = self._try(*arguments)
        if done.returncode:
            raise _failed(("svn", *arguments[:1]), done.stderr)

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("svn", *arguments[:1], *self._login.options, *arguments[1:])
        return _tried(command, None, f"{self._login.password}\n" if self._login.password else None)


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    done = _tried(command, cwd, None)
    if done.returncode:
        raise _failed(command[:2], done.stderr)


def _tried(
    command: Sequence[str], cwd: Path | None, told: str | None
) -> subprocess.CompletedProcess[str]:
    """The caller's own environment, but for the language: paths must arrive whole."""
    try:
        return subprocess.run(  # noqa: S603 - an argument list, no shell
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            input=told,
            stdin=subprocess.DEVNULL if told is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_WITHIN_S,
            check=False,
        )
    except FileNotFoundError:
        hint = "install it (apt install subversion)"
        raise failure("error", "NoSvn", f"there is no program {command[0]}", hint) from None
    except subprocess.TimeoutExpired:
        message = f"{command[0]} {command[1]} took longer than {_WITHIN_S:g} s"
        raise failure("error", "SvnTimeout", message) from None


def _failed(command: Sequence[str], told: str) -> Exception:
    refused = "E165001" in told
    code, verdict = ("HookRefused", "refused") if refused else ("Svn", "error")
    return failure(verdict, code, f"{' '.join(command)} failed", told.rstrip())
