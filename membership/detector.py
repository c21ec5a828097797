"""The detector: which messages are news, and who has been silent for how long.

A sender's messages count by (generation, nonce, seq), the last one per channel, and only once it has
echoed our own nonce: what was recorded before we started proves nothing. Silence counts only while we
were listening ourselves.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from membership.heartbeat import DISK, Beat, Echo
from membership.roster import Timing
from membership.view import Peer, PeerState


@dataclass(slots=True)
class Track:
    """What is known of one peer. Times are seconds of CLOCK_BOOTTIME.

    `since_s` is when we began to listen for it, `heard` the moment of the last news per channel, `seqs`
    the highest number seen there. `echo` is what we echo; `beat` the last news.
    """

    since_s: float
    generation: int = 0
    nonce: bytes = b""
    seqs: dict[int, int] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    highest: int = 0
    beat: Beat | None = None
    left: bool = False
    problem: str = ""

    @property
    def echo(self) -> Echo | None:
        if not self.nonce:
            return None
        return Echo(generation=self.generation, nonce=self.nonce, seq=self.highest)

    @property
    def last_s(self) -> float | None:
        return max(self.heard.values(), default=None)


class Detector:
    """The tracks of all peers but ourselves. Bounded: only members of the roster have one."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self.tracks: dict[str, Track] = {}

    def follow(self, names: Iterable[str], now_s: float) -> None:
        """Track exactly these peers from now on."""
        self.tracks = {name: self.tracks.get(name, Track(now_s)) for name in names}

    def news(self, beat: Beat, channel: int, now_s: float, *, gap: bool = False) -> bool:
        """Take a message in; True where it is news of a living peer. After a `gap`, in which we could not
        look, it may have waited for us."""
        track = self.tracks.get(beat.sender)
        if track is None:
            return False
        if beat.channel != channel or beat.generation < track.generation:
            return False
        if beat.generation > track.generation:
            self._born_again(track, beat)
        elif beat.nonce != track.nonce:
            track.problem = "twin: two daemons send in its name"
            return False
        if beat.seq <= track.seqs.get(channel, 0):
            return False
        first = gap or channel not in track.seqs
        track.seqs[channel] = beat.seq
        track.highest = max(track.highest, beat.seq)
        if not self._proves_life(beat, channel, first=first):
            return False
        track.heard[channel] = now_s
        if track.beat is None or beat.seq == track.highest:
            # What was overtaken on another channel is a sign of life, but no longer what it says.
            track.beat = beat
            track.left = beat.leaving
        return True

    @staticmethod
    def _born_again(track: Track, beat: Beat) -> None:
        """The daemon was started anew: nothing that it said before is of this life."""
        track.generation, track.nonce = beat.generation, beat.nonce
        track.seqs, track.highest, track.problem = {}, 0, ""

    def _proves_life(self, beat: Beat, channel: int, *, first: bool) -> bool:
        """On the disk what changes between two looks is alive; elsewhere who echoes us."""
        if channel == DISK:
            return not first
        return beat.echo is not None and beat.echo.nonce == self._nonce

    def forgive(self, lag_s: float, now_s: float) -> None:
        """We did not listen for so long: that silence is ours."""
        for track in self.tracks.values():
            track.heard = {ch: min(now_s, at_s + lag_s) for ch, at_s in track.heard.items()}
            track.since_s = min(now_s, track.since_s + lag_s)

    # --- what is believed -----------------------------------------------------------------------

    def state(self, name: str, timing: Timing, now_s: float) -> PeerState:
        track = self.tracks[name]
        if track.left:
            return PeerState.LEFT
        last_s = track.last_s
        return _by_silence(track.since_s if last_s is None else last_s, timing, now_s)

    def channel_state(self, name: str, channel: int, timing: Timing, now_s: float) -> PeerState:
        track = self.tracks[name]
        if track.left:
            return PeerState.LEFT
        return _by_silence(track.heard.get(channel, track.since_s), timing, now_s)

    def alive(self, name: str, timing: Timing, now_s: float) -> bool:
        """Heard, and lately: a peer that was never heard is nobody's evidence."""
        if name not in self.tracks or self.tracks[name].last_s is None:
            return False
        return self.state(name, timing, now_s) is PeerState.ALIVE

    def works_with_disk(self, name: str) -> bool:
        """Whether the peer says that a shared disk works for it."""
        beat = self.tracks[name].beat
        return beat is not None and beat.disk != ""

    def peer(
        self,
        name: str,
        channels: Iterable[tuple[str, int]],
        deaf: Container[int],
        timing: Timing,
        now_s: float,
    ) -> Peer:
        """This peer for the view; `channels` are (name, number), `deaf` those on which nobody is heard
        for a reason of our own."""
        track = self.tracks[name]
        beat, last_s = track.beat, track.last_s
        state = self.state(name, timing, now_s)
        if last_s is None and state is PeerState.ALIVE:
            state = PeerState.UNKNOWN
        return Peer(
            state=state,
            channels={
                label: PeerState.UNKNOWN
                if number in deaf
                else self._shown(name, number, timing, now_s)
                for label, number in channels
            },
            last_heard_s=None if last_s is None else round(max(0.0, now_s - last_s), 3),
            sees=beat.sees if beat is not None else (),
            notes=beat.notes if beat is not None else {},
            boot=beat.boot if beat is not None else "",
            term=beat.term if beat is not None else 0,
            voters=beat.rank if beat is not None else (0, 0),
            problem=track.problem,
        )

    def _shown(self, name: str, number: int, timing: Timing, now_s: float) -> PeerState:
        state = self.channel_state(name, number, timing, now_s)
        unheard = number not in self.tracks[name].heard
        return PeerState.UNKNOWN if unheard and state is PeerState.ALIVE else state


def _by_silence(since_s: float, timing: Timing, now_s: float) -> PeerState:
    silence_s = now_s - since_s
    if silence_s <= timing.suspect_after_s:
        return PeerState.ALIVE
    return PeerState.DEAD if silence_s > timing.dead_after_s else PeerState.SUSPECT
