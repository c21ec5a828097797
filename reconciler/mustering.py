"""Mustering: which peers the tree means, on which addresses, and who of them votes.

The set of voters changes by one name at a time, each change known to a quorum before the next one, so
that any two sets which could both grant a leader share a voter. A cluster is founded once, when all
its peers hear each other and none of them knows of any voters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from membership.ledger import FoundedVoters
from membership.roster import Member, Roster, Timing, Voters
from membership.view import PeerState, View
from schema.model import Desired, Frozen, Node, Role

EPOCH = "epoch"
STAGED = "staged"
"""Notes of a peer: the epoch of the voters that it knows, the tree that it has ready."""


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
    """The roster that this tree means. `tree` is its revision and digest."""
    beat = desired.cluster.heartbeat
    names = [node.name for node in peers(desired)]
    slots = _slots(names, founded)
    own = desired.nodes.get(me)
    return Roster(
        cluster_id=desired.cluster.id,
        me=me,
        members=tuple(_member(node, peering, slots) for node in peers(desired)),
        voters=_voters(founded),
        timing=Timing(
            interval_s=beat.interval_s,
            suspect_after_s=beat.suspect_after_s,
            dead_after_s=beat.dead_after_s,
        ),
        disk=own.heartbeat.disk if own is not None else None,
        engine=peering.engine,
        revision=tree[0],
        digest=tree[1],
    )


def _slots(names: Sequence[str], founded: FoundedVoters | None) -> dict[str, int]:
    """Everybody's place on a shared disk. Who votes keeps its own; one that is to join takes a free one."""
    slots = dict(founded.slots) if founded is not None else {}
    for name in names:
        slots.setdefault(name, _free(slots))
    return slots


def _voters(founded: FoundedVoters | None) -> Voters:
    if founded is None:
        return Voters()
    return Voters(epoch=founded.epoch, revision=founded.revision, names=founded.names)


def _member(node: Node, peering: Peering, slots: Mapping[str, int]) -> Member:
    addresses = tuple(
        endpoint(address, peering.heartbeat_port) for address in node.heartbeat.addresses
    )
    door = (addresses[0][0], peering.peer_port) if addresses else None
    return Member(name=node.name, addresses=addresses, peer=door, slot=slots.get(node.name, 0))


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
    return FoundedVoters(epoch=1, revision=tree[0], names=names, slots=slots)


def _unfounded(name: str, view: View, ready: str) -> bool:
    peer = view.peers.get(name)
    return (
        peer is not None
        and peer.state is PeerState.ALIVE
        and peer.notes.get(EPOCH) == "0"
        and peer.notes.get(STAGED) == ready
    )


def change(
    desired: Desired, me: str, view: View, founded: FoundedVoters, revision: int
) -> FoundedVoters | None:
    """The next change of the voters, one name, or None where none is wanted or the last one is not
    known to a quorum yet. Only an acting leader asks. It leaves last of all."""
    wanted = [node.name for node in peers(desired)]
    gone = [name for name in founded.names if name not in wanted]
    new = [name for name in wanted if name not in founded.names and _ready(name, view)]
    if not gone and not new:
        return None
    if not _known_to_quorum(founded, me, view):
        return None
    if new:
        names = tuple(sorted((*founded.names, new[0])))
    else:
        leaving = next((name for name in gone if name != me), gone[0])
        names = tuple(name for name in founded.names if name != leaving)
    slots = {name: place for name, place in founded.slots.items() if name in names}
    for name in names:
        slots.setdefault(name, _free(slots))
    return FoundedVoters(epoch=founded.epoch + 1, revision=revision, names=names, slots=slots)


def _ready(name: str, view: View) -> bool:
    """A voter that nobody hears would only make the quorum larger."""
    peer = view.peers.get(name)
    return peer is not None and peer.state is PeerState.ALIVE


def _known_to_quorum(founded: FoundedVoters, me: str, view: View) -> bool:
    know = [
        name
        for name in founded.names
        if name == me
        or (
            ((peer := view.peers.get(name)) is not None)
            and peer.notes.get(EPOCH) == str(founded.epoch)
        )
    ]
    return len(know) >= len(founded.names) // 2 + 1


def _free(slots: Mapping[str, int]) -> int:
    taken = set(slots.values())
    return next(place for place in range(len(taken) + 1) if place not in taken)
