"""Who gets an answer on the peer channel, and that whoever does not cannot hold it up."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from random import Random

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from membership.cluster_key import AUTHORITY, SEALING, derived
from membership.edge import peer_server
from membership.edge.identity import Identity
from membership.edge.peer_wire import LARGEST, Told
from membership.ledger import written
from tests.membership.channel.channel_nodes import CLUSTER, KEY, ChannelNode, fact, running

OTHER_KEY = b"another-key-of-32-characters-or-even-more"


def url(node: ChannelNode, path: str) -> str:
    return f"https://{node.door[0]}:{node.door[1]}{path}"


def nobody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def unverifying(identity: Identity) -> ssl.SSLContext:
    """Shows a certificate, and takes whatever the server shows."""
    context = identity.client
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def posted(node: ChannelNode, path: str, body: bytes, context: ssl.SSLContext) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url(node, path), data=body, ssl=context) as answer,
    ):
        return answer.status


async def test_a_request_comes_under_the_name_of_its_certificate() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    async with running(one, two):
        answer = await one.exchange.ask("xen2", b'{"by":"xen9"}', 5.0)
    assert answer == (409, b'{"reason":"NotLeader"}')
    assert two.heard == [("xen1", b'{"by":"xen9"}')]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/facts"),
        ("POST", "/v1/ask"),
        ("GET", "/v1/tree/1/ab"),
        ("GET", "/nowhere"),
        ("GET", "/v1/join"),
        ("PUT", "/v1/join"),
    ],
)
async def test_who_shows_no_certificate_learns_nothing(method: str, path: str) -> None:
    node = ChannelNode("xen1")
    async with (
        running(node),
        aiohttp.ClientSession() as session,
        session.request(method, url(node, path), data=b"[", ssl=nobody()) as answer,
    ):
        assert (answer.status, await answer.read()) == (403, b"")
        assert answer.headers.keys() <= {"Content-Length", "Content-Type", "Date", "Connection"}
    assert node.heard == []


async def test_certificates_of_another_key_are_refused_by_both_ends() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2", [OTHER_KEY])
    async with running(one, two):
        for asker, peer in ((one, "xen2"), (two, "xen1")):
            with pytest.raises(ConnectionError, match=r"(?i)certificate verify failed"):
                await asker.exchange.ask(peer, b"{}", 5.0)
        # Not even when it does not care whom it talks to.
        with pytest.raises(aiohttp.ClientError):
            await posted(one, "/v1/ask", b"{}", unverifying(two.identity))
    assert one.heard == two.heard == []


async def test_another_cluster_with_the_same_key_is_nobody() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2", cluster_id="0f2a9a1e")
    async with running(one, two):
        with pytest.raises(ConnectionError, match=r"(?i)hostname mismatch"):
            await two.exchange.ask("xen1", b"{}", 5.0)
        assert await posted(one, "/v1/ask", b"{}", unverifying(two.identity)) == 403
    assert one.heard == []


async def test_a_peer_at_the_address_of_another_is_not_talked_to() -> None:
    one, two, three = ChannelNode("xen1"), ChannelNode("xen2"), ChannelNode("xen3")
    async with running(one, two, three):
        assert (await one.exchange.ask("xen2", b"{}", 5.0))[0] == 409
        # The tree gives xen2's address to xen3, while a connection to xen2 is still open.
        three.doors = two.doors
        one.know(one, three)
        with pytest.raises(ConnectionError, match=r"(?i)hostname mismatch"):
            await one.exchange.ask("xen3", b"{}", 5.0)
        with pytest.raises(ConnectionError, match="xen2: it has no address in the tree"):
            await one.exchange.ask("xen2", b"{}", 5.0)


async def test_keys_change_one_node_after_the_other() -> None:
    old, both, new = (
        ChannelNode("old"),
        ChannelNode("both", [KEY, OTHER_KEY]),
        ChannelNode("new", [OTHER_KEY, KEY]),
    )
    async with running(old, both, new):
        for asker, peer in ((old, "both"), (both, "old"), (both, "new"), (new, "both")):
            assert (await asker.exchange.ask(peer, b"{}", 5.0))[0] == 409
        # Who has not got the new key yet does not know who signs with it.
        with pytest.raises(ConnectionError):
            await old.exchange.ask("new", b"{}", 5.0)


async def test_a_ledger_that_cannot_be_written_is_not_acknowledged() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    two.broken = OSError("disk full")
    async with running(one, two):
        one.take([fact(1)])
        assert await one.exchange.share([fact(1)]) == {"xen2": False}


# --- bounds ---------------------------------------------------------------------------------------


async def test_a_body_that_is_too_large_or_too_slow_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_server, "READ_S", 0.2)
    node = ChannelNode("xen1")

    async def trickle() -> object:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    async with running(node), aiohttp.ClientSession() as session:
        context = unverifying(ChannelNode("xen2").identity)
        assert await posted(node, "/v1/facts", b" " * (LARGEST + 1), context) == 413
        assert await posted(node, "/v1/join", b" " * 4097, nobody()) == 413
        async with session.post(url(node, "/v1/facts"), data=trickle(), ssl=context) as answer:
            assert answer.status == 408


async def test_a_stranger_that_says_nothing_is_hung_up_on_and_a_peer_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_server, "STRANGER_S", 0.3)
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    async with running(one, two):
        await two.exchange.ask("xen1", b"{}", 5.0)
        reader, writer = await asyncio.open_connection(*one.door, ssl=nobody())
        writer.write(b"POST /v1/join HTTP/1.1\r\nHost: x\r\n")
        begun_s = time.monotonic()
        assert await asyncio.wait_for(reader.read(), 5.0) == b""
        assert 0.2 < time.monotonic() - begun_s < 3.0
        writer.close()
        await two.exchange.ask("xen1", b"{}", 5.0)


async def test_strangers_are_few_and_leave_room_for_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_server, "MOST_STRANGERS", 3)
    monkeypatch.setattr(peer_server, "STRANGER_S", 1.0)
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    async with running(one, two):
        await two.exchange.ask("xen1", b"{}", 5.0)
        open_ones = [await asyncio.open_connection(*one.door, ssl=nobody()) for _ in range(3)]
        reader, last = await asyncio.open_connection(*one.door, ssl=nobody())
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 0.5) == b""
        # Who was known before is served all the while, and everybody else in a moment.
        await two.exchange.ask("xen1", b"{}", 5.0)
        await asyncio.sleep(1.2)
        assert await posted(one, "/v1/join", b"{}", nobody()) == 403
        for _, writer in (*open_ones, (reader, last)):
            writer.close()


# --- what cannot be understood --------------------------------------------------------------------

NASTY = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b'{"facts": 1}',
    b'{"facts": [1]}',
    b'{"facts": [null], "known": {"a": 1}}',
    b'{"facts": [{"key": "\xff"}], "known": {"\xff": ""}}',
    b'{"facts": [{"key": "\\ud800"}], "known": {"\\ud800": ""}}',
    b"[" * 100_000,
    b'{"facts": ' + b"[" * 100_000,
    b'{"facts": [{"key":"k","term":1,"seq":1,"at_epoch_s":0,"value":' + b'{"x":' * 50_000,
    b'{"facts":[{"key":"k","term":-1,"seq":1,"at_epoch_s":0,"value":{"fact":"new"}}],"known":7}',
    b'{"facts":[{"key":"k","term":1e400,"seq":1,"at_epoch_s":0,"value":{"fact":"new"}}],"known":7}',
    b'{"facts":[{"key":"k","term":9e99,"seq":1,"at_epoch_s":0,"value":{"fact":"new"}}],"known":7}',
    b'{"facts":[{"key":"k","term":1,"seq":1,"at_epoch_s":0,"value":{"fact":7}}],"known":[]}',
    b'{"facts":[{"key":"k","term":1,"seq":1,"at_epoch_s":0,"value":{"fact":"hold"}}],"known":[]}',
    b'{"facts":[{"key":"k","term":1,"seq":1,"at_epoch_s":0,"value":"\xff"}],"known":[]}',
]


@pytest.mark.parametrize("path", ["/v1/facts", "/v1/exchange"])
async def test_what_is_no_message_is_refused_and_changes_nothing(path: str) -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    context = unverifying(two.identity)
    async with running(one):
        for body in NASTY:
            assert await posted(one, path, body, context) == 400, body[:80]
    assert one.taken == 0


async def test_messages_with_changed_bytes_never_break_the_server() -> None:
    """Each one is refused, or is a message still; the ledger that comes of it can be told of."""
    dice = Random(7)
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    context = unverifying(two.identity)
    facts = tuple(msgspec.Raw(written(fact(number))) for number in range(3))
    bodies = {
        "/v1/facts": msgspec.json.encode(Told(facts=facts)),
        "/v1/exchange": b'{"known":{"drain/n1":"0123456789abcdef"}}',
    }
    seen = set()
    async with running(one), aiohttp.ClientSession() as session:
        for _ in range(400):
            path, body = dice.choice(sorted(bodies.items()))
            changed = bytearray(body)
            for _ in range(dice.randint(1, 3)):
                at = dice.randrange(len(changed))
                changed[at : at + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 2))
            async with session.post(url(one, path), data=bytes(changed), ssl=context) as answer:
                seen.add(answer.status)
                told = await answer.read()
            if answer.status == 200:
                msgspec.json.decode(told, type=Told).read()
    assert seen == {200, 400}


def test_an_authority_is_the_same_on_every_node() -> None:
    one, two = Identity("xen1", CLUSTER, [KEY]), Identity("xen2", CLUSTER, [KEY])
    assert one.server.get_ca_certs(binary_form=True) == two.server.get_ca_certs(binary_form=True)
    assert one.fingerprint != Identity("xen1", CLUSTER, [KEY]).fingerprint


def test_secrets_are_derived_as_others_derive_them() -> None:
    def theirs(purpose: bytes) -> bytes:
        return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose).derive(KEY)

    assert derived(KEY, AUTHORITY) == theirs(AUTHORITY)
    assert derived(KEY, SEALING) == theirs(SEALING) != derived(KEY, AUTHORITY)
