"""What the core asks of the world, as protocols: one is filled by each edge, and by simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fencing.devices import DeviceUse
from membership.ledger import Fact, Target
from membership.roster import Roster
from reconciler.actions import Answer, Call
from reconciler.members import Said
from reconciler.messages import (
    FetchFailed,
    Head,
    PoolLost,
    PoolObserved,
    SourceFailed,
    SourceSeen,
    Staged,
    TermClaimed,
    TreeLoaded,
)
from reconciler.paging import Page
from reconciler.power import DeviceFound
from reconciler.records import Record


class Pool(Protocol):
    """XenAPI, as far as the reconciler needs it."""

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        """Observe for ever. Ends only by cancellation, after logging out."""

    async def perform(
        self, txn: str, call: Call, timeout_s: float, permitted: Callable[[], bool]
    ) -> Answer:
        """Make one call, its task tagged with `txn`. Never raises for what a pool can do to it:

        a call that may or may not have been carried out is answered with `Unsure`. Nothing is begun
        once `permitted` says no: it is asked right before the call leaves.
        """
        ...

    async def claim(self, term: int, alone: int, mark: str, within_s: float) -> TermClaimed:
        """Claim this term for whoever `mark` names, and say how often it has led alone in it; `unsure`
        where the pool does not tell."""
        ...

    async def revoke(self, ref: str, within_s: float) -> bool:
        """End another's session; False where it may still be good."""
        ...

    async def open_acting(self, within_s: float) -> str:
        """Log in for acting alone, and act in that session from now on; its reference, "" in vain."""
        ...

    async def close_acting(self) -> None:
        """End that session."""

    async def probe(self, address: str, within_s: float) -> bool | None:
        """Whether this member's own toolstack answers; None where that cannot be told."""
        ...

    async def tell(self, page: Page, within_s: float) -> str:
        """Leave a message in the pool, for whoever looks at it with another tool; "", or why not."""
        ...

    def refresh(self) -> None:
        """Have an observation as of now published soon; costs nothing where one is on its way."""

    async def close(self) -> None:
        """End the session."""


class Members(Protocol):
    """The members of the pool one by one, as a promotion needs them. Never raises for what they can do."""

    async def role(self, address: str, within_s: float) -> Said:
        """What this member takes itself for; changes nothing."""
        ...

    async def make_master(
        self, address: str, within_s: float, permitted: Callable[[], bool]
    ) -> str:
        """Have this member become master, if it is not; "", or why it may not have heard. Nothing is
        begun once `permitted` says no."""
        ...

    async def tell_members(
        self, within_s: float, permitted: Callable[[], bool]
    ) -> tuple[tuple[str, ...], str]:
        """Have the new master tell the others: uuids of those that took it in, or why none is known."""
        ...

    async def send_copies(self, within_s: float, permitted: Callable[[], bool]) -> str:
        """Have the master send its database to all members; "", or why it may not have."""
        ...


class Source(Protocol):
    """Subversion and the revisions kept on disk."""

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        """The head, or why it cannot be told. Never raises for what a server can do."""
        ...

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        """Export the tree of `head`, make it durable, validate it; with the log after `since`."""
        ...

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        """The tree of the agreed target, from this disk or from Subversion; without one in vain."""
        ...

    def keep(self, revision: int, digest: str) -> None:
        """Make this fetched revision the last known good one; durable when it returns."""


class Journal(Protocol):
    """This node's own record. An error here ends the daemon: without a journal it must not act."""

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns."""


class Peers(Protocol):
    """The daemons of the other peers, and the heartbeats beside this one."""

    async def share(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        """Returns when every peer that can be reached has made these facts durable: those that have, and
        with them whatever was shared before. None of them has a fact without those that went before it."""
        ...

    async def gather(self, within_s: float) -> tuple[str, ...]:
        """Have what the other ledgers know merged into ours; the peers that answered."""
        ...

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        """The tree of the agreed target from a peer that has it."""
        ...

    def muster(self, roster: Roster) -> None:
        """Have heartbeats and peer channel follow this roster; durable when it returns."""

    def hand_over(self, to: str) -> None:
        """Ask the engine to let another node lead."""

    def seal(self, text: str) -> str:
        """Only a peer can read it."""
        ...

    def unseal(self, sealed: str) -> str:
        """ "" where it was sealed by a key that is not ours."""
        ...


class Telling(Protocol):
    """The ways of telling people."""

    async def tell(self, page: Page) -> Sequence[str]:
        """One line for each way: what came of it."""
        ...


class Devices(Protocol):
    """Fence devices, through their agents. Never raises for what a device can do to it."""

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        """What it is bound to and how it stands; changes nothing."""
        ...

    async def off(self, use: DeviceUse, within_s: float) -> str:
        """Switch off, and what it answered: proves nothing. Cancelling it ends whatever it began."""
        ...

    async def on(self, use: DeviceUse, within_s: float) -> str:
        """Switch on, and what it answered; as `off`."""
        ...


class Guests(Protocol):
    """The guests of VMs, over their networks."""

    async def answers(self, addresses: Sequence[str], port: int | None, within_s: float) -> bool:
        """Whether any of the addresses answers, at this TCP port or to ping (None). Never raises for what
        a network can do to it."""
        ...


class SharedFacts(Protocol):
    """The ledger as this node keeps it."""

    def append(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns."""
