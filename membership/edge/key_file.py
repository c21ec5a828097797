"""The cluster key's file: `clusterKeyRef: NAME` in node.yaml is `secrets.d/NAME` beside it."""

from __future__ import annotations

from pathlib import Path

from membership.edge.secret_files import SecretError, read_private
from membership.edge.stored import Watched

SHORTEST_KEY = 32
"""Characters."""


class KeyFile:
    """The keys in use: those of the file when it was last read well. Raises SecretError at first."""

    def __init__(self, path: Path) -> None:
        self._file = Watched(path)
        self._file.changed()
        self.keys = read_keys(path)

    def changed(self) -> bool:
        """Whether there are other keys in it by now, which are in use from then on. Raises SecretError
        where it cannot be used, once for each such content: the keys before stay in use."""
        if not self._file.changed():
            return False
        before, self.keys = self.keys, read_keys(self._file.path)
        return self.keys != before


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
