"""A peer has a door on each of its cables: a request finds one that works, in time, and stays there."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from membership.edge import peer_client
from membership.edge.exchange import SHARE_S
from membership.edge.peer_client import CONNECT_S, LOST_S
from membership.roster import Door
from tests.membership.channel.channel_nodes import ChannelNode, fact, free_door, running


@contextmanager
def dead_cable() -> Iterator[Door]:
    """A door from which no answer comes, not even to the first packet: its backlog is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((host, port))
        try:
            yield host, port
        finally:
            for one in waiting:
                one.close()


@asynccontextmanager
async def mute_door() -> AsyncIterator[tuple[Door, list[bytes]]]:
    """A door behind which everything is taken, and nothing said."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            got.append(data)
        writer.close()

    door = free_door()
    server = await asyncio.start_server(take, *door)
    try:
        yield door, got
    finally:
        server.close()


async def acknowledged(one: ChannelNode, number: int) -> None:
    """Xen2 acknowledges this fact, in the time that a reachable peer has for it."""
    one.take([fact(number)])
    assert await one.exchange.share([fact(number)]) == {"xen2": True}


async def seconds(one: ChannelNode, number: int) -> float:
    """How long that takes."""
    begun_s = time.monotonic()
    await acknowledged(one, number)
    return time.monotonic() - begun_s


def two_nodes() -> tuple[ChannelNode, ChannelNode]:
    return ChannelNode("xen1"), ChannelNode("xen2")


async def test_it_listens_at_all_its_doors() -> None:
    one, two = two_nodes()
    two.doors = (free_door(), free_door())
    async with running(one, two):
        first, second = two.doors
        for doors in ((first,), (second,)):
            two.doors = doors
            one.know(one, two)
            assert (await one.exchange.ask("xen2", b"{}", 5.0))[0] == 409


async def test_a_door_that_cannot_be_bound_does_not_close_the_others() -> None:
    _, two = two_nodes()
    good, gone = free_door(), ("192.0.2.77", 9851)
    failed = await two.server.listen((gone, good))
    assert list(failed) == [gone]
    assert two.server.doors == {good}
    assert list(await two.server.listen((gone, good))) == [gone], "and is tried again"
    await two.server.listen(())
    assert two.server.doors == frozenset()
    await two.server.close()


@pytest.mark.parametrize("number", [1, 2])
async def test_a_dead_first_cable_leaves_time_for_the_second(number: int) -> None:
    """However many doors are dead, a fact is acknowledged before the peer counts as unreachable."""
    one, two = two_nodes()
    async with running(one, two):
        with dead_cable() as first, dead_cable() as second:
            two.doors = (*(first, second)[:number], two.door)
            one.know(one, two)
            assert await seconds(one, 1) >= number * CONNECT_S
            # What worked is what the next request begins with.
            assert one.exchange._client._order["xen2"][0] == two.doors[-1]
            await acknowledged(one, 2)
            assert one.exchange._client._order["xen2"][0] == two.doors[-1]


async def test_a_door_that_says_nothing_is_left_in_time() -> None:
    one, two = two_nodes()
    async with running(one, two), mute_door() as (mute, got):
        two.doors = (mute, two.door)
        one.know(one, two)
        assert await seconds(one, 1) >= CONNECT_S
    assert got, "it was tried"


async def test_a_door_of_another_peer_is_passed_over() -> None:
    """Whoever answers at an address: the name in its certificate counts."""
    one, two = two_nodes()
    three = ChannelNode("xen3")
    async with running(one, two, three):
        two.doors = (three.door, two.door)
        one.know(one, two)
        assert (await one.exchange.ask("xen2", b"{}", 5.0))[0] == 409
    assert (two.heard, three.heard) == ([("xen1", b"{}")], [])


async def test_where_no_door_answers_the_last_one_has_the_rest_of_the_time() -> None:
    one, two = two_nodes()
    async with running(one, two):
        with dead_cable() as first, dead_cable() as second:
            two.doors = (first, second)
            one.know(one, two)
            begun_s = time.monotonic()
            assert await one.exchange.share([fact(1)]) == {"xen2": False}
            assert 0.9 * SHARE_S < time.monotonic() - begun_s < SHARE_S + 1.0


class Relay:
    """A door from which connections are carried on to another one, until it is cut: then what is sent
    breaks the connection, and no new one comes about."""

    def __init__(self, to: Door) -> None:
        self._to = to
        self._cut = False
        self._server: asyncio.Server | None = None

    async def open(self) -> Door:
        self._server = await asyncio.start_server(self._relayed, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut = True

    async def _relayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        await asyncio.gather(self._carry(reader, back, writer), self._carry(there, writer, back))

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(65536):
                if self._cut:
                    break
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        for writer in (sink, other):
            writer.transport.abort()


async def test_a_connection_that_breaks_is_made_anew_at_another_door() -> None:
    """As where a cable is cut: what was sent and not acknowledged is sent again."""
    one, two = two_nodes()
    relay = Relay(two.door)
    async with running(one, two):
        two.doors = (await relay.open(), two.door)
        one.know(one, two)
        await acknowledged(one, 1)
        relay.cut()
        await acknowledged(one, 2)
        await acknowledged(one, 3)
    assert set(two.ledger.facts.values()) == {fact(1), fact(2), fact(3)}


async def test_a_persons_request_is_not_sent_twice() -> None:
    """Nobody can tell whether it arrived, and it may be one to begin something."""
    one, two = two_nodes()
    relay = Relay(two.door)
    async with running(one, two):
        two.doors = (await relay.open(), two.door)
        one.know(one, two)
        assert (await one.exchange.ask("xen2", b"1", 5.0))[0] == 409
        relay.cut()
        with pytest.raises(ConnectionError):
            await one.exchange.ask("xen2", b"2", 5.0)
        assert (await one.exchange.ask("xen2", b"3", 5.0))[0] == 409
    assert [body for _, body in two.heard] == [b"1", b"3"]


def test_a_cable_counts_as_cut_in_time_for_another_one() -> None:
    """A new connection has more patience: its first packet may be lost."""
    sockets = peer_client._Sockets()
    with sockets.made((socket.AF_INET, socket.SOCK_STREAM, 0, "", ())) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
        sockets.connected()
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * LOST_S
    assert LOST_S + CONNECT_S < SHARE_S
