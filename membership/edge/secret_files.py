"""Secrets: `credentialsRef: NAME` in node.yaml is the file `secrets.d/NAME` beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LONGEST = 4096


class SecretError(Exception):
    """A secret cannot be used. The text names the file, never its content."""


def secret_path(config: Path, name: str) -> Path:
    """Where the secret `name` of the node lies whose settings are in the file `config`."""
    return config.absolute().parent / "secrets.d" / name


def read_secret(path: Path) -> str:
    """The secret without its line end. Raises SecretError."""
    try:
        secret = read_private(path, "credentialsRef").decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"{path}: not UTF-8 text; write it anew with cxm secret set") from None
    if not secret:
        raise SecretError(f"{path}: empty; write it anew with cxm secret set")
    return secret


def read_private(path: Path, setting: str) -> bytes:
    """What is in a file that the `setting` of node.yaml names, at most LONGEST bytes.

    Raises SecretError where others could read or replace it: it must be a plain file of root or of
    this very user, mode 0600 or stricter.
    """
    try:
        # Not blocking: a FIFO in its place must not hold up the heartbeats.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}; {setting}: {path.name} asks for it") from None
    try:
        _check(path, os.fstat(file))
        content = os.read(file, LONGEST + 1)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from None
    finally:
        os.close(file)
    if len(content) > LONGEST:
        raise SecretError(f"{path}: longer than {LONGEST} bytes; keep only what is in use")
    return content


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretError(f"{path}: not a plain file")
    if found.st_mode & 0o077:
        raise SecretError(f"{path}: others can read it; run chmod 0600 {path}")
    if found.st_uid not in (0, os.geteuid()):
        message = f"belongs to uid {found.st_uid}, not to root or this user; run chown"
        raise SecretError(f"{path}: {message}")
