"""Guests are asked over real sockets, and given up in time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.edge.knocking import Knocking

ROOT = Path(__file__).parents[2]
NOWHERE = "192.0.2.1"
"""Of a network that is for documentation only."""

PING = """
import asyncio, sys
from reconciler.edge.knocking import Knocking
print(*(asyncio.run(Knocking().answers((address,), None, 1.0)) for address in sys.argv[1:]))
"""


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A service that accepts, and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_a_port_that_accepts_answers(port: int) -> None:
    assert await Knocking().answers(("127.0.0.1",), port, 2.0)


async def test_one_address_that_answers_is_enough(port: int) -> None:
    assert await Knocking().answers((NOWHERE, "127.0.0.1"), port, 2.0)


async def test_a_port_that_nobody_listens_at_does_not_answer(port: int) -> None:
    assert not await Knocking().answers(("127.0.0.2",), port, 2.0)


async def test_no_address_is_no_answer() -> None:
    assert not await Knocking().answers((), 80, 2.0)


async def test_nothing_is_left_of_a_question_that_was_given_up() -> None:
    await Knocking().answers((NOWHERE,), 80, 0.2)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []


WIRED = """
ip link set lo up
ip link add wire type veth peer name end
ip link set end up
ip address add 192.0.2.2/24 dev wire
ip link set wire up
echo "$0" > /proc/sys/net/ipv4/ping_group_range
exec "$@"
"""
"""A network of its own with a wire on which nobody is, and with that group allowed an ICMP socket."""


@pytest.mark.parametrize("group", ["0 0", "1 0"], ids=["by-socket", "by-program"])
def test_a_guest_is_pinged_with_and_without_a_socket_of_our_own(group: str) -> None:
    program = (sys.executable, "-c", PING, "127.0.0.1", "::1", NOWHERE)
    told = subprocess.run(
        ["unshare", "--net", "sh", "-e", "-c", WIRED, group, *program],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert told.stdout.split() == ["True", "True", "False"]
