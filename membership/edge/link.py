"""The other end of `heartbeatd.sock`: how `cxmd` hears the views and shows that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from membership.edge.door import STALE_S, Asked, HandOverTo
from membership.roster import Candidacy
from membership.view import View

FIRST_S, LAST_S = 0.2, 2.0
"""How long to wait before connecting again: twice as long after each failure."""

LONGEST_VIEW = 1024 * 1024
MOST_UNSENT = 64 * 1024


class _Pushed(View, frozen=True, kw_only=True):
    """A view as it comes over the socket; `at_s` is when it was made, CLOCK_BOOTTIME."""

    at_s: float


_VIEW: msgspec.json.Decoder[_Pushed] = msgspec.json.Decoder(_Pushed)


class HeartbeatLink:
    """Keeps a connection to `cxm-heartbeatd` of this node.

    `publish` gets each view that is news, with the times as they came: seconds of CLOCK_BOOTTIME,
    which `boot_clock` reads. When the connection is lost nothing is published; whoever keeps the last
    view knows how old it may become.
    """

    def __init__(
        self, path: Path, publish: Callable[[View], None], boot_clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._publish = publish
        self._boot_clock = boot_clock
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """For ever; ends by being cancelled."""
        wait_s = FIRST_S
        while True:
            heard = await self._connected()
            wait_s = FIRST_S if heard else min(wait_s * 2, LAST_S)
            await asyncio.sleep(wait_s)

    def renew(self, candidacy: Candidacy) -> None:
        """Say that `cxmd` lives. While there is no connection it is not said later either."""
        self._send(Asked(candidacy=candidacy, at_s=self._boot_clock()))

    def hand_over(self, to: str | None) -> None:
        """Give up leadership; the others let `to` try first, where it is given."""
        self._send(Asked(hand_over=HandOverTo(to=to), at_s=self._boot_clock()))

    async def _connected(self) -> bool:
        """One connection, from its beginning to its end. Whether a view was heard by it."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=LONGEST_VIEW)
        except OSError:
            return False
        self._writer = writer
        try:
            return await self._listen(reader)
        finally:
            self._writer = None
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        heard = False
        while True:
            try:
                line = await reader.readline()
                pushed = _VIEW.decode(line) if line.endswith(b"\n") else None
            except (OSError, ValueError, msgspec.DecodeError):
                return heard
            if pushed is None:
                return heard
            heard = True
            # What piled up while this process slept is not news.
            if self._boot_clock() - pushed.at_s <= STALE_S:
                self._publish(_view(pushed))

    def _send(self, asked: Asked) -> None:
        writer = self._writer
        if writer is None or writer.transport.is_closing():
            return
        # Who does not read its socket is frozen: what piles up there would be old when it is read.
        if writer.transport.get_write_buffer_size() <= MOST_UNSENT:
            writer.write(msgspec.json.encode(asked) + b"\n")


def _view(pushed: _Pushed) -> View:
    """Without the stamp, so that it compares equal to every other view."""
    return View(**{name: getattr(pushed, name) for name in View.__struct_fields__})
