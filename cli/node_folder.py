"""The folder of a node's settings, `/etc/cxm`: node.yaml, and `secrets.d` with what it names."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from cli.envelope import Failure, failure
from cli.settings import understood
from membership.edge.durable import write_whole
from membership.edge.secret_files import secret_path
from schema.settings import Settings

_DAEMON = "cxm"
"""The user that the packaged daemons run as."""


class NodeFolder:
    """A folder that may still be empty. Files are written whole, and keep the owner that they had.

    Every method raises Failure (1) where the folder cannot be read or written.
    """

    def __init__(self, root: Path, file: str = "node.yaml") -> None:
        self.root = root.absolute()
        self.config = self.root / file

    def settings(self) -> Settings | None:
        """What node.yaml says; None where there is none. Raises Failure (3) where it is wrong."""
        try:
            content = self.config.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(error) from None
        return understood(self.config, content)

    def write_settings(self, text: str) -> None:
        """node.yaml, which is checked before it is written. It stays as closed to others as it was."""
        understood(self.config, text.encode())
        mode = 0o644 & (self.config.stat().st_mode if self.config.exists() else 0o644)
        self._write(self.config, text, mode, (os.geteuid(), os.getegid()))

    def write_file(self, name: str, text: str) -> Path:
        """A file that everybody may read, beside node.yaml."""
        path = self.root / name
        self._write(path, text, 0o644, (os.geteuid(), os.getegid()))
        return path

    def secret(self, name: str) -> Path:
        return secret_path(self.config, name)

    def read_secret(self, name: str) -> str | None:
        """The secret, without the end of its line; None where there is none yet."""
        try:
            return self.secret(name).read_text(encoding="utf-8").rstrip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise _failed(error) from None

    def write_secret(self, name: str, secret: str) -> None:
        """A file that nobody but the daemons' user (or the caller, who is not root) can read."""
        path = self.secret(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            os.chown(path.parent, *_owner())
        except OSError as error:
            raise _failed(error) from None
        self._write(path, f"{secret}\n", 0o600, _owner())

    def _write(self, path: Path, text: str, mode: int, owner: tuple[int, int]) -> None:
        """Whole and on disk, or not at all. `owner` is that of a new file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode(), mode, _kept(path, owner))
        except OSError as error:
            raise _failed(error) from None


def _owner() -> tuple[int, int]:
    """(uid, gid): the daemons' user where root writes and there is one, else the caller."""
    if os.geteuid() == 0:
        try:
            found = pwd.getpwnam(_DAEMON)
        except KeyError:
            return 0, 0
        return found.pw_uid, found.pw_gid
    return os.geteuid(), os.getegid()


def _kept(path: Path, owner: tuple[int, int]) -> tuple[int, int]:
    """(uid, gid) of what is there, where that is ours to give."""
    if os.geteuid() != 0 or not path.exists():
        return owner
    found = path.stat()
    return found.st_uid, found.st_gid


def _failed(error: OSError | UnicodeDecodeError) -> Failure:
    hint = "run cxm as root, or give another --dir" if isinstance(error, PermissionError) else ""
    return failure("error", "Unwritable", str(error), hint)
