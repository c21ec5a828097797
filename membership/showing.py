"""What the heart knows, put into words for its view."""

from __future__ import annotations

from membership.detector import Detector
from membership.heartbeat import DISK
from membership.roster import Candidacy, Member, Roster
from membership.shared_disk import SharedDisk
from membership.view import DISK_CHANNEL, Peer, PeerState


def channels(member: Member, roster: Roster) -> list[tuple[str, int]]:
    """(name, number) of the channels to this member."""
    found = [(f"net{number + 1}", number) for number in range(len(member.addresses))]
    return [*found, (DISK_CHANNEL, DISK)] if roster.disk is not None else found


def peers(
    roster: Roster, detector: Detector, disk: SharedDisk, me: Peer, now_s: float
) -> dict[str, Peer]:
    """Every member. Through a disk that does not work nothing is known of anybody."""
    shown: dict[str, Peer] = {}
    for member in roster.members:
        if member.name == roster.me:
            shown[member.name] = me
        else:
            deaf = frozenset({DISK} if disk.problem else ())
            listed = channels(member, roster)
            shown[member.name] = detector.peer(member.name, listed, deaf, roster.timing, now_s)
    return shown


def myself(
    roster: Roster,
    candidacy: Candidacy,
    disk: SharedDisk,
    sees: tuple[str, ...],
    mute: str,
    term: int,
) -> Peer:
    me = roster.member(roster.me)
    listed = channels(me, roster) if me is not None else []
    deaf = disk.problem != ""
    return Peer(
        state=PeerState.ALIVE,
        channels={
            label: PeerState.UNKNOWN if deaf and number == DISK else PeerState.ALIVE
            for label, number in listed
        },
        last_heard_s=0.0,
        sees=sees,
        notes=candidacy.notes,
        problem=mute,
        term=term,
        voters=roster.voters.rank,
    )


def disk_problem(roster: Roster, detector: Detector, disk: SharedDisk, now_s: float) -> str:
    """What is wrong with the shared disk, "" if nothing or there is none."""
    if roster.disk is None or disk.problem:
        return disk.problem if roster.disk is not None else ""
    for name, track in detector.tracks.items():
        theirs = track.beat.disk if track.beat is not None else ""
        other = bool(theirs and disk.disk_id) and theirs != disk.seen_id
        if other and detector.alive(name, roster.timing, now_s):
            return f"not the disk that {name} sees"
    alone = disk.disk_id != "" and not disk.proven
    unseen_s = now_s - disk.since_s
    if alone and roster.voters.disk and unseen_s > roster.timing.dead_after_s:
        return "the other voters were not seen on this disk yet: it does not vote"
    return ""


def reason(roster: Roster, detector: Detector, shared: SharedDisk, disk: str, now_s: float) -> str:
    """Why nobody leads, as far as this node can tell. `disk` is what is wrong with the shared one."""
    voters = roster.voters
    if not voters.epoch:
        return "the cluster is not founded: its peers do not all hear each other yet"
    heard = [
        name
        for name in voters.names
        if name == roster.me or detector.alive(name, roster.timing, now_s)
    ]
    counts = voters.disk and roster.disk is not None and shared.votes
    if counts and shared.ahead:
        return f"the shared disk knows later voters: they come from the ledger of {shared.ahead}"
    agree = len(heard) + counts
    if roster.engine == "builtin" and agree < voters.quorum:
        said = f", its disk: {disk}" if disk else ""
        return f"{roster.me} hears {len(heard)} of {len(voters.names)} voters{said}"
    return "an election is on"
