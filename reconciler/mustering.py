"""Mustering: which peers the tree means, on which addresses, and who of them votes.

The set of voters changes by one at a time, a name or the shared disk, each change known to a quorum
before the next one, so that any two sets which could both grant a leader share a voter. A cluster is
founded once, when all its peers hear each other and none of them knows of any voters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from membership.ledger import FoundedVoters
from membership.roster import Member, Roster, Timing, Voters
from membership.slots import SLOTS
from membership.view import PeerState, View
from reconciler.sharing import within_reach
from schema.model import Desired, Frozen, Node, Role

STAGED = "staged"
"""A note of a peer: the tree that it has ready."""


class Peering(Frozen, frozen=True, kw_only=True):
    """This node's own part in it, from node.yaml. `mark` tells it from any other of the same name."""

    engine: str = "single"
    heartbeat_port: int = 9850
    peer_port: int = 9851
    mark: str = ""

    @property
    def alone(self) -> bool:
        return self.engine == "single"


ALONE = Peering()
"""One daemon is the whole cluster."""


def peers(desired: Desired) -> tuple[Node, ...]:
    """The nodes that run cxm's daemons, by name."""
    members = (node for node in desired.nodes.values() if {Role.PEER, Role.WITNESS} & {*node.roles})
    return tuple(sorted(members, key=lambda node: node.name))


def staged(revision: int, digest: str) -> str:
    """How a peer says which tree it has ready."""
    return f"{revision}-{digest[:12]}"


def muster(
    desired: Desired,
    me: str,
    peering: Peering,
    founded: FoundedVoters | None,
    tree: tuple[int, str],
) -> Roster:
    """The roster that this tree means, and who still votes without being in it. `tree` is its revision
    and digest."""
    places = _addresses(desired, founded)
    slots = _slots([*places], founded)
    return Roster(
        cluster_id=desired.cluster.id,
        me=me,
        members=tuple(_member(name, places[name], peering, slots) for name in sorted(places)),
        voters=_voters(founded),
        timing=timing(desired),
        disk=_voting_disk(me, desired, founded),
        engine=peering.engine,
        revision=tree[0],
        digest=tree[1],
        former=tuple(
            Member(name=name, slot=place)
            for name, place in sorted(slots.items())
            if name not in places
        ),
    )


def timing(desired: Desired) -> Timing:
    """What this tree says of heartbeats, and all that follows from it."""
    beat = desired.cluster.heartbeat
    return Timing(
        interval_s=beat.interval_s,
        suspect_after_s=beat.suspect_after_s,
        dead_after_s=beat.dead_after_s,
    )


def _voting_disk(me: str, desired: Desired, founded: FoundedVoters | None) -> str | None:
    """The disk by which this node takes part: as long as it votes, the one that was agreed. Were it taken
    from a node by its tree alone, nobody might be able to lead, and to take that back."""
    agreed = founded.disks.get(me) if founded is not None and founded.disk else None
    return agreed if agreed is not None else _disk_of(me, desired)


def _addresses(desired: Desired, founded: FoundedVoters | None) -> dict[str, tuple[str, ...]]:
    """Of heartbeats, of the peers of this tree and of those who vote."""
    voting = founded.addresses if founded is not None else {}
    return {**voting, **{node.name: node.heartbeat.addresses for node in peers(desired)}}


def _slots(names: Sequence[str], founded: FoundedVoters | None) -> dict[str, int]:
    """Everybody's place on a shared disk. Who ever voted keeps its own; one that is to join takes a free
    one."""
    slots = dict(founded.slots) if founded is not None else {}
    for name in names:
        slots.setdefault(name, _free(slots))
    return slots


def _voters(founded: FoundedVoters | None) -> Voters:
    if founded is None:
        return Voters()
    return Voters(
        epoch=founded.epoch,
        revision=founded.revision,
        names=founded.names,
        term=founded.term,
        disk=founded.disk,
    )


def _member(name: str, texts: Sequence[str], peering: Peering, slots: Mapping[str, int]) -> Member:
    addresses = tuple(endpoint(text, peering.heartbeat_port) for text in texts)
    hosts = dict.fromkeys(host for host, _ in addresses)
    doors = tuple((host, peering.peer_port) for host in hosts)
    return Member(name=name, addresses=addresses, doors=doors, slot=slots[name])


def endpoint(text: str, port: int) -> tuple[str, int]:
    """`ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets."""
    host, colon, number = text.rpartition(":")
    if text.startswith("[") and colon and not number.endswith("]"):
        return host.strip("[]"), int(number)
    if colon and ":" not in host and not text.startswith("["):
        return host, int(number)
    return text.strip("[]"), port


# --- voters -----------------------------------------------------------------------------------------


def found(desired: Desired, me: str, view: View, tree: tuple[int, str]) -> FoundedVoters | None:
    """The first voters, if this is the moment: every node that can see it writes the very same."""
    names = tuple(node.name for node in peers(desired))
    if me not in names or view.voters.epoch:
        return None
    if not all(_unfounded(name, view, staged(*tree)) for name in names if name != me):
        return None
    slots = {name: place for place, name in enumerate(names)}
    disk = _share_disk(names, desired, view, slots)
    return FoundedVoters(
        epoch=1,
        revision=tree[0],
        names=names,
        slots=slots,
        disk=disk,
        addresses=_addresses(desired, None),
        disks=_disks(names, desired, None) if disk else {},
    )


