"""A hold on its way to other nodes: whom it is brought to, how long for, and what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from membership.roster import Timing, Voters
from membership.view import Peer, PeerState, View
from reconciler.edge.acknowledging import EVERY_S, QUIET_S, TELL_EVERY_S, WITHIN_S, Acknowledging
from reconciler.holding import HOLDS, hold
from simulator.clock import run_virtual

NODES = ("n1", "n2", "n3", "n4", "n5")
TIMING = Timing()
NEVER = float("inf")


def led_by(leader: str | None) -> View:
    return View(
        me="n1",
        term=4,
        leader=leader,
        lead_until_s=NEVER if leader == "n1" else 0.0,
        peers={name: Peer(state=PeerState.ALIVE) for name in NODES},
        engine="builtin",
        voters=Voters(epoch=1, revision=1, names=NODES),
    )


class Rig:
    """Node n1; the others have a hold from `has_s` on, and take `takes_s` to say so."""

    def __init__(self, view: View, **has_s: float) -> None:
        self._view = view
        self.led_since_s = -NEVER
        self.acts_alone = False
        self.timing = TIMING
        self.has_s = has_s
        self.takes_s = 0.0
        self.asked: list[str] = []
        self.said: list[tuple[float, str]] = []

    @property
    def view(self) -> View:
        return self._view

    def sees(self, view: View) -> None:
        self._view, self.led_since_s = view, self.now_s()

    def hears(self, view: View) -> None:
        """The same leader as before."""
        self._view = view

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def holds(self, peer: str) -> bool:
        self.asked.append(peer)
        await asyncio.sleep(self.takes_s)
        return self.now_s() >= self.has_s.get(peer, NEVER)

    async def told(self, waiting: str) -> None:
        self.said.append((self.now_s(), waiting))

    def counts(
        self, *, change: tuple[float, Callable[[], None]] | None = None
    ) -> tuple[str, float]:
        """What is told in the end, and when."""

        async def waiting() -> tuple[str, float]:
            if change is not None:
                asyncio.get_running_loop().call_later(*change)
            lacks = await Acknowledging(self, self).counts(hold("H-1"), self.told)
            return lacks, self.now_s()

        return run_virtual(waiting())


def test_a_leader_waits_for_a_blocking_set_beside_itself() -> None:
    """Of five voters three lead: no three are without one of n1, n4 and n5."""
    assert Rig(led_by("n1"), n4=3.0, n5=0.0).counts() == ("", 3.0)
    lacks, took_s = Rig(led_by("n1"), n5=0.0).counts()
    assert WITHIN_S + TIMING.wait_s <= took_s <= WITHIN_S + TIMING.wait_s + EVERY_S
    assert "on n1, n5; not known to be on n2, n3, n4." in lacks


def test_another_leader_has_to_have_it_too() -> None:
    assert Rig(led_by("n2"), n2=7.2, n4=0.0, n5=0.0).counts() == ("", 7.5)
    lacks, _ = Rig(led_by("n2"), n3=0.0, n4=0.0, n5=0.0).counts()
    assert "not known to be on n2. Waited in vain for n2, which leads, to store it." in lacks


def test_without_a_leader_an_unseen_lease_is_waited_for_as_well() -> None:
    rig = Rig(led_by(None), n4=3.0, n5=0.0)
    lacks, took_s = rig.counts()
    assert lacks == ""
    assert 3.0 + TIMING.wait_s <= took_s <= 3.0 + TIMING.wait_s + 1.0
    assert rig.said[-1] == (3.0, "any lease that is not seen from here to end: 8 s")


def test_a_leader_that_was_seen_a_moment_ago_counts_as_one() -> None:
    """Somebody was led to by n2 until now: that one's lease may go on by voters who are not heard."""
    rig = Rig(led_by("n2"), n4=0.0, n5=0.0)
    lacks, took_s = rig.counts(change=(6.0, lambda: rig.sees(led_by(None))))
    assert lacks == ""
    assert 6.0 + TIMING.wait_s <= took_s <= 7.0 + TIMING.wait_s


def test_who_leads_is_asked_anew_while_it_waits() -> None:
    """The one that led before may not have ended yet, though its successor knows."""
    rig = Rig(led_by("n2"), n3=0.0, n4=0.0)
    _, took_s = rig.counts(change=(5.1, lambda: rig.sees(replace(led_by("n3"), term=5))))
    assert 5.1 + TIMING.wait_s <= took_s <= 6.0 + TIMING.wait_s


def test_who_is_heard_to_hold_needs_no_asking() -> None:
    """The leader is reached by no cable, and its heartbeats on the disk tell that it holds."""
    seen = replace(led_by("n2"), voters=Voters(epoch=1, revision=1, names=("n1", "n2"), disk=True))
    holds = Peer(state=PeerState.ALIVE, notes={HOLDS: "H-0 H-1"})
    rig = Rig(seen)
    heard = replace(seen, peers={**seen.peers, "n2": holds})
    assert rig.counts(change=(3.2, lambda: rig.hears(heard))) == ("", 4.0)


def test_silent_nodes_do_not_hide_those_that_answer() -> None:
    rig = Rig(led_by("n1"), n4=0.0, n5=0.0)
    silent = asyncio.sleep

    async def holds(peer: str) -> bool:
        if peer in ("n2", "n3"):
            await silent(10.0)
        return peer in ("n4", "n5")

    rig.holds = holds  # type: ignore[method-assign]
    assert rig.counts() == ("", 0.0)


def test_what_has_it_is_not_asked_again() -> None:
    rig = Rig(led_by("n2"), n2=2.0, n3=0.0, n4=0.0, n5=0.0)
    assert rig.counts() == ("", 2.0)
    assert sorted(set(rig.asked)) == ["n2", "n3", "n4", "n5"]
    assert [rig.asked.count(name) for name in ("n3", "n4", "n5")] == [1, 1, 1]


def test_what_is_waited_for_is_told_when_it_changes_and_now_and_then() -> None:
    rig = Rig(led_by("n2"), n2=25.0, n4=2.0, n5=2.0)
    rig.counts()
    assert rig.said[0] == (QUIET_S, "2 of n2, n3, n4, n5 to store it (37 s at most)")
    assert [waiting.partition(" (")[0] for _, waiting in rig.said] == [
        "2 of n2, n3, n4, n5 to store it",
        *["n2, which leads, to store it"] * 3,
    ]
    moments = [at_s for at_s, _ in rig.said]
    assert moments == [QUIET_S, 2.0, 2.0 + TELL_EVERY_S, 2.0 + 2 * TELL_EVERY_S]


def test_what_is_done_at_once_is_not_worth_a_word() -> None:
    rig = Rig(led_by("n2"), n2=0.5, n4=0.5)
    assert rig.counts() == ("", 0.5)
    assert rig.said == []


def test_who_leads_alone_waits_for_nobody() -> None:
    """Of two voters the other one is dead, and the pool knows that this one leads without it."""
    two = replace(led_by("n1"), voters=Voters(epoch=1, revision=1, names=("n1", "n2"), disk=True))
    rig = Rig(two)
    assert "Waited in vain for n2" in rig.counts()[0]
    rig.acts_alone = True
    assert rig.counts() == ("", 0.0)
