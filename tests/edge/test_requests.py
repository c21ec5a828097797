"""Requests of people: which node decides, what is brought there, and when a hold counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from membership.roster import Timing, Voters
from membership.view import Peer, PeerState, View, single
from reconciler.edge.alone import Alone
from reconciler.edge.requests import FORWARD_S, Invited, Requests
from reconciler.messages import (
    Ask,
    AskApply,
    AskDrain,
    AskFreeze,
    AskHandOver,
    AskHold,
    AskInvite,
    AskLook,
    AskNotify,
    AskRelease,
    AskRetry,
    AskThaw,
    AskUndrain,
    Progress,
    Reply,
)
from reconciler.paging import Page
from reconciler.status import Condition, Status, Verdict
from reconciler.whatif import WhatIf
from reconciler.why import Why
from simulator.clock import run_virtual

NODES = ("n1", "n2", "n3", "n4", "n5")
CONFIG = Path("/etc/cxm/node.yaml")
VOTERS = Voters(epoch=1, revision=1, names=NODES)
LEADERS: list[Ask] = [
    AskApply(revision=3, by="alice"),
    AskFreeze(objects=("all",), scopes=(), for_s=None, reason="", by="alice"),
    AskThaw(objects=("all",), by="alice"),
    AskDrain(node="n2", for_s=None, reason="", by="alice"),
    AskUndrain(node="n2", by="alice"),
    AskRetry(objects=("all",), by="alice"),
    AskHandOver(by="alice"),
]
STATUS = Status(
    cluster="lyon",
    cluster_id="c",
    node="n1",
    version="1",
    mode="auto",
    verdict=Verdict.CONVERGED,
    condition=Condition.READY,
)


def led_by(leader: str | None, voters: Voters = VOTERS, engine: str = "builtin") -> View:
    return View(
        me="n1",
        term=4,
        leader=leader,
        lead_until_s=0.0,
        peers={name: Peer(state=PeerState.ALIVE) for name in NODES},
        engine=engine,
        voters=voters,
        reason="" if leader else "n1 hears 1 of 5 voters",
    )


class Rig:
    """Node n1 among others that hold what they are told of `holds_after_s`: seconds by name."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.here: list[Ask] = []
        self.reply = Reply(accepted=True, message="H-1")
        self.sent: list[tuple[str, bytes]] = []
        self.answer: bytes | OSError = msgspec.json.encode(Reply(accepted=True, notes=("there",)))
        self.holds_after_s: dict[str, float] = {}
        self.takes_s = 0.0
        self.code = "cxm1-X"
        self.invited: list[str] = []
        self.told: tuple[str, ...] = ()
        self.pages: list[Page] = []
        self.led_since_s = float("-inf")
        self.acts_alone = False
        self.timing = Timing()
        self.requests = Requests("n1", CONFIG, self, self, Way(self), self)

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def status(self) -> Status:
        return STATUS

    async def why(self, obj: str) -> Why:
        return Why(object=obj, known=False)

    async def what_if(self, down: Sequence[str]) -> WhatIf:
        return WhatIf(down=tuple(down), nodes=(), vms=())

    async def request(self, ask: Ask) -> Reply:
        self.here.append(ask)
        return self.reply

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        assert timeout_s > 0
        self.sent.append((peer, body))
        if isinstance(self.answer, OSError):
            raise self.answer
        return 200, self.answer

    async def invite(self, name: str) -> str:
        self.invited.append(name)
        return self.code

    async def holds(self, peer: str) -> bool:
        await asyncio.sleep(self.takes_s)
        return asyncio.get_running_loop().time() >= self.holds_after_s.get(peer, float("inf"))


class Way:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def tell(self, page: Page) -> tuple[str, ...]:
        self._rig.pages.append(page)
        return self._rig.told


def sent_to(rig: Rig) -> list[tuple[str, Ask]]:
    asks = msgspec.json.Decoder[Ask](Ask)
    return [(peer, asks.decode(body)) for peer, body in rig.sent]


