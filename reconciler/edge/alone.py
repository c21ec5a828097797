"""One daemon without peers: what the engine `single` has in place of them."""

from __future__ import annotations

from collections.abc import Sequence

from membership.ledger import Fact, Target
from membership.roster import Roster, Timing
from reconciler.messages import Staged


class Alone:
    """Fills `Peers` of the ports, and `Others` of requests, where there is nobody to be told anything."""

    def attach(self, *inside: object) -> None:
        del inside

    async def run(self) -> None:
        return

    async def close(self) -> None:
        return

    async def invite(self, name: str) -> str:
        """Nobody can join one that is alone."""
        del name
        return ""

    async def share(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        del facts
        return ()

    async def gather(self, within_s: float) -> tuple[str, ...]:
        del within_s
        return ()

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        del since, timeout_s
        return Staged(target=target, message="there is no peer that could have it")

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        del body, timeout_s
        raise ConnectionError(f"there is no peer {peer}")

    @property
    def timing(self) -> Timing:
        """Nobody is waited for."""
        return Timing()

    async def holds(self, peer: str) -> bool:
        del peer
        return False

    def muster(self, roster: Roster) -> None:
        del roster

    def hand_over(self, to: str) -> None:
        del to

    def seal(self, text: str) -> str:
        return text

    def unseal(self, sealed: str) -> str:
        return sealed
