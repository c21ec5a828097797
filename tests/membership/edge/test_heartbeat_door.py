"""`heartbeatd.sock` and its other end: views out, signs of life in, and nobody who holds it up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from membership.edge import door as door_module
from membership.edge.clock import boot_s
from membership.edge.door import MOST_CONNECTIONS, Asked, Door, line_of
from membership.edge.link import HeartbeatLink
from membership.roster import Candidacy
from membership.view import View, single, unknown

VIEW = unknown("n1", "builtin", 3, "an election is on")


class Open:
    """An open door, what was asked through it, and links to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Asked] = []
        self.views: list[View] = []
        self.door = Door(path)
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.door.open(lambda: VIEW, self.asked.append)

    def link(self, late_s: float = 0.0) -> HeartbeatLink:
        link = HeartbeatLink(self.path, self.views.append, lambda: boot_s() + late_s)
        self.tasks.append(asyncio.create_task(link.run()))
        return link

    async def seen(self, count: int) -> None:
        async with asyncio.timeout(5.0):
            while len(self.views) < count:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        self.door.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    opened = Open(tmp_path / "heartbeatd.sock")
    await opened.open()
    yield opened
    await opened.close()


async def test_who_connects_hears_the_present_view_and_every_later_one(opened: Open) -> None:
    opened.link()
    await opened.seen(1)
    later = single("n1", 4)
    opened.door.push(unknown("n1", "builtin", 9, "later"))
    await opened.seen(2)
    assert opened.views[0] == VIEW
    assert (opened.views[1].term, opened.views[1].reason) == (9, "later")
    assert type(opened.views[1]) is type(later)


async def test_signs_of_life_come_in(opened: Open) -> None:
    link = opened.link()
    link.renew(Candidacy(floor=1))
    await opened.seen(1)
    link.renew(Candidacy(floor=7, notes={"ledger": "abc"}, healthy=False))
    link.hand_over("n2")
    link.hand_over(None)
    async with asyncio.timeout(5.0):
        while len(opened.asked) < 3:
            await asyncio.sleep(0.005)
    first, second, third = opened.asked
    assert first.candidacy == Candidacy(floor=7, notes={"ledger": "abc"}, healthy=False)
    assert second.hand_over is not None
    assert third.hand_over is not None
    assert (second.hand_over.to, third.hand_over.to) == ("n2", None)


async def test_what_lay_about_is_no_news_in_either_direction(opened: Open) -> None:
    link = opened.link(late_s=10.0)
    await asyncio.sleep(0.3)
    assert opened.views == []
    old = Asked(candidacy=Candidacy(), at_s=boot_s() - 10.0)
    assert opened.door.said(json.dumps({"candidacy": {}, "at_s": old.at_s}).encode())
    assert opened.asked == []
    assert opened.door.said(b'{"candidacy": {}}')
    assert len(opened.asked) == 1
    assert link is not None


async def test_the_link_comes_back_after_a_restart_of_the_other_side(opened: Open) -> None:
    link = opened.link()
    await opened.seen(1)
    opened.door.close()
    link.renew(Candidacy())
    await asyncio.sleep(0.1)
    opened.door = Door(opened.path)
    await opened.open()
    await opened.seen(2)
    assert opened.asked == []


@pytest.mark.parametrize(
    "line", [b"no json\n", b'{"candidacy": 1}\n', b"[" * 100_000 + b"\n", b"\xff\n", b"x" * 200_000]
)
async def test_who_talks_rubbish_is_dropped(opened: Open, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(opened.path)
    await reader.readline()
    writer.write(line)
    async with asyncio.timeout(5.0):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert opened.asked == []


async def test_only_so_many_may_listen(opened: Open) -> None:
    crowd = [await asyncio.open_unix_connection(opened.path) for _ in range(MOST_CONNECTIONS)]
    for reader, _ in crowd:
        assert (await reader.readline()).endswith(b"}\n")
    reader, late = await asyncio.open_unix_connection(opened.path)
    assert await reader.read() == b""
    late.close()
    crowd.pop()[1].close()
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_unix_connection(opened.path)
    assert (await reader.readline()).endswith(b"}\n")
    for _, each in [*crowd, (reader, writer)]:
        each.close()


async def test_who_does_not_read_is_dropped_and_the_others_are_not(opened: Open) -> None:
    with socket.socket(socket.AF_UNIX) as sleeper:
        sleeper.connect(str(opened.path))
        opened.link()
        await opened.seen(1)
        big = unknown("n1", "builtin", 3, "x" * 50_000)
        for count in range(2, 42):
            opened.door.push(big)
            await opened.seen(count)
        sleeper.settimeout(5.0)
        assert _ended(sleeper)


def _ended(connection: socket.socket) -> bool:
    """Whether the other side ends it, after whatever it had sent."""
    try:
        while connection.recv(1 << 20):
            continue
    except ConnectionResetError:
        return True
    return True


async def test_nobody_else_may_speak(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's word counts; here this very process is somebody else."""
    monkeypatch.setattr(door_module, "_CREDENTIALS", _Nobody())
    reader, writer = await asyncio.open_unix_connection(opened.path)
    assert (await reader.readline()).endswith(b"}\n")
    writer.write(b'{"candidacy": {}}\n')
    assert await reader.read() == b""
    writer.close()
    assert opened.asked == []


class _Nobody:
    size = 12

    def unpack(self, _raw: bytes) -> tuple[int, int, int]:
        return 1, 65534 + os.geteuid(), 65534


def test_the_socket_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "s"
    door_module._bound(path).close()
    assert path.stat().st_mode & 0o007 == 0


def test_a_line_is_a_view_with_its_moment() -> None:
    line = json.loads(line_of(VIEW, 12.5))
    assert (line["me"], line["term"], line["at_s"]) == ("n1", 3, 12.5)