# --- who decides ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", LEADERS)
async def test_another_leader_decides_and_hears_who_asked_and_where(ask: Ask) -> None:
    rig = Rig(led_by("n2"))
    reply = await rig.requests.request(ask)
    assert reply.notes == ("there",)
    assert rig.here == []
    ((peer, forwarded),) = sent_to(rig)
    assert peer == "n2"
    assert msgspec.to_builtins(forwarded) == msgspec.to_builtins(ask) | {"by": "alice@n1"}


@pytest.mark.parametrize("view", [led_by("n1"), single("n1", 1)])
@pytest.mark.parametrize("ask", [AskLook(), *LEADERS])
async def test_the_leader_decides_itself_in_the_name_it_was_given(view: View, ask: Ask) -> None:
    rig = Rig(view)
    rig.holds_after_s = dict.fromkeys(NODES, 0.0)
    assert (await rig.requests.request(ask)).accepted
    assert rig.here == [ask]
    assert rig.sent == []


@pytest.mark.parametrize("ask", LEADERS)
async def test_while_nobody_leads_nobody_decides(ask: Ask) -> None:
    rig = Rig(led_by(None))
    reply = await rig.requests.request(ask)
    assert (reply.accepted, reply.reason) == (False, "NoLeader")
    assert "n1 hears 1 of 5 voters" in reply.message
    assert (rig.here, rig.sent) == ([], [])


@pytest.mark.parametrize("leader", ["n2", None])
def test_a_release_is_done_here_whoever_leads(leader: str | None) -> None:
    rig = Rig(led_by(leader))
    rig.holds_after_s = dict.fromkeys(NODES, 0.0)
    ask = AskRelease(id="H-1", by="alice")
    assert run_virtual(rig.requests.request(ask)).accepted
    assert (rig.here, rig.sent) == ([ask], [])


async def test_a_look_is_done_here_and_the_leader_is_nudged() -> None:
    rig = Rig(led_by("n2"))
    rig.reply = Reply(accepted=True, look=7)
    assert (await rig.requests.request(AskLook())).look == 7
    assert sent_to(rig) == [("n2", AskLook())]


async def test_a_look_does_not_depend_on_the_leader() -> None:
    rig = Rig(led_by("n2"))
    rig.answer = TimeoutError("n2 did not answer within 2 s")
    assert (await rig.requests.request(AskLook())).accepted
    rig = Rig(led_by(None))
    assert (await rig.requests.request(AskLook())).accepted
    assert rig.sent == []


@pytest.mark.parametrize(
    "answer",
    [
        ConnectionError("n2: refused"),
        TimeoutError("n2 did not answer within 15 s"),
        b"",
        b"<html>",
        b'{"accepted":true,"message":"\xff"}',
        b"{}",
    ],
)
async def test_a_leader_that_does_not_answer_is_told_and_nothing_is_done(
    answer: bytes | OSError,
) -> None:
    rig = Rig(led_by("n2"))
    rig.answer = answer
    reply = await rig.requests.request(AskRetry(objects=("all",), by="alice"))
    assert (reply.accepted, reply.reason) == (False, "LeaderSilent")
    assert reply.message.startswith("n2 leads and does not answer this node")
    assert rig.here == []


async def test_a_refusal_of_the_leader_is_the_answer() -> None:
    rig = Rig(led_by("n2"))
    refused = Reply(accepted=False, reason="Stale", message="read the plan again")
    rig.answer = msgspec.json.encode(refused)
    assert await rig.requests.request(AskApply(revision=1, by="alice")) == refused


async def test_status_and_why_are_this_nodes_own() -> None:
    rig = Rig(led_by("n2"))
    assert await rig.requests.status() == STATUS
    assert (await rig.requests.why("vm/a")).object == "vm/a"
    assert rig.sent == []


