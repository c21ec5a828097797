"""Secrets: `credentialsRef: NAME` in node.yaml is the file `secrets.d/NAME` beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LONGEST = 4096


class SecretError(Exception):
    """A secret cannot be used. The text names the file, never its content."""


def read_secret(config: Path, name: str) -> str:
    """The secret `name` of the node whose settings are in the file `config`, without line end.

    Raises SecretError where others could read or replace it: it must be a plain file of root or of
    this very user, mode 0600 or stricter.
    """
    path = config.parent / "secrets.d" / name
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}; credentialsRef: {name} asks for it") from None
    try:
        _check(path, os.fstat(file))
        content = os.read(file, LONGEST + 1)
    finally:
        os.close(file)
    if len(content) > LONGEST:
        raise SecretError(f"{path}: longer than {LONGEST} bytes")
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"{path}: not UTF-8 text") from None
    if not secret:
        raise SecretError(f"{path}: empty")
    return secret


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretError(f"{path}: not a plain file")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SecretError(f"{path}: mode {mode:04o} lets others read it; run chmod 0600 {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise SecretError(f"{path}: belongs to uid {found.st_uid}, not to root or this user")
