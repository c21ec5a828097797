"""Joining by a one-time code: what it lets in, what it does not, and who may stand between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.edge import invitation
from membership.edge.bundle import BundleError
from membership.edge.invitation import (
    GOOD_FOR_S,
    Answer,
    Code,
    Invitations,
    Joined,
    JoinError,
    OfAnother,
    Unreachable,
    accept,
    parsed,
)
from tests.membership.channel.channel_nodes import ChannelNode, running

BUNDLE = b'{"settings":{"cluster":{"id":"x"}},"secrets":{"cluster-key":"k"}}'
JOINED = Joined(name="xen2", bundle=BUNDLE)


class Member(ChannelNode):
    """A node whose daemon lets others join. `now_s` is its clock; `bodies` are what joiners sent."""

    def __init__(self, name: str = "xen1") -> None:
        super().__init__(name)
        self.now_s = 1000.0
        self.bodies: list[bytes] = []
        self.bundle = BUNDLE
        self.unreadable = ""
        self.invitations = Invitations(self.identity, self._bundle, lambda: self.now_s)

    def _bundle(self) -> bytes:
        if self.unreadable:
            raise BundleError(self.unreadable)
        return self.bundle

    async def joining(self, body: bytes) -> tuple[int, bytes]:
        self.bodies.append(body)
        return await self.invitations.joining(body)


@asynccontextmanager
async def member() -> AsyncIterator[Member]:
    node = Member()
    async with running(node):
        yield node


def with_other_secret(code: str) -> str:
    known = parsed(code)
    return str(Code(pin=known.pin, secret=known.secret ^ 1))


async def test_a_code_is_good_once() -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        assert await accept(*node.door, code) == JOINED
        with pytest.raises(JoinError, match="not good, or not any more"):
            await accept(*node.door, code)


async def test_a_code_is_for_one_node_and_is_not_spent_by_another() -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        for _ in range(2 * invitation.MOST_WRONG):
            with pytest.raises(OfAnother, match="is for xen2, not for xen3") as told:
                await accept(*node.door, code, "xen3")
            assert told.value.name == "xen2"
        assert await accept(*node.door, code, "xen2") == JOINED


async def test_nobody_can_change_the_name_on_the_way() -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        with pytest.raises(OfAnother):
            await accept(*node.door, code, "xen3")
        renamed = msgspec.json.decode(node.bodies[-1]) | {"name": "xen2"}
        status, _ = await node.invitations.joining(msgspec.json.encode(renamed))
        assert status == 403
        assert await accept(*node.door, code) == JOINED


async def test_nobody_there_is_told_from_no() -> None:
    async with member() as node:
        door, code = node.door, await node.invitations.invite("xen2")
    with pytest.raises(Unreachable):
        await accept(*door, code)


async def test_of_two_that_use_one_code_at_once_one_joins() -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        tries = [accept(*node.door, code) for _ in range(4)]
        came = await asyncio.gather(*tries, return_exceptions=True)
    assert came.count(JOINED) == 1
    assert sum(isinstance(one, JoinError) for one in came) == 3


async def test_a_code_is_good_for_ten_minutes() -> None:
    async with member() as node:
        early = await node.invitations.invite("xen2")
        node.now_s += 1.0
        late = await node.invitations.invite("xen2")
        node.now_s += GOOD_FOR_S - 1.0
        with pytest.raises(JoinError, match="not good"):
            await accept(*node.door, early)
        assert await accept(*node.door, late) == JOINED


async def test_five_wrong_tries_end_all_codes() -> None:
    async with member() as node:
        code, other = await node.invitations.invite("xen2"), await node.invitations.invite("xen2")
        for _ in range(4):
            with pytest.raises(JoinError, match="not good"):
                await accept(*node.door, with_other_secret(code))
        assert await accept(*node.door, other) == JOINED
        with pytest.raises(JoinError, match="not good"):
            await accept(*node.door, with_other_secret(code))
        with pytest.raises(JoinError, match="not good"):
            await accept(*node.door, code)
        # A human asks for a new one, and that is good.
        assert await accept(*node.door, await node.invitations.invite("xen2")) == JOINED


async def test_only_so_many_codes_are_good_and_the_oldest_goes_first() -> None:
    async with member() as node:
        codes = [await node.invitations.invite("xen2") for _ in range(invitation.MOST_CODES + 1)]
        with pytest.raises(JoinError, match="not good"):
            await accept(*node.door, codes[0])
        assert await accept(*node.door, codes[1]) == JOINED


async def test_another_node_than_the_code_names_is_told_nothing() -> None:
    one, two = Member("xen1"), Member("xen2")
    async with running(one, two):
        code = await one.invitations.invite("xen2")
        with pytest.raises(JoinError, match="not the node that gave this code"):
            await accept(*two.door, code)
    assert two.bodies == []


async def test_whoever_stands_between_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one who found a certificate with the same forty bits, here by not looking at any."""
    monkeypatch.setattr(invitation, "_pin", len)
    node = Member("xen1")

    class Between(ChannelNode):
        async def joining(self, body: bytes) -> tuple[int, bytes]:
            return await node.invitations.joining(body)

    class Pretender(ChannelNode):
        async def joining(self, body: bytes) -> tuple[int, bytes]:
            nonce = msgspec.json.decode(body)["nonce"]
            return 200, msgspec.json.encode(
                Answer(name="xen2", bundle=BUNDLE.decode(), proof=nonce)
            )

    between, pretender = Between("xen2"), Pretender("xen3")
    async with running(node, between, pretender):
        code = await node.invitations.invite("xen2")
        with pytest.raises(JoinError, match="not good"):
            await accept(*between.door, code)
        with pytest.raises(JoinError, match="does not know the code itself"):
            await accept(*pretender.door, code)
        assert await accept(*node.door, code) == JOINED


