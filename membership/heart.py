"""The heart of `cxm-heartbeatd`: what is heard, what is believed, what is sent. Events in, effects out.

It keeps the tracks of the peers, this node's part in the election, and two clocks: CLOCK_BOOTTIME, by
which everything is measured, and CLOCK_MONOTONIC, by whose difference a machine that slept is found
out. Nothing from network or disk makes it raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from msgspec.structs import replace

from membership import slots
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
from membership.heartbeat import DISK, PROTOCOL, Ack, Beat, decode, encode
from membership.roster import Candidacy, Roster
from membership.view import Health, Peer, PeerState, Standing, View

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
        self._ballots: dict[str, int] = {}
        self._stands: Stand | None = None
        self._last: Instant | None = None
        self._next_s = 0.0
        self._lag_s = 0.0
        self._mute = ""
        self._disk = ""
        self._disk_s = float("-inf")
        self._reading = False
        self._written = 0
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
                self._reading, self._disk = False, reason
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
        if now.boot_s >= self._next_s:
            self._beat_all(now.boot_s)
            self._next_s = now.boot_s + self._roster.timing.interval_s
            self._replies.clear()
            self._push(now, always=True)
        else:
            self._push(now, always=False)
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        return self._next_s

    # --- being there ----------------------------------------------------------------------------

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
        self._roster = self._election.roster = roster
        others = [name for name in roster.names if name != roster.me]
        self._detector.follow(others, now.boot_s)
        self._acks = {name: ack for name, ack in self._acks.items() if name in others}
        self._next_s = min(self._next_s, now.boot_s)

    def _leave(self, now_s: float) -> None:
        self._election.hand_over("", now_s)
        for _ in range(2):
            self._beat_all(now_s, leaving=True)

    # --- hearing --------------------------------------------------------------------------------

    def _hear(self, channel: int, data: bytes, now_s: float) -> None:
        found = decode(data, self._keys)
        if found is None or found[1].cluster != self._roster.cluster_id:
            return
        version, beat = found
        if beat.sender == self._roster.me:
            if beat.nonce != self._nonce:
                self._silence("twin: another daemon sends heartbeats in the name of this node")
            return
        if beat.sender in self._detector.tracks:
            self._check_echo(beat)
        fresh = self._detector.news(beat, channel, now_s)
        track = self._detector.tracks.get(beat.sender)
        if track is not None and version != self._protocol and not track.problem:
            track.problem = f"speaks version {version} of the protocol, not {self._protocol}"
        if not fresh or track is None:
            return
        if beat.ack is not None:
            self._acked(beat.sender, beat.ack, now_s)
        if beat.seq == track.highest:
            self._answer(beat, channel, now_s)

    def _check_echo(self, beat: Beat) -> None:
        """What a peer remembers of us: also, and above all, where it takes us for a ghost of ourselves."""
        if beat.echo is not None and beat.echo.generation > self._memory.generation:
            self._silence(
                f"rollback: {beat.sender} knows generation {beat.echo.generation} of this node, whose"
                f" own state says {self._memory.generation}"
            )
        if self._memory.disk_id and beat.disk and beat.disk != self._memory.disk_id:
            self._disk = f"not the disk that {beat.sender} sees"

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
            election.refused(ack.own, now_s)
        elif ack.term == election.term and ack.answer == election.wanted:
            election.agreed(voter, sent_s, now_s)

    # --- the disk -------------------------------------------------------------------------------

    def _read(self, event: SlotsRead, now_s: float) -> None:
        self._reading = False
        self._disk = self._wrong(event)
        if self._disk:
            return
        own = self._own(event)
        if own is None:
            self._disk = "what was written does not come back"
            return
        if now_s - self._disk_s > self._roster.timing.suspect_after_s:
            self._detector.forgive_channel(DISK, now_s)
        self._disk_s = now_s
        beats = {member.name: self._slot(event, member.slot) for member in self._roster.members}
        for name, beat in beats.items():
            if beat is not None and name == beat.sender and name != self._roster.me:
                self._seen(beat, now_s)
        if self._election.disk_counts and not self._mute:
            self._disk_vote(own, beats, event, now_s)

    def _wrong(self, event: SlotsRead) -> str:
        known = self._memory.disk_id
        fault, disk_id = slots.identified(event.header, self._roster.cluster_id, known)
        if not fault and not known:
            self._memory = replace(self._memory, disk_id=disk_id)
            self._effects.append(Remember(memory=self._memory))
        return fault

    def _slot(self, event: SlotsRead, place: int) -> Beat | None:
        if place >= len(event.slots):
            return None
        return slots.read(event.slots[place], self._keys)

    def _own(self, event: SlotsRead) -> Beat | None:
        """What we wrote last, as it came back."""
        me = self._roster.member(self._roster.me)
        beat = self._slot(event, me.slot) if me is not None else None
        mine = beat is not None and (beat.sender, beat.nonce) == (self._roster.me, self._nonce)
        return beat if mine and beat is not None and beat.seq == self._written else None

    def _seen(self, beat: Beat, now_s: float) -> None:
        self._ballots[beat.sender] = max(beat.ballot, beat.term, self._ballots.get(beat.sender, 0))
        if beat.cluster == self._roster.cluster_id and self._detector.news(beat, DISK, now_s):
            track = self._detector.tracks[beat.sender]
            if beat.seq == track.highest:
                self._answer(beat, DISK, now_s)

    def _disk_vote(
        self, own: Beat, beats: Mapping[str, Beat | None], event: SlotsRead, now_s: float
    ) -> None:
        """Won by our ballot in our slot and no higher one in the other's. What cannot be read is no
        leave to go on."""
        election = self._election
        other = next(name for name in self._roster.voters.names if name != self._roster.me)
        member = self._roster.member(other)
        beat = beats.get(other)
        blank = member is not None and not event.slots[member.slot].strip(b"\0")
        if beat is None and not blank:
            return
        ballot = beat.ballot if beat is not None else 0
        mine = election.term if election.role is Role.ASKING else election.ballot
        if ballot >= mine:
            election.beaten(ballot, now_s)
        elif election.role is Role.ASKING or own.ballot == election.ballot:
            election.agreed(DISK_VOTER, event.began_s, now_s)

    # --- electing -------------------------------------------------------------------------------

    def _elect(self, now_s: float) -> None:
        candid = self._candidacy.healthy and self._candid(now_s) and not self._mute
        if self._roster.engine != "builtin":
            wish = Stand(wants=candid, floor=self._candidacy.floor)
            if wish != self._stands:
                self._stands = wish
                self._effects.append(wish)
            return
        election = self._election
        before = election.role
        leader = election.leader
        alive = leader is not None and self._detector.alive(leader, self._roster.timing, now_s)
        founded = self._roster.voters.epoch > 0 and not self._outdated()
        election.tick(now_s, may_stand=candid and founded, leader_alive=alive)
        if election.role is Role.ASKING and before is Role.FOLLOWER:
            heard = [track.beat.term for track in self._detector.tracks.values() if track.beat]
            election.propose(
                self._candidacy.floor, max([*heard, *self._ballots.values()], default=0)
            )
            election.advance(now_s)
        self._remember()
        if election.role is not before:
            self._beat_all(now_s)

    def _candid(self, now_s: float) -> bool:
        return now_s - self._candid_s <= self._roster.timing.candidacy_s

    def _outdated(self) -> bool:
        """Whether any peer knows later voters than we do."""
        epoch = self._roster.voters.epoch
        return any(
            track.beat is not None and track.beat.epoch > epoch
            for track in self._detector.tracks.values()
        )

    def _remember(self) -> None:
        vote = self._election.vote
        memory = replace(self._memory, term=vote.term, voted_for=vote.voted_for)
        if memory != self._memory:
            self._memory = memory
            self._effects.append(Remember(memory=memory))

    # --- speaking -------------------------------------------------------------------------------

    def _beat_all(self, now_s: float, *, leaving: bool = False) -> None:
        """To every peer on every channel, and into our slot."""
        self._forget_sent(now_s)
        if self._mute:
            return
        for member in self._roster.members:
            for channel in range(len(member.addresses)) if member.name != self._roster.me else ():
                self._send(member.name, channel, now_s, leaving=leaving)
        me = self._roster.member(self._roster.me)
        if self._roster.disk is not None and me is not None and not self._reading:
            self._reading = not leaving
            frame = encode(self._beat(None, DISK, now_s, leaving=leaving), *self._signing)
            self._written = self._seq
            self._effects.append(WriteSlot(slot=me.slot, data=slots.pack(frame)))

    def _forget_sent(self, now_s: float) -> None:
        oldest_s = now_s - self._roster.timing.lease_s
        self._sent = {seq: at_s for seq, at_s in self._sent.items() if at_s >= oldest_s}

    def _send(self, peer: str, channel: int, now_s: float, *, leaving: bool = False) -> None:
        beat = self._beat(peer, channel, now_s, leaving=leaving)
        self._effects.append(Send(peer=peer, channel=channel, data=encode(beat, *self._signing)))

    @property
    def _signing(self) -> tuple[bytes, int]:
        return self._keys[0], self._protocol

    def _beat(self, to: str | None, channel: int, now_s: float, *, leaving: bool) -> Beat:
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
            ack=self._acks.get(to) if to is not None else None,
            notes=self._candidacy.notes,
            disk=self._memory.disk_id if roster.disk is not None else "",
            leaving=leaving,
            resigned=election.resigned,
            successor=election.successor,
            boot=self._machine.boot_id,
        )

    def _sees(self, now_s: float) -> tuple[str, ...]:
        timing = self._roster.timing
        return tuple(
            name for name in self._detector.tracks if self._detector.alive(name, timing, now_s)
        )

    # --- the view -------------------------------------------------------------------------------

    def view(self, now: Instant) -> View:
        """What this daemon believes at this moment."""
        standing = self._standing()
        return View(
            me=self._roster.me,
            term=standing.term,
            leader=standing.leader,
            acts_from_s=standing.acts_from_s,
            lead_until_s=standing.lead_until_s,
            peers=self._peers(now.boot_s),
            engine=self._roster.engine,
            voters=self._roster.voters,
            health=Health(lag_s=round(self._lag_s, 3), mute=self._mute, disk=self._disk_problem),
            reason=self._reason(now.boot_s) if standing.leader is None else "",
        )

    def _standing(self) -> Standing:
        if self._roster.engine == "builtin":
            return self._election.standing()
        return self._granted

    @property
    def _disk_problem(self) -> str:
        return self._disk if self._roster.disk is not None else ""

    def _peers(self, now_s: float) -> dict[str, Peer]:
        peers: dict[str, Peer] = {}
        timing = self._roster.timing
        for member in self._roster.members:
            channels = [(f"net{at + 1}", at) for at in range(len(member.addresses))]
            channels += [("disk", DISK)] if self._roster.disk is not None else []
            if member.name == self._roster.me:
                shown = {label: PeerState.ALIVE for label, _ in channels}
                if self._disk_problem:
                    shown["disk"] = PeerState.UNKNOWN
                notes = {**self._candidacy.notes, "epoch": str(self._roster.voters.epoch)}
                peers[member.name] = Peer(
                    state=PeerState.ALIVE,
                    channels=shown,
                    last_heard_s=0.0,
                    sees=self._sees(now_s),
                    notes=notes,
                    problem=self._mute,
                )
            else:
                peers[member.name] = self._detector.peer(member.name, channels, timing, now_s)
        return peers

    def _reason(self, now_s: float) -> str:
        """Why nobody leads, as far as this node can tell."""
        voters = self._roster.voters
        if self._mute:
            return self._mute
        if not voters.epoch:
            return "the cluster is not founded: its peers do not all hear each other yet"
        heard = {self._roster.me, *self._sees(now_s)} & {*voters.names}
        agree = len(heard) + (1 if self._election.disk_counts and not self._disk else 0)
        if self._roster.engine == "builtin" and agree < voters.quorum:
            disk = f", its disk: {self._disk}" if self._disk_problem else ""
            return f"{self._roster.me} hears {len(heard)} of {len(voters.names)} voters{disk}"
        return "an election is on"

    def _push(self, now: Instant, *, always: bool) -> None:
        view = self.view(now)
        if always or self._pushed is None or not view.same(self._pushed):
            self._pushed = view
            self._effects.append(Push(view=view))
