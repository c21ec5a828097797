"""One heart among peers that the test plays: what it answers, what it believes, what moves it not at all."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from membership import slots
from membership.events import (
    Effect,
    Event,
    Heard,
    Instant,
    Leaving,
    Machine,
    Memory,
    Remember,
    RosterChanged,
    Send,
    SlotsRead,
    Tick,
    WriteSlot,
)
from membership.heart import REPLIES, Heart
from membership.heartbeat import DISK, Ack, Beat, Echo, decode, encode
from membership.roster import Candidacy, Member, Roster, Timing, Voters
from membership.view import View

KEY = b"k" * 32
MINE = b"mine" * 4
TIMING = Timing(interval_s=1.0, suspect_after_s=5.0, dead_after_s=10.0)
HEADER = slots.pack_header(slots.Header(cluster_id="c", disk_id="d1"))


def roster(*names: str, disk: bool = False, epoch: int = 3) -> Roster:
    return Roster(
        cluster_id="c",
        me="a",
        members=tuple(
            Member(name=name, addresses=(("", 1), ("", 2)), slot=slot)
            for slot, name in enumerate(names)
        ),
        voters=Voters(epoch=epoch, names=names, disk=disk),
        timing=TIMING,
        disk="/disk" if disk else None,
    )


class Alone:
    """Node `a`, whose peers say what the test lets them say. Both clocks go alike unless moved."""

    def __init__(self, *names: str, disk: bool = False) -> None:
        self.heart = Heart(
            roster=roster(*names, disk=disk),
            keys=(KEY,),
            memory=Memory(generation=4, term=7, disk_id="d1" if disk else ""),
            machine=Machine(boot_id="b"),
            nonce=MINE,
            random=Random(1),
        )
        self.s = 100.0
        self.skew_s = 0.0
        self.memory = Memory(generation=4, term=7)
        self.seqs: dict[str, int] = {}
        self.sent: list[tuple[str, int, Beat]] = []
        self.written: list[Beat] = []
        self._take(self.heart.start(self.now))

    @property
    def now(self) -> Instant:
        return Instant(boot_s=self.s + self.skew_s, mono_s=self.s)

    @property
    def view(self) -> View:
        return self.heart.view(self.now)

    @property
    def last(self) -> Beat:
        return self.sent[-1][2]

    def tell(self, event: Event) -> list[tuple[str, int, Beat]]:
        """What is sent on it."""
        before = len(self.sent)
        self._take(self.heart.handle(event, self.now))
        return self.sent[before:]

    def wait(self, seconds: float, *, alive: str = "", candid: bool = True) -> None:
        """Let time pass, in which these peers say that they live."""
        until_s = self.s + seconds
        while self.s < until_s:
            self.s = min(until_s, self.s + 0.25)
            if candid:
                self.tell(Candidacy())
            for name in alive:
                self.hear(name)
            self.tell(Tick())

    def hear(
        self, name: str, channel: int = 0, seq: int = 0, **said: object
    ) -> list[tuple[str, int, Beat]]:
        number = seq or self.seqs.get(name, 0) + 1
        self.seqs[name] = max(number, self.seqs.get(name, 0))
        return self.tell(
            Heard(channel=channel, data=encode(self.beat(name, channel, number, **said), KEY))
        )

    @staticmethod
    def beat(name: str, channel: int, seq: int, **said: object) -> Beat:
        beat = Beat(
            cluster="c",
            sender=name,
            generation=1,
            nonce=name.encode(),
            seq=seq,
            channel=channel,
            echo=Echo(generation=4, nonce=MINE, seq=1),
            term=7,
            epoch=3,
        )
        return replace(beat, **said)

    def disk(self, *others: Beat, own: Beat | None = None) -> None:
        """The disk was written and read: our own slot, and what the others have in theirs."""
        mine = own if own is not None else self.written[-1]
        blocks = tuple(slots.pack(encode(beat, KEY)) for beat in (mine, *others))
        self.tell(SlotsRead(began_s=self.now.boot_s, header=HEADER, slots=blocks))

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer=peer, channel=channel, data=data):
                    self.sent.append((peer, channel, _read(data)))
                case WriteSlot(data=data):
                    self.written.append(_read(slots.unpack(data) or b""))
                case Remember(memory=memory):
                    self.memory = memory
                case _:
                    pass


def _read(frame: bytes) -> Beat:
    found = decode(frame, (KEY,))
    assert found is not None
    return found[1]


def asking(alone: Alone, alive: str) -> None:
    while alone.last.role != "asking":
        alone.wait(0.25, alive=alive)


def candidate(alone: Alone, alive: str) -> None:
    asking(alone, alive)
    said = alone.last
    alone.hear(alive[0], ack=Ack(term=said.term, seq=said.seq, answer="would", own=7))
    assert alone.last.role == "candidate"


def states(alone: Alone) -> dict[str, str]:
    return {name: peer.state.value for name, peer in alone.view.peers.items()}


def test_a_candidate_is_answered_at_once_on_its_channel_and_the_vote_is_durable_before() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="b", candid=False)
    ((peer, channel, said),) = alone.hear("b", 1, role="candidate", term=9)
    assert (peer, channel) == ("b", 1)
    assert said.ack == Ack(term=9, seq=alone.seqs["b"], answer="yes", own=9)
    assert (alone.memory.term, alone.memory.voted_for) == (9, "b")


def test_a_vote_is_asked_to_be_remembered_before_it_is_sent() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="b", candid=False)
    data = encode(alone.beat("b", 0, 900, role="candidate", term=9), KEY)
    kinds = [type(effect) for effect in alone.heart.handle(Heard(channel=0, data=data), alone.now)]
    assert kinds.index(Remember) < kinds.index(Send)


def test_a_flood_is_not_answered_by_a_flood() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="b", candid=False)
    answers = [len(alone.hear("b", role="leader", term=9)) for _ in range(500)]
    assert sum(answers) <= REPLIES
    alone.wait(1.0, candid=False)
    assert len(alone.hear("b", role="leader", term=9)) == 1


def test_what_was_overtaken_is_not_answered() -> None:
    """It stood when it said that; what it said later says that it does not any more."""
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="b", candid=False)
    alone.hear("b", 0, seq=900)
    assert alone.hear("b", 1, seq=899, role="candidate", term=9) == []
    assert alone.memory.term == 7


def test_of_a_duplicate_nothing_comes() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="b", candid=False)
    assert len(alone.hear("b", 0, seq=900, role="candidate", term=9)) == 1
    assert alone.hear("b", 0, seq=900, role="candidate", term=9) == []


def test_an_answer_counts_for_what_was_asked_in_that_term_and_for_nothing_else() -> None:
    alone = Alone("a", "b", "c")
    asking(alone, "b")
    said = alone.last
    for ack in (
        Ack(term=said.term - 1, seq=said.seq, answer="would", own=7),
        Ack(term=said.term, seq=said.seq, answer="yes", own=7),
        Ack(term=said.term, seq=said.seq, answer="perhaps", own=7),
        Ack(term=said.term, seq=said.seq + 5000, answer="would", own=7),
        Ack(term=said.term, seq=-1, answer="would", own=7),
    ):
        alone.hear("b", ack=ack)
        assert alone.heart.view(alone.now).leader is None
        assert alone.memory.term == 7
    alone.hear("b", ack=Ack(term=said.term, seq=said.seq, answer="would", own=7))
    assert alone.memory.term == said.term


def test_who_knows_later_voters_keeps_a_node_from_standing() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(10.0, alive="b", candid=False)
    alone.hear("b", epoch=4)
    for _ in range(60):
        alone.s += 0.25
        alone.tell(Candidacy())
        alone.hear("b", epoch=4)
        alone.tell(Tick())
    assert "asking" not in {said.role for _, _, said in alone.sent}


def test_who_leaves_does_not_stand_again() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(4.0, alive="b")
    alone.tell(Leaving())
    alone.wait(20.0, alive="b")
    assert "asking" not in {said.role for _, _, said in alone.sent}
    assert alone.last.leaving


def test_silence_while_the_machine_slept_is_nobody_s() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(3.0, alive="bc")
    alone.skew_s += 3600.0
    alone.tell(Tick())
    assert states(alone) == {"a": "alive", "b": "alive", "c": "alive"}
    alone.wait(12.0, alive="c")
    assert states(alone) == {"a": "alive", "b": "dead", "c": "alive"}


def test_a_daemon_that_was_stopped_suspects_nobody_and_gets_over_the_dead_in_time() -> None:
    """What lies in the socket when it goes on is older than it looks, by less than an interval."""
    alone = Alone("a", "b", "c")
    alone.wait(3.0, alive="bc")
    alone.s += 60.0
    for _ in range(40):
        alone.hear("b")
        assert states(alone)["c"] == "alive"
    alone.wait(TIMING.dead_after_s + 0.5, alive="c")
    assert states(alone) == {"a": "alive", "b": "dead", "c": "alive"}


@pytest.mark.parametrize("jump_s", [3.0, 60.0, -3.0])
def test_a_clock_that_jumped_ends_no_promise(jump_s: float) -> None:
    """CLOCK_BOOTTIME says that the leader's lease is over. It may be wrong."""
    alone = Alone("a", "b", "c")
    alone.wait(20.0, alive="bc", candid=False)
    alone.hear("b", role="leader", term=9)
    alone.skew_s += jump_s
    alone.tell(Tick())
    alone.s += TIMING.lease_s - 0.5
    alone.tell(Tick())
    (said,) = [said for _, _, said in alone.hear("c", role="candidate", term=10) if said.ack]
    assert said.ack is not None
    assert said.ack.answer == "no"
    assert alone.memory.voted_for != "c"