async def test_a_bundle_that_was_changed_on_its_way_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        honest = node.invitations.joining

        async def changed(body: bytes) -> tuple[int, bytes]:
            status, answer = await honest(body)
            return status, answer.replace(b"cluster-key", b"cluster-kex")

        monkeypatch.setattr(node.invitations, "joining", changed)
        with pytest.raises(JoinError, match="does not know the code itself"):
            await accept(*node.door, code)


async def test_why_nothing_could_be_given_is_in_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with member() as node:
        node.unreadable = "/etc/cxm/node.yaml: no such file"
        with pytest.raises(JoinError, match="answers with 503; its log says why"):
            await accept(*node.door, await node.invitations.invite("xen2"))
    assert "/etc/cxm/node.yaml: no such file" in caplog.text


async def test_nobody_there_is_told() -> None:
    node = Member()
    code = str(Code(pin=1, secret=1))
    with pytest.raises(JoinError, match=r"(?i)connect"):
        await accept(*node.door, code)


async def test_what_is_no_request_is_refused_and_is_no_try() -> None:
    async with member() as node:
        code = await node.invitations.invite("xen2")
        for body in (b"", b"[]", b"{}", b'{"nonce":1,"proof":"x"}', b"[" * 4000, b'{"nonce":"\xff'):
            with pytest.raises(msgspec.DecodeError):
                await node.invitations.joining(body)
        assert await accept(*node.door, code) == JOINED


# --- how a code looks -----------------------------------------------------------------------------

CODES = st.builds(
    Code, pin=st.integers(0, 2**40 - 1), secret=st.one_of(st.just(0), st.integers(0, 2**60 - 1))
)


@given(CODES)
def test_a_code_is_read_as_it_was_written(code: Code) -> None:
    assert parsed(str(code)) == code
    assert [len(group) for group in str(code).split("-")] == [4, 5, 5, 5, 5]


@given(CODES)
def test_a_code_may_be_typed_carelessly(code: Code) -> None:
    text = str(code).lower().replace("0", "o").replace("1", "l").replace("-", " ")
    assert parsed(f" {text}\n") == code


@pytest.mark.parametrize(
    "text",
    ["", "cxm1", "cxm1-AAAAA", "cxm1-AAAAA-AAAAA-AAAAA-AAAAU", "cxm2-AAAAA-AAAAA-AAAAA-AAAAA"],
)
def test_what_is_no_code_is_told(text: str) -> None:
    with pytest.raises(JoinError, match="one looks like cxm1-"):
        parsed(text)