def _unfounded(name: str, view: View, ready: str) -> bool:
    peer = view.peers.get(name)
    return (
        peer is not None
        and peer.state is PeerState.ALIVE
        and peer.voters == Voters().rank
        and peer.notes.get(STAGED) == ready
    )


def change(
    desired: Desired, me: str, view: View, founded: FoundedVoters, revision: int
) -> FoundedVoters | None:
    """The next voters, or None where none are wanted, or the last ones are not known to a quorum yet.

    Only an acting leader asks. Before its first change it states in its own term what it found: a
    predecessor may have made other voters of which no quorum knows, and from then on nobody who knows
    those alone is elected by who knows ours.
    """
    if founded.term > view.term:
        return None
    steps = _steps(desired, me, view, founded)
    works = _voting_disk(view.me, desired, founded) is not None and not view.health.disk
    after = next((step for step in steps if _can_lead(step, view, works=works)), None)
    if after is None:
        return None
    if founded.term < view.term:
        after = _voters(founded)
    elif not _known_to_quorum(founded, view):
        return None
    slots = dict(founded.slots)
    for name in after.names:
        slots.setdefault(name, _free(slots))
    known = _addresses(desired, founded)
    return FoundedVoters(
        epoch=founded.epoch + 1,
        revision=revision,
        names=after.names,
        slots=slots,
        term=view.term,
        disk=after.disk,
        addresses={name: known[name] for name in after.names if name in known},
        disks=_disks(after.names, desired, founded) if after.disk else {},
    )


def _steps(desired: Desired, me: str, view: View, founded: FoundedVoters) -> Iterator[Voters]:
    """What one voter more or less would bring nearer to what is wanted, the best first; before that the
    same ones, if they have moved.

    A disk votes beside two names, which makes three voters. One that votes with the last name of two is
    on its way out: it has seen to it that the other one, who may not know, does not get its vote.
    """
    wanted = [node.name for node in peers(desired)]
    names, disk = founded.names, founded.disk
    gone = sorted((name for name in names if name not in wanted), key=lambda name: name == me)
    new = [name for name in wanted if name not in names and _ready(name, view)]
    fewer = [tuple(name for name in names if name != leaving) for leaving in gone]
    shared = _share_disk(names, desired, view, founded.slots) and not (
        disk and any(_disk_of(name, desired) != path for name, path in founded.disks.items())
    )
    if any(_addresses(desired, founded)[name] != at for name, at in founded.addresses.items()):
        yield Voters(names=names, disk=disk)
    if disk and len(names) == 1:
        yield Voters(names=names)
    elif disk:
        yield from (Voters(names=rest, disk=True) for rest in fewer)
        if new or not shared:
            yield Voters(names=names)
    else:
        if new:
            yield Voters(names=tuple(sorted((*names, new[0]))))
        yield from (Voters(names=rest) for rest in fewer)
        if shared and not view.health.disk:
            yield Voters(names=names, disk=True)


def _share_disk(
    names: Sequence[str], desired: Desired, view: View, slots: Mapping[str, int]
) -> bool:
    """Whether these are two, and the tree gives both a shared disk, on which they have a place."""
    return (
        view.engine == "builtin"
        and len(names) == 2
        and all(_disk_of(name, desired) is not None for name in names)
        and all(slots.get(name, SLOTS) < SLOTS for name in names)
    )


def _disk_of(name: str, desired: Desired) -> str | None:
    node = desired.nodes.get(name)
    return node.heartbeat.disk if node is not None else None


def _disks(
    names: Sequence[str], desired: Desired, founded: FoundedVoters | None
) -> Mapping[str, str]:
    """The paths of a disk that votes: as agreed when it became a voter."""
    agreed = founded.disks if founded is not None and founded.disk else {}
    paths = {name: agreed.get(name) or _disk_of(name, desired) for name in names}
    return {name: path for name, path in paths.items() if path is not None}


def _can_lead(voters: Voters, view: View, *, works: bool) -> bool:
    """Whether enough of them are here by now for anybody to lead, where the disk `works`. Nobody is never
    enough."""
    here = [name for name in voters.names if name == view.me or _ready(name, view)]
    return bool(here) and len(here) + (voters.disk and works) >= voters.quorum


def _ready(name: str, view: View) -> bool:
    """A voter that nobody hears would only make the quorum larger; one that is heard on the disk alone
    agrees to nobody once that has no vote."""
    peer = view.peers.get(name)
    return peer is not None and peer.state is PeerState.ALIVE and within_reach(name, view)


def _known_to_quorum(founded: FoundedVoters, view: View) -> bool:
    """Of ourselves what our own heartbeats go by counts, not what we have just read."""
    voters = _voters(founded)
    know = [name for name in voters.names if _knows(name, voters, view)]
    return len(know) + (voters.disk and view.on_disk >= voters.rank) >= voters.quorum


def _knows(name: str, voters: Voters, view: View) -> bool:
    """Whether it will vote for nobody who goes by earlier voters. What it says in a later term than ours
    does not tell that: it may have voted so before it knew."""
    if name == view.me:
        return view.voters.rank >= voters.rank
    peer = view.peers.get(name)
    if peer is None or peer.voters < voters.rank:
        return False
    return peer.term <= view.term or view.engine != "builtin"


def _free(slots: Mapping[str, int]) -> int:
    """A place that nobody ever had: who had one may still write it."""
    taken = set(slots.values())
    return next(place for place in range(len(taken) + 1) if place not in taken)