def test_of_two_the_disk_gives_its_vote_to_nobody_whose_ballot_is_not_the_higher() -> None:
    for above, votes in ((-1, True), (0, False), (1, False)):
        alone = Alone("a", "b", disk=True)
        on_disk(alone, ballot=7)
        wanted = alone.last.term
        alone.disk(alone.beat("b", DISK, 5000, ballot=wanted + above))
        assert (alone.memory.term == wanted) is votes


def test_of_a_slot_that_cannot_be_read_the_disk_gives_no_vote() -> None:
    alone = Alone("a", "b", disk=True)
    on_disk(alone, ballot=7)
    torn = (slots.pack(encode(alone.written[-1], KEY)), b"\xff" * slots.BLOCK)
    alone.tell(SlotsRead(began_s=alone.now.boot_s, header=HEADER, slots=torn))
    assert alone.memory.term == 7


def test_a_vote_of_the_disk_needs_our_ballot_in_our_slot() -> None:
    """What stands there when the disk is read may have been written before we stood."""
    alone = Alone("a", "b", disk=True)
    on_disk(alone, ballot=7)
    before = alone.beat("b", DISK, 5000, ballot=7)
    alone.disk(before)
    stood = alone.memory.term
    assert stood > 7
    assert alone.view.leader is None
    alone.disk(before, own=replace(alone.written[-1], ballot=stood - 1))
    assert alone.view.leader is None


def test_a_roster_without_a_peer_forgets_it() -> None:
    alone = Alone("a", "b", "c")
    alone.wait(3.0, alive="bc")
    alone.tell(RosterChanged(roster=roster("a", "b", epoch=4)))
    assert set(alone.view.peers) == {"a", "b"}
    assert alone.hear("c") == []
    assert set(alone.view.peers) == {"a", "b"}


def on_disk(alone: Alone, ballot: int) -> None:
    """Until it asks: both live on the disk alone."""
    for number in range(100, 400):
        alone.s += 0.25
        alone.tell(Candidacy())
        alone.tell(Tick())
        if alone.sent[-1][2].role == "asking":
            return
        seq = number if alone.s < 110.0 else 140
        if len(alone.written) > 0:
            alone.disk(alone.beat("b", DISK, seq, ballot=ballot))
    raise AssertionError("it never asked")
