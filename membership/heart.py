"""The heart of `cxm-heartbeatd`: what is heard, what is believed, what is sent. Events in, effects out.

It keeps the tracks of the peers, this node's part in the election, and two clocks: CLOCK_BOOTTIME, by
which everything is measured, and CLOCK_MONOTONIC, by whose difference a machine that slept is found
out. Nothing from network or disk makes it raise.
"""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from membership import showing, slots
from membership.detector import Detector
from membership.election import DISK_VOTER, Election, Role, Vote
from membership.events import (
    DiskFailed,
    Effect,
    Event,
    Granted,
    HandOver,
    Heard,
    Instant,
    KeysChanged,
    Leaving,
    Machine,
    Memory,
    Push,
    Remember,
    RosterChanged,
    Send,
    SlotsRead,
    Stand,
    Tick,
    WriteSlot,
)
from membership.heartbeat import DISK, PROTOCOL, Ack, Beat, decode, encode, named
from membership.roster import Candidacy, Roster
from membership.shared_disk import Contents, SharedDisk, own_slot, twin
from membership.view import Health, PeerState, Standing, View

STEP_S = 0.5
"""The two clocks may differ by so much from one event to the next; more, and the machine slept."""

REPLIES = 10
"""Messages to one peer beyond the regular ones, per interval: a flood must not be answered by one."""


