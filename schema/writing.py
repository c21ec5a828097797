"""Files of the tree, written: what `import` makes of a pool. Six lines a VM, and what it means is
what the reader makes of it again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Mapping, Sequence

from schema.fields import API_VERSION
from schema.scalars import needs_quotes

_LABEL = 63
# Words that stand bare in flow and block alike; everything else is quoted.
_BARE = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_/.+-]*(?:[ :][A-Za-z0-9_/.+-]+)*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def scalar(text: str) -> str:
    """`text` as a YAML scalar that is read back as the same text, bare where that is safe."""
    if _BARE.fullmatch(text) and not needs_quotes(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def vm_file(
    name: str,
    uuid: str,
    *,
    manage: str = "observe",
    depth: int = 1,
    more: Mapping[str, str] | None = None,
) -> str:
    """A VM file. `depth`: directories between it and the root; `more`: further fields, as text."""
    fields = {"manage": manage, "match": f"{{uuid: {uuid}}}", **_scalars(more)}
    return _object("VM", name, fields, depth)


def node_file(
    name: str, uuid: str, address: str, *, roles: Sequence[str] = ("run",), depth: int = 1
) -> str:
    """A Node file of a server for which no fencing is known: its loss will be a hold."""
    fields = {
        "host": f"{{uuid: {uuid}, address: {scalar(address)}}}",
        "roles": f"[{', '.join(roles)}]",
        "unfenced": "accepted",
    }
    return _object("Node", name, fields, depth)


def cluster_file(
    name: str, identifier: str, *, mode: str = "observe", more: Mapping[str, str] | None = None
) -> str:
    """cluster.yaml; `identifier` is the cluster's id, a uuid."""
    return _object("Cluster", name, {"id": identifier, "mode": mode, **_scalars(more)}, 0)


def _scalars(more: Mapping[str, str] | None) -> dict[str, str]:
    return {key: scalar(text) for key, text in (more or {}).items()}


def _object(kind: str, name: str, fields: Mapping[str, str], depth: int) -> str:
    schema = f"{'../' * depth}.schema/{kind.lower()}.schema.json"
    head = {"apiVersion": API_VERSION, "kind": kind, "name": scalar(name), **fields}
    lines = [f"# yaml-language-server: $schema={schema}", *(f"{k}: {v}" for k, v in head.items())]
    return "\n".join(lines) + "\n"


def name_to_label(name: str, taken: Container[str] = ()) -> str:
    """A DNS label for a name from the pool, unlike all in `taken`.

    Accents are dropped, everything else that a label cannot hold becomes `-`. Where nothing is left
    the label is `vm`; where it is taken, `-2`, `-3`, ... is added.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    label = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LABEL].strip("-") or "vm"
    candidate, number = label, 1
    while candidate in taken:
        number += 1
        suffix = f"-{number}"
        candidate = label[: _LABEL - len(suffix)].rstrip("-") + suffix
    return candidate
