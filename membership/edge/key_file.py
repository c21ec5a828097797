"""The cluster key's file: `clusterKeyRef: NAME` in node.yaml is `secrets.d/NAME` beside it."""

from __future__ import annotations

from pathlib import Path

from membership.edge.secret_files import SecretError, read_private

SHORTEST_KEY = 32
"""Characters."""


def read_keys(path: Path) -> tuple[bytes, ...]:
    """One key per line that is not empty; the first signs. Raises SecretError."""
    content = read_private(path, "clusterKeyRef")
    keys = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not keys:
        raise SecretError(f"{path}: empty; copy the file from another peer of the cluster")
    for number, key in enumerate(keys, start=1):
        if len(key) < SHORTEST_KEY:
            raise SecretError(
                f"{path}: key {number} has {len(key)} characters; {SHORTEST_KEY} are the least"
            )
    return keys
