"""Channels: bound to their own addresses, patient with those that are not there, bounded in a flood."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from membership.edge import names, udp
from membership.edge.names import Names
from membership.edge.udp import PER_TURN, Channels
from tests.membership.edge.beaters import free_port

HERE = "127.0.2.1"
ELSEWHERE = "192.0.2.7"
"""Kept for documentation: no machine has it."""


class Ear:
    """Channels and everything that was heard by them."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.channels = Channels(
            asyncio.get_running_loop(), lambda channel, data: self.heard.append((channel, data))
        )

    async def hears(self, count: int) -> None:
        async with asyncio.timeout(5.0):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    ear = Ear()
    yield ear
    ear.channels.close()


async def test_each_channel_has_its_own_path(ear: Ear) -> None:
    ports = free_port(HERE), free_port("127.0.2.2")
    ear.channels.bind(((HERE, ports[0]), ("127.0.2.2", ports[1])))
    ear.channels.send(0, (HERE, ports[0]), b"one")
    ear.channels.send(1, ("127.0.2.2", ports[1]), b"two")
    await ear.hears(2)
    assert sorted(ear.heard) == [(0, b"one"), (1, b"two")]


async def test_the_wildcard_is_never_listened_at(ear: Ear) -> None:
    port = free_port(HERE)
    ear.channels.bind(((HERE, port),))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.2.3", port))
        other.sendto(b"seen", (HERE, port))
        await ear.hears(1)
        other.sendto(b"not ours", ("127.0.2.3", port))
        assert other.recv(64) == b"not ours"
    assert ear.heard == [(0, b"seen")]


async def test_version_6_of_the_protocol(ear: Ear) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as door:
        door.bind(("::1", 0))
        port: int = door.getsockname()[1]
    ear.channels.bind((("::1", port),))
    ear.channels.send(0, ("::1", port), b"six")
    ear.channels.send(0, (HERE, port), b"of the other family")
    await ear.hears(1)
    await asyncio.sleep(0.05)
    assert ear.heard == [(0, b"six")]


async def test_an_address_that_is_not_there_yet_is_tried_again(
    ear: Ear, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(udp, "BIND_AGAIN_S", 0.05)
    port = free_port(HERE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind((HERE, port))
        ear.channels.bind(((ELSEWHERE, 9850), (HERE, port)))
        await asyncio.sleep(0.3)
        assert ear.channels.bound == frozenset()
    async with asyncio.timeout(5.0):
        while ear.channels.bound != {1}:
            await asyncio.sleep(0.02)
    told = capfd.readouterr().err
    assert told.count('"address-not-bound"') == 2
    assert ELSEWHERE in told


async def test_what_cannot_be_sent_is_lost_without_a_word(ear: Ear) -> None:
    port = free_port(HERE)
    ear.channels.bind(((HERE, port),))
    ear.channels.send(0, (HERE, 1), b"nobody is there")
    ear.channels.send(0, ("203.0.113.1", 9850), b"no way there")
    ear.channels.send(0, (HERE, port), b"x" * 70_000)
    ear.channels.send(7, (HERE, port), b"a channel that is not there")
    ear.channels.send(0, (HERE, port), b"still well")
    await ear.hears(1)
    assert ear.heard == [(0, b"still well")]
    assert ear.channels.bound == {0}


async def test_another_address_ends_the_one_before(ear: Ear) -> None:
    old, new = free_port(HERE), free_port("127.0.2.2")
    ear.channels.bind(((HERE, old),))
    ear.channels.bind((("127.0.2.2", new),))
    ear.channels.bind((("127.0.2.2", new),))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, old))
    ear.channels.send(0, ("127.0.2.2", new), b"here")
    await ear.hears(1)
    assert ear.heard == [(0, b"here")]


async def test_a_flood_lets_everything_else_have_its_turn(ear: Ear) -> None:
    port = free_port(HERE)
    ear.channels.bind(((HERE, port),))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
        for _ in range(4 * PER_TURN):
            gun.sendto(b"!", (HERE, port))
    counts = []
    while len(ear.heard) < 4 * PER_TURN:
        await asyncio.sleep(0)
        counts.append(len(ear.heard))
    assert (
        max(after - before for before, after in zip([0, *counts], counts, strict=False)) <= PER_TURN
    )


async def test_an_oversized_datagram_is_cut(ear: Ear) -> None:
    port = free_port(HERE)
    ear.channels.bind(((HERE, port),))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
        gun.sendto(b"y" * 9000, (HERE, port))
    await ear.hears(1)
    assert len(ear.heard[0][1]) == udp.LARGEST


async def test_a_name_is_found_beside_the_loop() -> None:
    learned = asyncio.Event()
    found = Names(asyncio.get_running_loop(), learned.set)
    assert found.address("127.0.0.1") == "127.0.0.1"
    assert found.address("::1") == "::1"
    assert found.address("localhost") is None
    async with asyncio.timeout(10.0):
        await learned.wait()
    assert found.address("localhost") in ("127.0.0.1", "::1")


async def test_a_name_server_that_is_away_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(names, "AGAIN_S", 0.02)
    monkeypatch.setattr(names, "AFTER_FAILURE_S", 0.02)
    answers = [[(socket.AF_INET, 2, 17, "", ("192.0.2.1", 0))]]

    def look_up(*_: object, **__: object) -> object:
        if answers:
            return answers.pop()
        raise socket.gaierror("away")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    learned = asyncio.Event()
    found = Names(asyncio.get_running_loop(), learned.set)
    assert found.address("n2.example") is None
    async with asyncio.timeout(5.0):
        await learned.wait()
    await asyncio.sleep(0.3)
    assert found.address("n2.example") == "192.0.2.1"
    assert capfd.readouterr().err.count("name-not-found") == 1
    found.keep(["n2.example"])
    assert found.address("n2.example") == "192.0.2.1"
    found.keep([])
    assert found.address("n2.example") is None
