"""The shared disk as one node sees it: whose it is, what is in its slots, whether it may be a voter.

Two nodes that work with two disks, or with a disk and a copy of it, would each have a vote of its own.
So a disk counts as a voter only once this node has seen the others live on that very disk, and no more
once they live elsewhere and not on it. Times are seconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from membership import slots
from membership.events import SlotsRead
from membership.heartbeat import Beat
from membership.roster import Member, Roster
from schema.model import Frozen

UNPROVEN = "?"
"""Before the name of a disk on which the others were not seen yet, where it is remembered."""


class Contents(Frozen, frozen=True, kw_only=True):
    """What the slots of members and former voters say: our own, just written, and those of others that
    make sense. `unclear`: whose do not, though something is in them."""

    own: Beat
    others: Mapping[str, Beat]
    unclear: tuple[str, ...] = ()

    @property
    def ahead(self) -> str:
        """Who wrote later voters than we did; "" for nobody."""
        later = (name for name, beat in self.others.items() if beat.rank > self.own.rank)
        return next(later, "")

    @property
    def highest(self) -> int:
        """The highest ballot of others."""
        return max((beat.ballot for beat in self.others.values()), default=0)

    def tells_of(self, names: Sequence[str]) -> bool:
        """Whether enough can be read for the disk to vote. `names` are the other voters. Where there
        are none, whoever was removed last may have stood before the disk knew of that."""
        return all(name in self.others for name in names) if names else not self.unclear


class SharedDisk:
    """`disk_id` is to be remembered; `problem` is "" where the disk works; `outstanding` while what was
    written last has not come back; `written` is its number. The disk last worked at `worked_s`, and did
    so without a gap since `since_s`. `knows` is the rank of the voters with which it last agreed to our
    leading; `ahead` is whose slot tells of later ones than ours."""

    def __init__(self, disk_id: str) -> None:
        self.disk_id = disk_id
        self.problem = ""
        self.outstanding = False
        self.written = 0
        self.worked_s = self.since_s = float("-inf")
        self.ballots: dict[str, int] = {}
        self.knows = (0, 0)
        self.ahead = ""
        self._missed_s: dict[str, float] = {}

    @property
    def seen_id(self) -> str:
        """The disk that we work with, for the others to know."""
        return "" if self.problem else self.disk_id.removeprefix(UNPROVEN)

    @property
    def proven(self) -> bool:
        return self.disk_id != "" and not self.disk_id.startswith(UNPROVEN)

    @property
    def votes(self) -> bool:
        """Whether it may be a voter where the roster says that it is one."""
        return self.proven and not self.problem

    def failed(self, reason: str) -> None:
        self.outstanding, self.problem = False, reason

    def replaced(self) -> None:
        """It is another file or device from now on: what is outstanding never comes back."""
        self.outstanding, self.problem = False, ""
        self.worked_s = float("-inf")

    def take(
        self, event: SlotsRead, roster: Roster, keys: Sequence[bytes], nonce: bytes, now_s: float
    ) -> Contents | None:
        """What was read, or None where it is of no use: `problem` says why."""
        self.outstanding = False
        self.problem = self._wrong(event, roster)
        if self.problem:
            return None
        owners = (*roster.members, *roster.former)
        found = {
            member.name: beat
            for member in owners
            if (beat := _slot(event, member, roster, keys)) is not None
        }
        unclear = [m.name for m in owners if m.name not in found and not _blank(event, m)]
        own = found.pop(roster.me, None)
        if own is None or (own.nonce, own.seq) != (nonce, self.written):
            self.problem = "what was written does not come back"
            return None
        if now_s - self.worked_s > roster.timing.suspect_after_s:
            self.since_s = now_s
            self._missed_s = {}
        self.worked_s = now_s
        for name, beat in found.items():
            self.ballots[name] = max(beat.ballot, beat.term, self.ballots.get(name, 0))
        contents = Contents(own=own, others=found, unclear=tuple(unclear))
        self.ahead = contents.ahead
        return contents

    def _wrong(self, event: SlotsRead, roster: Roster) -> str:
        header = slots.unpack_header(event.header)
        if header is None:
            return "unformatted, or its header is damaged: cxm heartbeat format"
        if header.cluster_id != roster.cluster_id:
            return f"belongs to cluster {header.cluster_id}"
        if header.disk_id != self.disk_id.removeprefix(UNPROVEN):
            self.disk_id = UNPROVEN + header.disk_id
            self.knows = (0, 0)
        return ""

    def missed(self, names: Sequence[str], now_s: float, patience_s: float) -> list[str]:
        """Those of `names`, who should be on this disk and are not, of whom that was said at each call
        for longer than `patience_s`."""
        self._missed_s = {name: self._missed_s.get(name, now_s) for name in names}
        return [name for name, at_s in self._missed_s.items() if now_s - at_s > patience_s]

    def judge(self, others: Sequence[str], live: Sequence[str], elsewhere: Sequence[str]) -> None:
        """`others` are the other voters, `live` who is alive on this disk; `elsewhere` who works with a
        shared disk, is alive on the network, and long silent on this disk."""
        if self.proven and any(name in elsewhere for name in others):
            self.disk_id = UNPROVEN + self.disk_id
        elif others and not self.proven and all(name in live for name in others):
            self.disk_id = self.disk_id.removeprefix(UNPROVEN)


def twin(event: SlotsRead, roster: Roster, keys: Sequence[bytes]) -> Beat | None:
    """What is in our own slot, whoever of our name wrote it."""
    member = roster.member(roster.me)
    return _slot(event, member, roster, keys) if member is not None else None


def own_slot(roster: Roster) -> int | None:
    """Where this node writes; None where it has no slot of its own.

    Slots are given to voters. Who is none yet has the number of somebody else, and must not write it.
    """
    me = roster.member(roster.me)
    if roster.disk is None or me is None or me.slot >= slots.SLOTS:
        return None
    voters = roster.voters.names
    owners = (*roster.members, *roster.former)
    rivals = [m.name for m in owners if m.slot == me.slot and m.name != roster.me]
    if roster.me in voters:
        return None if any(name in voters for name in rivals) else me.slot
    return None if rivals else me.slot


def _blank(event: SlotsRead, member: Member) -> bool:
    """Whether nothing was ever written there."""
    return member.slot >= len(event.slots) or not event.slots[member.slot].strip(b"\0")


def _slot(event: SlotsRead, member: Member, roster: Roster, keys: Sequence[bytes]) -> Beat | None:
    """What this member wrote; None where that is not to be known."""
    if member.slot >= len(event.slots):
        return None
    beat = slots.read(event.slots[member.slot], keys)
    if beat is None or beat.sender != member.name or beat.cluster != roster.cluster_id:
        return None
    return beat
