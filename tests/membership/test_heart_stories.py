"""Hearts among each other: who is believed alive, who leads, and who must not."""

from __future__ import annotations

from msgspec.structs import replace

from membership.events import HandOver, Heard, KeysChanged, Leaving
from membership.heartbeat import PROTOCOL
from membership.roster import Candidacy
from tests.membership.heart_net import HeartNet


def led(*names: str, disk: bool = False, seed: int = 1) -> tuple[HeartNet, str]:
    """A network in which one acts."""
    net = HeartNet(*names, disk=disk, seed=seed)
    net.run(16.0)
    (leader,) = net.acting()
    return net, leader


def test_one_leads_and_all_know_it() -> None:
    net, leader = led("a", "b", "c")
    assert net.leaders() == {leader}
    assert net.faults == []


def test_one_alone_leads_itself() -> None:
    assert led("a")[1] == "a"


def test_when_the_leader_falls_silent_another_acts_soon_and_the_old_one_follows() -> None:
    net, old = led("a", "b", "c")
    net.pause(old)
    net.run(14.0)
    (new,) = net.acting()
    assert new != old
    net.resume(old)
    net.run(2.0)
    assert net.leaders() == {new}
    assert net.faults == []


def test_a_majority_is_needed_and_enough() -> None:
    net, leader = led("a", "b", "c", "d", "e")
    others = [name for name in net.seats if name != leader]
    net.kill(others[0])
    net.kill(others[1])
    net.run(10.0)
    assert net.acting() == [leader]
    net.kill(others[2])
    net.run(5.0)
    assert net.acting() == []
    assert net.leaders() == {None}
    net.boot(others[0])
    net.run(16.0)
    assert len(net.acting()) == 1


def test_one_of_two_channels_is_enough() -> None:
    net, leader = led("a", "b", "c")
    net.cut_channels.add(0)
    net.run(10.0)
    assert net.acting() == [leader]
    view = net.seats[leader].view
    assert view is not None
    other = next(name for name in net.seats if name != leader)
    assert {view.peers[other].channels[name].value for name in ("net1", "net2")} == {
        "dead",
        "alive",
    }


def test_one_that_is_not_heard_does_not_disturb_those_who_agree() -> None:
    """It hears all others, but they do not hear it: its asking must not end a good leadership."""
    net, leader = led("a", "b", "c")
    mute = next(name for name in net.seats if name != leader)
    for other in net.seats:
        net.cut.add((mute, other))
    net.run(20.0)
    assert net.acting() == [leader]
    assert len(net.seats[leader].terms_led) == 1


def test_a_leader_that_is_heard_but_hears_nobody_stops_acting() -> None:
    net, leader = led("a", "b", "c")
    for other in net.seats:
        net.cut.add((other, leader))
    net.run(5.0)
    assert leader not in net.acting()
    assert net.faults == []


def test_of_two_without_a_disk_neither_leads_alone() -> None:
    net, leader = led("a", "b")
    assert net.acting() == [leader]
    net.sever("a", "b")
    net.run(10.0)
    assert net.acting() == []
    net.cut.clear()
    net.run(16.0)
    assert len(net.acting()) == 1


def test_of_two_with_a_disk_one_leads_as_long_as_link_or_disk_is_there() -> None:
    net, leader = led("a", "b", disk=True)
    net.sever("a", "b")
    net.run(10.0)
    assert net.acting() == [leader]
    assert net.leaders() == {leader}
    net.disk_ok = False
    net.run(8.0)
    assert net.acting() == []
    net.disk_ok = True
    net.run(20.0)
    assert len(net.acting()) == 1
    assert net.faults == []


def test_of_two_with_a_disk_the_other_takes_over_by_the_disk() -> None:
    net, leader = led("a", "b", disk=True)
    net.sever("a", "b")
    net.pause(leader)
    net.run(16.0)
    (new,) = net.acting()
    assert new != leader
    net.resume(leader)
    net.run(10.0)
    assert net.acting() == [new]
    assert net.faults == []


def test_without_a_sign_of_life_of_cxmd_nobody_stays_leader() -> None:
    net, leader = led("a", "b", "c")
    net.seats[leader].candid = False
    net.run(16.0)
    (new,) = net.acting()
    assert new != leader
    assert net.state(new, leader) == "alive"


def test_who_is_told_not_to_lead_does_not() -> None:
    net, leader = led("a", "b", "c")
    net.seats[leader].candid = False
    net.tell(leader, Candidacy(floor=40, healthy=False))
    for name in net.seats:
        net.tell(name, Candidacy(floor=40, healthy=name != leader))
    net.run(3.0)
    assert leader not in net.acting()


