"""The detector: what is news of a living peer, what is an echo of the past, and whose silence counts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from membership.detector import Detector
from membership.heartbeat import DISK, Beat, Echo
from membership.roster import Timing
from membership.view import PeerState

MINE = b"mine"
TIMING = Timing(interval_s=1.0, suspect_after_s=3.0, dead_after_s=6.0)
ECHO = Echo(generation=1, nonce=MINE, seq=1)


def detector() -> Detector:
    made = Detector(MINE)
    made.follow(["b"], 100.0)
    return made


def beat(seq: int, generation: int = 1, nonce: bytes = b"b1", channel: int = 0) -> Beat:
    return Beat(
        cluster="c",
        sender="b",
        generation=generation,
        nonce=nonce,
        seq=seq,
        channel=channel,
        echo=ECHO,
    )


def test_only_a_higher_number_is_news() -> None:
    heard = detector()
    assert [heard.news(beat(seq), 0, 101.0) for seq in (3, 3, 2, 4, 4)] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_who_does_not_echo_us_was_perhaps_recorded() -> None:
    heard = detector()
    assert not heard.news(replace(beat(3), echo=None), 0, 101.0)
    assert not heard.news(replace(beat(4), echo=replace(ECHO, nonce=b"old")), 0, 101.0)
    assert not heard.alive("b", TIMING, 101.0)
    assert heard.news(beat(5), 0, 101.0)
    assert heard.alive("b", TIMING, 101.0)


def test_what_was_said_in_an_earlier_life_is_never_news_again() -> None:
    heard = detector()
    assert heard.news(beat(900), 0, 101.0)
    assert heard.news(beat(1, generation=2, nonce=b"b2"), 0, 102.0)
    assert not heard.news(beat(901), 0, 103.0)
    assert heard.tracks["b"].echo == Echo(generation=2, nonce=b"b2", seq=1)


def test_two_daemons_of_one_generation_are_twins_and_the_second_is_not_heard() -> None:
    heard = detector()
    assert heard.news(beat(3), 0, 101.0)
    assert not heard.news(beat(9, nonce=b"b9"), 0, 102.0)
    assert heard.tracks["b"].problem.startswith("twin")
    assert heard.news(beat(1, generation=2, nonce=b"b2"), 0, 103.0)
    assert heard.tracks["b"].problem == ""


def test_a_message_counts_only_on_the_channel_for_which_it_was_written() -> None:
    """Two cables plugged together must not look like two channels that work."""
    heard = detector()
    assert not heard.news(beat(3, channel=1), 0, 101.0)
    assert not heard.news(beat(3, channel=DISK), 0, 101.0)
    assert heard.tracks["b"].heard == {}


def test_what_was_overtaken_on_another_channel_is_life_but_says_nothing() -> None:
    heard = detector()
    assert heard.news(replace(beat(4), leaving=True), 0, 101.0)
    assert heard.news(beat(3, channel=1), 1, 102.0)
    assert heard.state("b", TIMING, 102.0) is PeerState.LEFT
    assert heard.tracks["b"].heard == {0: 101.0, 1: 102.0}


def test_goodbye_ends_with_the_next_message() -> None:
    heard = detector()
    heard.news(replace(beat(4), leaving=True), 0, 101.0)
    assert heard.state("b", TIMING, 900.0) is PeerState.LEFT
    heard.news(beat(1, generation=2, nonce=b"b2"), 0, 901.0)
    assert heard.state("b", TIMING, 901.0) is PeerState.ALIVE


def test_on_the_disk_only_a_change_is_life() -> None:
    """What stands there when we first look may be years old."""
    heard = detector()
    assert not heard.news(beat(7, channel=DISK), DISK, 101.0)
    assert not heard.news(beat(7, channel=DISK), DISK, 102.0)
    assert not heard.alive("b", TIMING, 102.0)
    assert heard.news(beat(8, channel=DISK), DISK, 103.0)
    assert heard.alive("b", TIMING, 103.0)


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [
        (3.0, PeerState.ALIVE),
        (3.1, PeerState.SUSPECT),
        (6.0, PeerState.SUSPECT),
        (6.1, PeerState.DEAD),
    ],
)
def test_silence_has_its_limits(silent_s: float, state: PeerState) -> None:
    heard = detector()
    heard.news(beat(3), 0, 200.0)
    assert heard.state("b", TIMING, 200.0 + silent_s) is state


def test_one_channel_that_works_is_enough() -> None:
    heard = detector()
    heard.news(beat(3), 0, 101.0)
    heard.news(beat(4, channel=1), 1, 109.0)
    assert heard.state("b", TIMING, 110.0) is PeerState.ALIVE
    assert heard.channel_state("b", 0, TIMING, 110.0) is PeerState.DEAD
    assert heard.channel_state("b", 1, TIMING, 110.0) is PeerState.ALIVE


def test_who_was_never_heard_is_unknown_then_dead_and_never_alive() -> None:
    heard = detector()
    assert heard.peer("b", [("net1", 0)], (), TIMING, 102.0).state is PeerState.UNKNOWN
    assert not heard.alive("b", TIMING, 102.0)
    assert heard.peer("b", [("net1", 0)], (), TIMING, 107.0).state is PeerState.DEAD


def test_silence_while_we_were_away_is_ours() -> None:
    heard = detector()
    heard.news(beat(3), 0, 101.0)
    heard.forgive(58.0, 161.0)
    assert heard.state("b", TIMING, 161.0) is PeerState.ALIVE
    assert heard.state("b", TIMING, 162.1) is PeerState.SUSPECT
    assert heard.state("b", TIMING, 165.1) is PeerState.DEAD


def test_no_more_is_forgiven_than_there_was() -> None:
    heard = detector()
    heard.news(beat(3), 0, 101.0)
    heard.forgive(1e6, 102.0)
    assert heard.tracks["b"].heard == {0: 102.0}
    assert heard.state("b", TIMING, 108.1) is PeerState.DEAD


def test_strangers_are_not_kept() -> None:
    heard = detector()
    for number in range(1000):
        assert not heard.news(replace(beat(1), sender=f"s{number}"), 0, 101.0)
    assert list(heard.tracks) == ["b"]


def test_who_leaves_the_roster_is_forgotten_and_who_stays_is_not() -> None:
    heard = detector()
    heard.news(beat(3), 0, 101.0)
    heard.follow(["b", "c"], 102.0)
    assert heard.tracks["b"].heard == {0: 101.0}
    heard.follow(["c"], 103.0)
    assert list(heard.tracks) == ["c"]
    assert heard.tracks["c"].since_s == 102.0


def test_it_tells_in_which_boot_of_its_machine_a_peer_lives() -> None:
    """By that a daemon of the boot that was ended is told from one of the next."""
    heard = detector()
    heard.news(replace(beat(3), boot="first"), 0, 101.0)
    assert heard.peer("b", [("net1", 0)], (), TIMING, 101.0).boot == "first"
    heard.news(replace(beat(1, generation=2, nonce=b"b2"), boot="next"), 0, 102.0)
    assert heard.peer("b", [("net1", 0)], (), TIMING, 102.0).boot == "next"
