"""The source of desired state: looks at Subversion, fetches a revision, keeps the good one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from membership.ledger import Target
from reconciler.edge.revisions import Origin, RevisionStore, UnreadableTree, read_tree
from reconciler.edge.subversion import SourceError, Subversion
from reconciler.edge.subversion_failures import BROKEN, UNREACHABLE
from reconciler.messages import (
    Authorship,
    FetchFailed,
    Head,
    SourceFailed,
    SourceSeen,
    Staged,
    TreeLoaded,
)
from schema import tree
from schema.errors import needs_upgrade

Fill = Callable[[Path], Awaitable[None]]


class SubversionSource:
    """Fills `reconciler.ports.Source`. Reading a tree takes a thread: the loop must stay live."""

    def __init__(self, subversion: Subversion, store: RevisionStore, url: str) -> None:
        self._subversion = subversion
        self._store = store
        self._url = url
        self._cache: tree.Cache | None = None

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        try:
            return SourceSeen(head=await self._subversion.head(self._url, timeout_s))
        except SourceError as error:
            return SourceFailed(reason=error.reason, message=error.message)

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        """`timeout_s` bounds what Subversion takes, not the reading of the tree."""
        into = self._store.incoming()
        try:
            async with asyncio.timeout(timeout_s):
                await self._subversion.export(self._url, head.revision, into, timeout_s)
                found = await self._subversion.authors(self._url, head.revision, timeout_s, since)
            origin = Origin(head=head, authors=found.files)
            return await asyncio.to_thread(self._admitted, into, origin, found.messages)
        except SourceError as error:
            return FetchFailed(head=head, reason=error.reason, message=error.message)
        except TimeoutError:
            message = f"the tree did not arrive within {timeout_s:g} s"
            return FetchFailed(head=head, reason=UNREACHABLE, message=message)
        except UnreadableTree as error:
            return FetchFailed(head=head, reason=BROKEN, message=str(error))
        finally:
            self._store.discard(into)

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        """From this disk where it was fetched before, else from Subversion as of that revision."""
        try:
            stored = await asyncio.to_thread(self._stored, target)
        except UnreadableTree:
            # What is damaged on this disk may be whole where it came from.
            stored = None
        if stored is not None:
            return Staged(target=target, tree=stored)
        found = await self.fetch(_head(target), since, timeout_s)
        if isinstance(found, FetchFailed):
            return Staged(target=target, message=found.message)
        return _staged(target, found)

    async def receive(self, target: Target, fetch: Fill) -> Staged:
        """The tree that `fetch` fills a folder with, which another peer has. OSError is its to raise."""
        into = self._store.incoming()
        try:
            await fetch(into)
            return await asyncio.to_thread(self._received, into, target)
        except (UnreadableTree, OSError) as error:
            return Staged(target=target, message=str(error))
        finally:
            self._store.discard(into)

    def folder(self, revision: int, digest: str) -> Path | None:
        """Where a fetched tree lies, for peers that cannot reach Subversion."""
        return self._store.folder(revision, digest)

    def _stored(self, target: Target) -> TreeLoaded | None:
        found = self._store.stored(target.revision, target.digest)
        if found is None:
            return None
        origin, files = found
        loaded = self._loaded(origin, files)
        return loaded if loaded.digest == target.digest else None

    def keep(self, revision: int, digest: str) -> None:
        self._store.keep(revision, digest)

    async def close(self) -> None:
        await self._subversion.close()

    def load_kept(self) -> TreeLoaded | None:
        """The last known good tree, read from disk; None where there is none yet.

        Raises UnreadableTree where there is one and it is not what it was.
        """
        kept = self._store.kept()
        if kept is None:
            return None
        origin, digest, files = kept
        loaded = self._loaded(origin, files)
        if loaded.digest != digest:
            raise UnreadableTree(
                f"revisions/{origin.head.revision}-{digest}: the files on disk have the digest "
                f"{loaded.digest}; they were changed after they were fetched"
            )
        return loaded

    def _admitted(self, into: Path, origin: Origin, messages: tuple[str, ...]) -> TreeLoaded:
        loaded = self._loaded(origin, read_tree(into))
        self._store.admit(into, loaded.digest, origin)
        return replace(loaded, messages=messages)

    def _received(self, into: Path, target: Target) -> Staged:
        """What is not the agreed tree gets no place here."""
        origin = Origin(head=_head(target))
        staged = _staged(target, self._loaded(origin, read_tree(into)))
        if staged.tree is not None:
            self._store.admit(into, target.digest, origin)
        return staged

    def _loaded(self, origin: Origin, files: Mapping[str, bytes]) -> TreeLoaded:
        read = tree.load(files, self._cache)
        self._cache = read.cache
        return TreeLoaded(
            head=origin.head,
            digest=read.digest,
            desired=read.desired,
            errors=read.errors,
            needs_upgrade=needs_upgrade(read.errors),
            authors=_by_object(read.provenance.paths, origin.authors),
        )


def _head(target: Target) -> Head:
    """Who committed it, and why, is not known here."""
    return Head(
        repository=target.repository,
        path=target.path,
        revision=target.revision,
        author=None,
        message="",
    )


def _staged(target: Target, tree: TreeLoaded) -> Staged:
    if tree.digest == target.digest:
        return Staged(target=target, tree=tree)
    here, agreed = tree.digest[:12], target.digest[:12]
    message = f"r{target.revision} has the digest {here} here, but {agreed} was agreed"
    return Staged(target=target, message=message)


def _by_object(
    paths: Mapping[tuple[str, str], str], authors: Mapping[str, Authorship]
) -> dict[str, Authorship]:
    """Who touched the file of each object, by the object's name for people: `vm/web1`, `cluster`."""
    return {
        f"{kind.lower()}/{name}" if name else kind.lower(): authors[path]
        for (kind, name), path in paths.items()
        if path in authors
    }
