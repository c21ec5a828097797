"""What a new node is given by one that is there: the settings they share, and the secrets they name.

It travels once, over the channel that a one-time code has opened, and is never stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from membership.edge.secret_files import secret_path
from schema import dialect
from schema.model import Frozen

_OWN = frozenset({"node", "stateDir", "runDir", "notify"})
"""What a node has for itself."""

_LONGEST = 65536


class BundleError(Exception):
    """Nothing that could be given, or nothing that can be understood; the text says which file."""


class Bundle(Frozen, frozen=True, kw_only=True):
    """`settings` as in node.yaml, but for what each node has for itself. `secrets` by name.

    `files`: what a `caFile` names, by the path that it has on the node that gives.
    """

    settings: Mapping[str, Any]
    secrets: Mapping[str, str]
    files: Mapping[str, str] = {}


def packed(config: Path) -> bytes:
    """The bundle of the node whose settings are in the file `config`. Raises BundleError."""
    reading = dialect.read(str(config), _content(config))
    if reading.document is None or not isinstance(reading.document.value, dict):
        raise BundleError(f"{config}: cannot be read as settings")
    shared = {key: value for key, value in reading.document.value.items() if key not in _OWN}
    if "listen" in shared:
        listen = {name: _portless(where) for name, where in shared["listen"].items()}
        shared["listen"] = {name: where for name, where in listen.items() if where is not None}
    names = sorted({name for key, name in _named(shared) if key != "caFile"})
    bundle = Bundle(
        settings=shared,
        secrets={name: _text(secret_path(config, name)) for name in names},
        files={path: _text(Path(path)) for key, path in _named(shared) if key == "caFile"},
    )
    return msgspec.json.encode(bundle)


def unpacked(content: bytes) -> Bundle:
    """Raises BundleError."""
    try:
        return msgspec.json.decode(content, type=Bundle)
    except msgspec.DecodeError as error:
        raise BundleError(f"what the peer gave is not understood: {error}") from None


def _portless(where: Any) -> Any:
    """A port without address is everybody's; an address is one node's own, and left out."""
    return None if ":" in str(where) else where


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, value) of everything in the settings that names a secret or a file of authorities."""
    for key, value in settings.items():
        if key in ("credentialsRef", "clusterKeyRef", "caFile"):
            yield key, value
        elif isinstance(value, dict):
            yield from _named(value)


def _text(path: Path) -> str:
    try:
        return _content(path).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BundleError(f"{path}: not UTF-8 text") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    if len(content) > _LONGEST:
        raise BundleError(f"{path}: longer than {_LONGEST} bytes")
    return content