def test_terms_begin_above_what_cxmd_knows() -> None:
    net = HeartNet("a", "b", "c")
    for seat in net.seats.values():
        seat.candid = False
    for _ in range(20):
        for name in net.seats:
            net.tell(name, Candidacy(floor=40))
        net.run(1.0)
    (leader,) = net.acting()
    assert min(net.seats[leader].terms_led) > 40


def test_a_leader_hands_over_to_the_one_it_names() -> None:
    net, leader = led("a", "b", "c")
    heir = next(name for name in net.seats if name != leader)
    net.tell(leader, HandOver(to=heir))
    net.run(12.0)
    assert net.acting() == [heir]
    assert net.faults == []


def test_who_stops_cleanly_has_left() -> None:
    net, leader = led("a", "b", "c")
    net.tell(leader, Leaving())
    net.run(0.2)
    net.kill(leader)
    net.run(1.0)
    other = next(name for name in net.seats if name != leader)
    assert net.state(other, leader) == "left"
    net.run(12.0)
    assert len(net.acting()) == 1


def test_a_machine_that_slept_leads_no_more_and_suspects_nobody() -> None:
    """CLOCK_BOOTTIME went on without CLOCK_MONOTONIC: the daemon was not there."""
    net, leader = led("a", "b", "c")
    net.seats[leader].skew_s += 60.0
    net.run(0.6)
    assert net.acting() == []
    assert {net.state(leader, name) for name in net.seats if name != leader} == {"alive"}
    net.run(16.0)
    assert len(net.acting()) == 1
    assert net.faults == []


def test_what_was_recorded_proves_nothing_later() -> None:
    net, leader = led("a", "b", "c")
    net.record = True
    net.run(3.0)
    net.record = False
    other = next(name for name in net.seats if name != leader)
    net.kill(other)
    net.boot(leader)
    net.run(6.0)
    for to, channel, data in net.replay:
        net.tell(to, Heard(channel=channel, data=data))
    assert net.state(leader, other) != "alive"


def test_a_twin_makes_the_node_mute() -> None:
    net, leader = led("a", "b", "c")
    net.record = True
    net.run(1.0)
    mine = next(data for to, _, data in net.replay if to != leader)
    sender = next(
        name
        for name in net.seats
        if b"sender" in mine and name.encode() in mine.split(b"sender")[1][:3]
    )
    seat = net.seats[sender]
    net.boot(sender)
    net.tell(sender, Heard(channel=0, data=mine))
    assert seat.view is not None
    assert seat.view.health.mute == "", "what it said before it was started anew is no twin"
    seat.memory = replace(seat.memory, generation=seat.memory.generation - 2)
    net.boot(sender)
    net.tell(sender, Heard(channel=0, data=mine))
    assert seat.view.health.mute.startswith("twin")
    net.run(16.0)
    assert sender not in net.acting()
    assert net.state(next(name for name in net.seats if name != sender), sender) == "dead"


def test_a_node_whose_state_went_back_stays_out() -> None:
    net, leader = led("a", "b", "c")
    net.kill(leader)
    seat = net.seats[leader]
    seat.memory = replace(seat.memory, generation=0, term=0, voted_for="")
    net.boot(leader)
    net.boot(leader)
    seat.memory = replace(seat.memory, generation=0)
    net.boot(leader)
    net.run(16.0)
    view = net.seats[leader].view
    assert view is not None
    assert view.health.mute.startswith("rollback")
    assert len(net.acting()) == 1
    assert leader not in net.acting()


def test_another_version_of_the_protocol_is_heard_and_named() -> None:
    net, leader = led("a", "b", "c")
    other = next(name for name in net.seats if name != leader)
    net.kill(other)
    net.boot(other, protocol=PROTOCOL + 1)
    net.run(5.0)
    assert net.state(leader, other) == "alive"
    view = net.seats[leader].view
    assert view is not None
    assert "version" in view.peers[other].problem


def test_keys_change_one_node_after_the_other() -> None:
    net, leader = led("a", "b", "c")
    old, new = b"k" * 32, b"n" * 32
    for keys in ((old, new), (new, old), (new,)):
        for name in net.seats:
            net.tell(name, KeysChanged(keys=keys))
            net.run(2.0)
    assert net.acting() == [leader]
    assert len(net.seats[leader].terms_led) == 1


def test_rubbish_changes_nothing() -> None:
    net, leader = led("a", "b", "c")
    for size in (0, 1, 8, 40, 300, 1400, 9000):
        net.tell(leader, Heard(channel=0, data=net.random.randbytes(size)))
        net.tell(leader, Heard(channel=7, data=b"CXMH" + net.random.randbytes(size)))
    net.run(2.0)
    assert net.acting() == [leader]
