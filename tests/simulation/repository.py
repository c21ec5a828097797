"""A scripted Subversion: revisions are committed by the test, heads and trees are served to the daemon.

It stands at the port `reconciler.ports.Source`; trees are read by the product from real YAML.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from membership.ledger import Target
from reconciler.messages import FetchFailed, Head, SourceFailed, SourceSeen, Staged, TreeLoaded
from schema import tree
from schema.errors import needs_upgrade
from schema.model import Desired
from tests.simulation.estate import identity

LOOK_S = 0.15
FETCH_S = 0.4


class Seams(Protocol):
    """Where a process may be killed."""

    def seam(self, label: str) -> None: ...


@dataclass(frozen=True)
class Commit:
    head: Head
    loaded: tree.Loaded


class Repository:
    """The revisions, and which of them the daemon made durable as its last good one.

    `reachable` is switched by whoever plays the network.
    """

    _cache: tree.Cache | None = None

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.kept: int | None = None
        self.reachable = True

    def commit(self, files: dict[str, bytes], message: str, author: str = "alice") -> int:
        """A new head; its number."""
        loaded = tree.load(files, Repository._cache)
        Repository._cache = loaded.cache
        revision = len(self.commits) + 1
        head = Head(
            repository=identity("repository", "svn"),
            path="/lyon",
            revision=revision,
            author=author,
            message=message,
        )
        self.commits.append(Commit(head, loaded))
        return revision

    def desired(self, revision: int) -> Desired:
        """The tree of a revision that is a good one."""
        desired = self.commits[revision - 1].loaded.desired
        assert desired is not None
        return desired

    def messages(self, since: int, revision: int) -> tuple[str, ...]:
        """The log after `since`, newest first."""
        return tuple(commit.head.message for commit in reversed(self.commits[since:revision]))

    def tree(self, revision: int) -> TreeLoaded:
        commit = self.commits[revision - 1]
        return TreeLoaded(
            head=commit.head,
            digest=commit.loaded.digest,
            desired=commit.loaded.desired,
            errors=commit.loaded.errors,
            needs_upgrade=needs_upgrade(commit.loaded.errors),
        )


class ScriptedSource:
    """Fills `reconciler.ports.Source` for one process."""

    def __init__(self, repository: Repository, process: Seams) -> None:
        self._repository = repository
        self._process = process

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        if not self._repository.reachable:
            await asyncio.sleep(timeout_s)
            return SourceFailed(reason="unreachable", message="no answer in time")
        await asyncio.sleep(LOOK_S)
        return SourceSeen(head=self._repository.commits[-1].head)

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        if not self._repository.reachable:
            await asyncio.sleep(timeout_s)
            return FetchFailed(head=head, reason="unreachable", message="no answer in time")
        await asyncio.sleep(FETCH_S)
        tree = self._repository.tree(head.revision)
        return replace(tree, messages=self._repository.messages(since, head.revision))

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        found = await self.fetch(
            self._repository.commits[target.revision - 1].head, since, timeout_s
        )
        if isinstance(found, FetchFailed):
            return Staged(target=target, message=found.message)
        return Staged(target=target, tree=found)

    def keep(self, revision: int, digest: str) -> None:
        self._process.seam("the last good tree is not yet kept")
        assert digest == self._repository.commits[revision - 1].loaded.digest
        self._repository.kept = revision
        self._process.seam("the last good tree is kept")

    def load_kept(self) -> TreeLoaded | None:
        kept = self._repository.kept
        return None if kept is None else self._repository.tree(kept)