class Heart:
    """One daemon's heart. `memory` holds this start's generation already; `nonce` is new at each start."""

    def __init__(
        self,
        *,
        roster: Roster,
        keys: tuple[bytes, ...],
        memory: Memory,
        machine: Machine,
        nonce: bytes,
        random: Random,
        protocol: int = PROTOCOL,
    ) -> None:
        self._roster = roster
        self._keys = keys
        self._memory = memory
        self._machine = machine
        self._nonce = nonce
        self._random = random
        self._protocol = protocol
        self._detector = Detector(nonce)
        self._election: Election
        self._granted = Standing()
        self._candidacy = Candidacy(healthy=False)
        self._candid_s = float("-inf")
        self._seq = 0
        self._sent: dict[int, float] = {}
        self._acks: dict[str, Ack] = {}
        self._replies: dict[str, int] = {}
        self._stands: Stand | None = None
        self._last: Instant | None = None
        self._next_s = 0.0
        self._due_s = 0.0
        self._told_role = Role.FOLLOWER
        self._leaving = False
        self._lag_s = 0.0
        self._mute = ""
        self._disk = SharedDisk(memory.disk_id)
        self._pushed: View | None = None
        self._effects: list[Effect] = []

    # --- the surface ----------------------------------------------------------------------------

    def start(self, now: Instant) -> list[Effect]:
        vote = Vote(term=self._memory.term, voted_for=self._memory.voted_for)
        self._election = Election(self._roster, vote, self._random, now.boot_s)
        self._follow(self._roster, now)
        self._last, self._next_s = now, now.boot_s
        return self.handle(Tick(), now)

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        self._account(now)
        match event:
            case Heard(channel=channel, data=data):
                self._hear(channel, data, now.boot_s)
            case SlotsRead():
                self._read(event, now.boot_s)
            case DiskFailed(reason=reason):
                self._disk.failed(reason)
            case Candidacy():
                self._candidacy, self._candid_s = event, now.boot_s
            case HandOver(to=to):
                if self._election.hand_over(to, now.boot_s):
                    self._beat_all(now.boot_s)
            case RosterChanged(roster=roster):
                self._follow(roster, now)
            case KeysChanged(keys=keys):
                self._keys = keys
            case Granted(standing=standing):
                self._granted = standing
            case Leaving():
                self._leave(now.boot_s)
            case Tick():
                pass
        self._elect(now.boot_s)
        self._keep_time(now)
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        return self._due_s

    # --- being there ----------------------------------------------------------------------------

    def _keep_time(self, now: Instant) -> None:
        due = now.boot_s >= self._next_s
        if due:
            self._beat_all(now.boot_s)
            self._next_s = now.boot_s + self._roster.timing.interval_s
            self._replies.clear()
        self._push(now, always=due)
        self._due_s = self._next_s
        if self._roster.engine == "builtin":
            chosen_s = self._election.deadline()
            if chosen_s > now.boot_s:
                self._due_s = min(self._next_s, chosen_s)

    def _account(self, now: Instant) -> None:
        """Find out whether we were away, and do not hold that against others."""
        last = self._last
        self._last = now
        if last is None:
            return
        timing = self._roster.timing
        late_s = now.boot_s - self._next_s
        slept_s = abs((now.boot_s - last.boot_s) - (now.mono_s - last.mono_s))
        self._lag_s = max(0.0, late_s)
        if late_s > timing.interval_s or slept_s > STEP_S:
            self._detector.forgive(max(late_s, slept_s), now.boot_s)
        if late_s > timing.lease_s or slept_s > STEP_S:
            self._election.restart(now.boot_s)

    def _follow(self, roster: Roster, now: Instant) -> None:
        before, self._roster = self._roster, roster
        self._election.follow(roster, now.boot_s)
        self._remember()
        others = [name for name in roster.names if name != roster.me]
        self._detector.follow(others, now.boot_s)
        self._acks = {name: ack for name, ack in self._acks.items() if name in others}
        if roster.disk != before.disk:
            self._disk.replaced()
        self._next_s = min(self._next_s, now.boot_s)

    def _leave(self, now_s: float) -> None:
        """Say goodbye, more than once: nothing that is said after it may come in between."""
        self._election.hand_over("", now_s)
        self._leaving = True
        for _ in range(2):
            self._beat_all(now_s)

    # --- hearing --------------------------------------------------------------------------------

    def _hear(self, channel: int, data: bytes, now_s: float) -> None:
        found = decode(data, self._keys)
        if found is None or found[1].cluster != self._roster.cluster_id:
            return
        version, beat = found
        if beat.sender == self._roster.me:
            self._check_twin(beat)
            return
        self._check_echo(beat)
        fresh = self._detector.news(named(beat, self._roster.names), channel, now_s)
        track = self._detector.tracks.get(beat.sender)
        if track is not None and version != self._protocol and not track.problem:
            track.problem = f"speaks version {version} of the protocol, not {self._protocol}"
        if not fresh or track is None:
            return
        if beat.ack is not None:
            self._acked(beat.sender, beat.ack, now_s)
        if beat.seq == track.highest:
            self._answer(beat, channel, now_s)

    def _check_twin(self, beat: Beat) -> None:
        """In our own name. What is of an earlier generation we may well have said ourselves."""
        if beat.nonce != self._nonce and beat.generation >= self._memory.generation:
            self._silence("twin: another daemon sends heartbeats in the name of this node")

    def _check_echo(self, beat: Beat) -> None:
        """Generations only ever grow, so an old message cannot know a later one than ours."""
        echo, mine = beat.echo, self._memory.generation
        if echo is None:
            return
        if echo.generation > mine:
            self._silence(
                f"rollback: {beat.sender} knows generation {echo.generation} of this node, whose own"
                f" state says {mine}"
            )
        elif echo.generation == mine and echo.nonce != self._nonce:
            self._silence(
                f"rollback or twin: {beat.sender} knows another daemon of this node by generation {mine}"
            )

    def _silence(self, why: str) -> None:
        self._mute = self._mute or why

    def _answer(self, beat: Beat, channel: int, now_s: float) -> None:
        if self._roster.engine != "builtin":
            return
        ack = None if self._mute else self._election.heard(beat, now_s)
        self._remember()
        if ack is None:
            self._acks.pop(beat.sender, None)
            return
        self._acks[beat.sender] = ack
        replies = self._replies.get(beat.sender, 0)
        if channel != DISK and replies < REPLIES:
            self._replies[beat.sender] = replies + 1
            self._send(beat.sender, channel, now_s)

    def _acked(self, voter: str, ack: Ack, now_s: float) -> None:
        sent_s = self._sent.get(ack.seq)
        election = self._election
        if sent_s is None:
            return
        if ack.answer == "no":
            election.refused(ack.own)
        elif ack.term == election.term and ack.answer == election.wanted:
            election.agreed(voter, sent_s, now_s)

    # --- the disk -------------------------------------------------------------------------------

    def _read(self, event: SlotsRead, now_s: float) -> None:
        disk, roster = self._disk, self._roster
        rival = twin(event, roster, self._keys)
        if rival is not None:
            self._check_twin(rival)
        contents = disk.take(event, roster, self._keys, self._nonce, now_s)
        if contents is not None:
            for beat in contents.others.values():
                self._seen(beat, now_s, gap=disk.since_s == now_s)
            self._judge_disk(now_s)
            # The first look after a while shows what may be old, the next ones who lives and leads.
            looked = now_s - disk.since_s >= 2.0 * roster.timing.interval_s
            if self._election.disk_counts and disk.votes and looked and not self._mute:
                self._disk_vote(contents, event.began_s, now_s)
        self._remember()

    def _seen(self, beat: Beat, now_s: float, *, gap: bool) -> None:
        if self._detector.news(named(beat, self._roster.names), DISK, now_s, gap=gap):
            track = self._detector.tracks[beat.sender]
            if beat.seq == track.highest:
                self._answer(beat, DISK, now_s)

    def _judge_disk(self, now_s: float) -> None:
        """Who is here, and who works with a disk and is not here. Of the last voter's disk all must have
        been on it who may have voted with one: who was removed last may work with another."""
        timing, disk, detector = self._roster.timing, self._disk, self._detector
        roster = self._roster
        voting = [name for name in roster.voters.names if name != roster.me]
        owners = [member.name for member in (*roster.members, *roster.former)]
        others = voting or [name for name in owners if name != roster.me]
        live = [
            name
            for name in others
            if name in detector.tracks
            and DISK in detector.tracks[name].heard
            and detector.channel_state(name, DISK, timing, now_s) is PeerState.ALIVE
        ]
        missing = [
            name
            for name in others
            if name not in live
            and detector.alive(name, timing, now_s)
            and detector.works_with_disk(name)
        ]
        disk.judge(others, live, disk.missed(missing, now_s, timing.dead_after_s))

    def _disk_vote(self, contents: Contents, began_s: float, now_s: float) -> None:
        """Won by our ballot in our slot and no higher one in another's. What cannot be read is no leave
        to go on. Like every voter it gives nothing to who goes by earlier voters than it knows: those
        that anybody wrote into its slot."""
        election, voters = self._election, self._roster.voters
        others = [name for name in voters.names if name != self._roster.me]
        if not election.votes or not contents.tells_of(others):
            return
        for name in others:
            election.told(name, contents.others[name].lease_s)
        asks = election.role is Role.ASKING
        if contents.highest >= (election.term if asks else election.ballot):
            election.beaten(contents.highest)
        elif not contents.ahead and (asks or contents.own.ballot == election.ballot):
            election.agreed(DISK_VOTER, began_s, now_s)
            if election.role is Role.LEADER:
                self._disk.knows = contents.own.rank

    # --- electing -------------------------------------------------------------------------------

    def _elect(self, now_s: float) -> None:
        candid = self._candidacy.healthy and self._candid(now_s) and not self._mute
        candid = candid and not self._leaving
        if self._roster.engine != "builtin":
            self._stand(candid)
            return
        election = self._election
        leader = election.leader
        alive = leader is not None and self._detector.alive(leader, self._roster.timing, now_s)
        before = election.role
        election.tick(
            now_s,
            may_stand=candid and self._roster.voters.epoch > 0,
            current=not self._outdated(now_s),
            leader_alive=alive,
        )
        if election.role is Role.ASKING and before is Role.FOLLOWER:
            election.propose(self._candidacy.floor, self._highest_term())
            election.advance(now_s)
        self._remember()
        if election.role is not self._told_role:
            self._beat_all(now_s)

    def _stand(self, candid: bool) -> None:
        wish = Stand(wants=candid, floor=self._candidacy.floor)
        if wish != self._stands:
            self._stands = wish
            self._effects.append(wish)

    def _candid(self, now_s: float) -> bool:
        return now_s - self._candid_s <= self._roster.timing.candidacy_s

    def _highest_term(self) -> int:
        heard = [track.beat.term for track in self._detector.tracks.values() if track.beat]
        return max([*heard, *self._disk.ballots.values()], default=0)

    def _outdated(self, now_s: float) -> bool:
        """Whether any living peer knows later voters than we do.

        To stand would be for nothing then: their ledgers are on the way. What the dead knew must not
        stop us. If a quorum knew it, one of that quorum is in ours, and refuses us; if not, nothing was
        decided.
        """
        rank, timing = self._roster.voters.rank, self._roster.timing
        return any(
            track.beat is not None
            and track.beat.rank > rank
            and self._detector.alive(name, timing, now_s)
            for name, track in self._detector.tracks.items()
        )

    def _remember(self) -> None:
        vote = self._election.vote
        memory = replace(
            self._memory, term=vote.term, voted_for=vote.voted_for, disk_id=self._disk.disk_id
        )
        if memory != self._memory:
            self._memory = memory
            self._effects.append(Remember(memory=memory))

    # --- speaking -------------------------------------------------------------------------------

    def _beat_all(self, now_s: float) -> None:
        """To every peer on every channel, and into our slot."""
        self._forget_sent(now_s)
        self._told_role = self._election.role
        if self._mute:
            return
        for member in self._roster.members:
            for channel in range(len(member.addresses)) if member.name != self._roster.me else ():
                self._send(member.name, channel, now_s)
        slot, disk = own_slot(self._roster), self._disk
        if slot is not None and not disk.outstanding:
            disk.outstanding = True
            frame = self._frame(self._beat(None, DISK, now_s))
            disk.written = self._seq
            self._effects.append(WriteSlot(slot=slot, data=slots.pack(frame)))

    def _forget_sent(self, now_s: float) -> None:
        oldest_s = now_s - self._roster.timing.lease_s
        self._sent = {seq: at_s for seq, at_s in self._sent.items() if at_s >= oldest_s}

    def _send(self, peer: str, channel: int, now_s: float) -> None:
        data = self._frame(self._beat(peer, channel, now_s))
        self._effects.append(Send(peer=peer, channel=channel, data=data))

    def _frame(self, beat: Beat) -> bytes:
        return encode(beat, self._keys[0], self._protocol, self._roster.names)

    def _beat(self, to: str | None, channel: int, now_s: float) -> Beat:
        self._seq += 1
        self._sent[self._seq] = now_s
        election, roster = self._election, self._roster
        track = self._detector.tracks.get(to) if to is not None else None
        return Beat(
            cluster=roster.cluster_id,
            sender=roster.me,
            generation=self._memory.generation,
            nonce=self._nonce,
            seq=self._seq,
            channel=channel,
            echo=track.echo if track is not None else None,
            sees=self._sees(now_s),
            term=election.term,
            role=election.role.value,
            ballot=election.ballot,
            epoch=roster.voters.epoch,
            revision=roster.voters.revision,
            lease_s=roster.timing.lease_s,
            ack=self._acks.get(to) if to is not None else None,
            notes=self._candidacy.notes,
            disk=self._disk.seen_id if roster.disk is not None else "",
            leaving=self._leaving,
            resigned=election.resigned,
            successor=election.successor,
            boot=self._machine.boot_id,
            voters_term=roster.voters.term,
        )

    def _sees(self, now_s: float) -> tuple[str, ...]:
        timing = self._roster.timing
        return tuple(
            name for name in self._detector.tracks if self._detector.alive(name, timing, now_s)
        )

    # --- the view -------------------------------------------------------------------------------

    def view(self, now: Instant) -> View:
        """What this daemon believes at this moment."""
        roster, detector, now_s = self._roster, self._detector, now.boot_s
        standing = self._standing()
        disk = showing.disk_problem(roster, detector, self._disk, now_s)
        sees, term = self._sees(now_s), self._election.term
        me = showing.myself(roster, self._candidacy, self._disk, sees, self._mute, term)
        return View(
            me=roster.me,
            term=standing.term,
            leader=standing.leader,
            acts_from_s=standing.acts_from_s,
            lead_until_s=standing.lead_until_s,
            peers=showing.peers(roster, detector, self._disk, me, now_s),
            engine=roster.engine,
            voters=roster.voters,
            health=Health(lag_s=round(self._lag_s, 3), mute=self._mute, disk=disk),
            reason=self._reason(disk, now_s) if standing.leader is None else "",
            on_disk=self._disk.knows,
        )

    def _standing(self) -> Standing:
        if self._roster.engine == "builtin":
            return self._election.standing()
        return self._granted

    def _reason(self, disk: str, now_s: float) -> str:
        roster, detector = self._roster, self._detector
        return self._mute or showing.reason(roster, detector, self._disk, disk, now_s)

    def _push(self, now: Instant, *, always: bool) -> None:
        view = self.view(now)
        if always or self._pushed is None or not view.same(self._pushed):
            self._pushed = view
            self._effects.append(Push(view=view))
