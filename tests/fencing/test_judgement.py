"""Judgement: each rule by itself, on a node that would be shot but for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fencing.judgement import Accuser, Belief, Probes, Rules, Sight, judge
from membership.view import PeerState

DEAD = Sight(
    node="b",
    peer=PeerState.DEAD,
    silent_s=13.0,
    probes=Probes(failing_s=8.0, failed=4),
    observers=("c",),
    victims=3,
)
WELL = Accuser(name="a")
RULES = Rules(interval_s=1.0, dead_after_s=10.0, settle_s=2.0)


def test_everything_agrees() -> None:
    verdict = judge(DEAD, WELL, RULES)
    assert verdict.belief is Belief.DOOMED
    assert verdict.may_shoot


@pytest.mark.parametrize(
    ("change", "belief", "reason"),
    [
        ({"peer": PeerState.ALIVE}, Belief.WELL, ""),
        ({"peer": PeerState.UNKNOWN}, Belief.WELL, ""),
        ({"peer": PeerState.LEFT}, Belief.AWAY, "Left"),
        ({"peer": PeerState.SUSPECT}, Belief.WATCHED, "Settling"),
        ({"silent_s": 11.9}, Belief.WATCHED, "Settling"),
        ({"silent_s": None}, Belief.WATCHED, "Settling"),
        ({"probes": Probes(failing_s=0.5, failed=1)}, Belief.WATCHED, "Probing"),
        ({"probes": Probes()}, Belief.WATCHED, "Probing"),
        ({"probes": Probes(answered_s=0.5)}, Belief.BLIND, "Blind"),
        ({"certificate": "C-1"}, Belief.DEAD, "Certified"),
        ({"away": "shut down by somebody"}, Belief.AWAY, "Away"),
        ({"victims": 0}, Belief.SPARED, "NothingToRecover"),
        ({"heard_by": ("c",)}, Belief.REFUSED, "Contradicted"),
        ({"node": "a"}, Belief.REFUSED, "Oneself"),
    ],
)
def test_what_the_node_shows(change: dict[str, object], belief: Belief, reason: str) -> None:
    verdict = judge(replace(DEAD, **change), WELL, RULES)  # type: ignore[arg-type]
    assert (verdict.belief, verdict.reason) == (belief, reason)
    assert not verdict.may_look


@pytest.mark.parametrize(
    "accuser",
    [
        Accuser(name="a", lag_s=1.5),
        Accuser(name="a", mute="a twin"),
        Accuser(name="a", hears=False),
        Accuser(name="a", observes=False),
    ],
)
def test_an_accuser_that_is_not_well_accuses_nobody(accuser: Accuser) -> None:
    verdict = judge(DEAD, accuser, RULES)
    assert (verdict.belief, verdict.reason) == (Belief.REFUSED, "AccuserUnfit")


def test_what_is_forbidden_for_all_is_forbidden_here() -> None:
    rules = replace(RULES, forbidden=("Held", "hold H-1", "cxm release H-1"))
    verdict = judge(DEAD, WELL, rules)
    assert (verdict.reason, verdict.remedy) == ("Held", "cxm release H-1")
    frozen = judge(DEAD, WELL, replace(RULES, frozen={"b": "frozen by alice"}))
    assert (frozen.reason, frozen.remedy) == ("Frozen", "cxm thaw node/b")


def test_the_pool_waits_for_a_node_with_nothing_to_recover_and_still_it_is_not_shot() -> None:
    """That it is off may be read and believed; to have it switched off takes a human's word."""
    master = replace(DEAD, victims=0, withholds=True)
    verdict = judge(master, WELL, RULES)
    assert (verdict.may_look, verdict.may_shoot) == (True, False)
    assert verdict.reason == "NothingToRecover"
    assert "cxm fence b" in verdict.remedy
    assert judge(replace(master, ordered="alice: it hangs"), WELL, RULES).may_shoot
    assert judge(replace(master, away="somebody's reboot"), WELL, RULES).belief is Belief.AWAY
    storm = replace(RULES, brakes={"b": ("Storm", "half of all")})
    assert not judge(master, WELL, storm).may_shoot


def test_a_master_without_a_daemon_is_not_judged_by_its_toolstack_alone() -> None:
    failing = Probes(failing_s=20.0, failed=4)
    alone = replace(DEAD, peer=None, probes=failing, withholds=True)
    verdict = judge(alone, WELL, RULES)
    assert (verdict.belief, verdict.reason) == (Belief.REFUSED, "OneWitness")
    assert "the pool's master" not in verdict.message


def test_a_brake_limits_shooting_not_believing() -> None:
    verdict = judge(DEAD, WELL, replace(RULES, brakes={"b": ("Storm", "half of all")}))
    assert verdict.may_look
    assert not verdict.may_shoot


BARE = replace(DEAD, peer=None, silent_s=None, probes=Probes(failing_s=13.0, failed=9))


def test_a_node_without_a_daemon_needs_a_second_witness() -> None:
    assert judge(BARE, WELL, RULES).reason == "OneWitness"
    assert judge(replace(BARE, unheard_s=1.0), WELL, RULES).may_shoot


def test_a_node_without_a_daemon_is_well_while_its_toolstack_answers() -> None:
    bare = replace(BARE, probes=Probes(answered_s=1.0))
    assert judge(bare, WELL, RULES).belief is Belief.WELL
    early = replace(BARE, probes=Probes(failing_s=11.0, failed=9))
    assert judge(early, WELL, RULES).belief is Belief.WATCHED


def test_death_that_is_certain_is_told_whatever_forbids_to_fence() -> None:
    rules = replace(RULES, forbidden=("Held", "hold H-1", ""))
    assert judge(replace(DEAD, certificate="C-1"), WELL, rules).belief is Belief.DEAD
