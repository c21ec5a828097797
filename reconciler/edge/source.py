"""The source of desired state: looks at Subversion, fetches a revision, keeps the good one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from reconciler.edge.revisions import Origin, RevisionStore, UnreadableTree, read_tree
from reconciler.edge.subversion import SourceError, Subversion
from reconciler.edge.subversion_failures import BROKEN, UNREACHABLE
from reconciler.messages import (
    Authorship,
    FetchFailed,
    Head,
    SourceFailed,
    SourceSeen,
    TreeLoaded,
)
from schema import tree
from schema.errors import needs_upgrade


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


def _by_object(
    paths: Mapping[tuple[str, str], str], authors: Mapping[str, Authorship]
) -> dict[str, Authorship]:
    """Who touched the file of each object, by the object's name for people: `vm/web1`, `cluster`."""
    return {
        f"{kind.lower()}/{name}" if name else kind.lower(): authors[path]
        for (kind, name), path in paths.items()
        if path in authors
    }