# --- what other peers ask -------------------------------------------------------------------------


async def test_a_peer_that_took_us_for_the_leader_gets_our_answer() -> None:
    rig = Rig(led_by("n1"))
    rig.holds_after_s = dict.fromkeys(NODES, 0.0)
    ask = AskUndrain(node="n2", by="bob@n2")
    status, body = await rig.requests.asked_by("n2", msgspec.json.encode(ask))
    assert (status, msgspec.json.decode(body, type=Reply)) == (200, rig.reply)
    rig.reply = Reply(accepted=False, reason="NoDrain")
    status, body = await rig.requests.asked_by("n2", msgspec.json.encode(ask))
    assert (status, msgspec.json.decode(body, type=Reply)) == (409, rig.reply)
    assert rig.here == [ask, ask]


@pytest.mark.parametrize("leader", ["n3", None])
async def test_who_does_not_lead_decides_nothing_for_others(leader: str | None) -> None:
    """Nor is it brought on: two that take each other for the leader would play ball with it."""
    rig = Rig(led_by(leader))
    for ask in LEADERS:
        status, body = await rig.requests.asked_by("n2", msgspec.json.encode(ask))
        assert status == 409
        assert msgspec.json.decode(body, type=Reply).reason == "NotLeader"
        assert (leader or "nobody").encode() in body
    assert (rig.here, rig.sent) == ([], [])
    status, _ = await rig.requests.asked_by("n2", msgspec.json.encode(AskLook()))
    assert status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"ask":"explode"}', b'{"ask":"undrain","node":"\xff","by":"x"}', b"[" * 100_000],
)
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    rig = Rig(led_by("n1"))
    status, answer = await rig.requests.asked_by("n2", body)
    assert status == 400
    assert msgspec.json.decode(answer, type=Reply).reason == "NotUnderstood"
    assert rig.here == []


# --- what others must know too ------------------------------------------------------------------------

DRAIN = AskDrain(node="n2", for_s=None, reason="memory", by="alice")


def drained(rig: Rig) -> tuple[Reply, float]:
    async def asking() -> tuple[Reply, float]:
        reply = await rig.requests.request(DRAIN)
        return reply, asyncio.get_running_loop().time()

    return run_virtual(asking())


def test_what_a_leader_decides_is_answered_once_enough_voters_know_it() -> None:
    rig = Rig(led_by("n1"))
    rig.reply = Reply(accepted=True, message="node/n2 is to be emptied")
    rig.holds_after_s = {"n3": 0.0, "n4": 3.2}
    reply, took_s = drained(rig)
    assert reply == rig.reply
    assert 3.0 < took_s < 5.0


def test_what_too_few_know_is_told_as_half_done_and_who_has_it() -> None:
    rig = Rig(led_by("n1"))
    rig.holds_after_s = {"n3": 0.0}
    reply, took_s = drained(rig)
    assert (reply.accepted, reply.reason) == (False, "NotAcknowledged")
    assert reply.message.startswith("it is in force on n1, n3 and goes on to the others")
    assert "2 of 5 voters, a quorum of 3" in reply.message
    assert took_s < FORWARD_S, "the node that it came by waits no longer"


# --- hold -----------------------------------------------------------------------------------------

HOLD = AskHold(reason="smoke in the rack", by="alice")


def held(rig: Rig, ask: AskHold | AskRelease = HOLD) -> tuple[Reply, list[str], float]:
    """The answer to a hold or its end, what it was told to wait for, and after how many seconds it came."""
    said: list[str] = []

    async def told(line: Progress) -> None:
        said.append(line.id or line.waiting)

    async def asking() -> tuple[Reply, float]:
        reply = await rig.requests.bring(ask, told)
        return reply, asyncio.get_running_loop().time()

    reply, took_s = run_virtual(asking())
    assert rig.here == [ask]
    return reply, said, took_s


