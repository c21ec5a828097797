"""Members of a pool that nobody reaches."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.members import Role, Said


class Lonely:
    """Whoever is asked is silent, whoever is told does not hear it."""

    async def role(self, address: str, within_s: float) -> Said:
        del address, within_s
        return Said(role=Role.SILENT, message="no answer")

    async def make_master(
        self, address: str, within_s: float, permitted: Callable[[], bool]
    ) -> str:
        del address, within_s, permitted
        return "no answer"

    async def tell_members(
        self, within_s: float, permitted: Callable[[], bool]
    ) -> tuple[tuple[str, ...], str]:
        del within_s, permitted
        return (), "no answer"

    async def send_copies(self, within_s: float, permitted: Callable[[], bool]) -> str:
        del within_s, permitted
        return "no answer"
