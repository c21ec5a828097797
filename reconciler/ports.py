"""What the core asks of the world, as protocols: one is filled by each edge, and by simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from membership.ledger import Fact
from reconciler.actions import Answer, Call
from reconciler.messages import (
    FetchFailed,
    Head,
    PoolLost,
    PoolObserved,
    SourceFailed,
    SourceSeen,
    TreeLoaded,
)
from reconciler.records import Record


class Pool(Protocol):
    """XenAPI, as far as the reconciler needs it."""

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        """Observe for ever. Ends only by cancellation, after logging out."""

    async def perform(self, txn: str, call: Call, timeout_s: float) -> Answer:
        """Make one call, its task tagged with `txn`. Never raises for what a pool can do to it:

        a call that may or may not have been carried out is answered with `Unsure`.
        """
        ...

    def refresh(self) -> None:
        """Have an observation as of now published soon; costs nothing where one is on its way."""

    async def close(self) -> None:
        """End the session."""


class Source(Protocol):
    """Subversion and the revisions kept on disk."""

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        """The head, or why it cannot be told. Never raises for what a server can do."""
        ...

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        """Export the tree of `head`, make it durable, validate it; with the log after `since`."""
        ...

    def keep(self, revision: int, digest: str) -> None:
        """Make this fetched revision the last known good one; durable when it returns."""


class Journal(Protocol):
    """This node's own record. An error here ends the daemon: without a journal it must not act."""

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns."""


class SharedFacts(Protocol):
    """The ledger as this node keeps it."""

    def append(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns."""