def test_a_hold_is_answered_once_it_counts() -> None:
    rig = Rig(led_by("n2"))
    rig.holds_after_s = {"n2": 7.2, "n3": 0.0, "n4": 0.0, "n5": 0.0}
    reply, said, took_s = held(rig)
    assert reply == rig.reply
    assert took_s == 7.5
    assert said == ["H-1", "n2, which leads, to store it (37 s at most)"], (
        "where it stands is said at once"
    )


def test_one_that_does_not_is_told_as_half_done() -> None:
    rig = Rig(led_by("n2"))
    rig.holds_after_s = {"n3": 0.0, "n4": 0.0, "n5": 0.0}
    reply, _, _ = held(rig)
    assert (reply.accepted, reply.reason) == (False, "NotAcknowledged")
    assert reply.message.startswith("H-1 is in force where it is stored: on n1, n3, n4, n5;")


def test_a_release_counts_by_the_same_rule() -> None:
    rig = Rig(led_by("n2"))
    rig.reply = Reply(accepted=True, message="H-1 is released")
    rig.holds_after_s = {"n2": 7.2, "n3": 0.0, "n4": 0.0, "n5": 0.0}
    ask = AskRelease(id="H-1", by="alice")
    assert held(rig, ask) == (
        rig.reply,
        ["H-1", "n2, which leads, to store it (37 s at most)"],
        7.5,
    )
    rig.here, rig.holds_after_s = [], {"n3": 0.0, "n4": 0.0, "n5": 0.0}
    reply, _, _ = held(rig, ask)
    assert (reply.accepted, reply.reason) == (False, "NotAcknowledged")
    assert reply.message.startswith("the release of H-1 is in force where it is stored")


def test_a_hold_that_is_refused_here_waits_for_nobody() -> None:
    rig = Rig(led_by("n2"))
    rig.reply = Reply(accepted=False, reason="NoReason")
    assert held(rig) == (rig.reply, [], 0.0)


def test_one_that_is_alone_holds_at_once() -> None:
    rig = Rig(single("n1", 1))
    rig.requests = Requests("n1", CONFIG, rig, Alone(), Way(rig), rig)
    assert held(rig) == (rig.reply, ["H-1"], 0.0)


# --- notify and invite ----------------------------------------------------------------------------


async def test_a_test_of_notify_is_this_nodes_own_whoever_leads() -> None:
    for leader in ("n2", None):
        rig = Rig(led_by(leader))
        rig.told = ("exec /a: told", "mail b: told")
        reply = await rig.requests.request(AskNotify(by="alice"))
        assert (reply.accepted, reply.notes) == (True, rig.told)
        assert str(CONFIG) in reply.message
        assert (rig.here, rig.sent, [page.key for page in rig.pages]) == ([], [], ["test"])


async def test_a_way_that_fails_is_named() -> None:
    rig = Rig(led_by("n2"))
    rig.told = ("exec /a: told", "exec /b: exit 3: no such pager")
    reply = await rig.requests.request(AskNotify(by="alice"))
    assert (reply.accepted, reply.reason) == (False, "NotifyFailed")
    assert (reply.message, reply.notes) == ("exec /b: exit 3: no such pager", rig.told)


async def test_no_way_at_all_is_told_with_its_fix() -> None:
    reply = await Rig(led_by("n2")).requests.request(AskNotify(by="alice"))
    assert (reply.accepted, reply.reason) == (False, "NoWay")
    assert "notify" in reply.message


async def test_an_invitation_or_why_not() -> None:
    rig = Rig(led_by("n2"))
    invited = await rig.requests.invite(AskInvite(name="n3"))
    assert rig.invited == ["n3"]
    assert isinstance(invited, Invited)
    assert (invited.code, invited.expires_s) == ("cxm1-X", 600.0)
    rig.code = ""
    refused = await rig.requests.invite(AskInvite(name="n3"))
    assert isinstance(refused, Reply)
    assert (refused.accepted, refused.reason) == (False, "Alone")
