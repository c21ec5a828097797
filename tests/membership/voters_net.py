"""Hearts whose voters change: whoever leads brings them nearer to what its tree wants, by the real rule.

Each node has a tree and a ledger of its own, of which only the voters matter here. What one has another
gets now and then, and its own heart some time after that.
"""

from __future__ import annotations

from msgspec.structs import replace

from membership.events import RosterChanged
from membership.ledger import FoundedVoters
from membership.roster import Roster
from membership.view import Peer, PeerState, View
from reconciler.mustering import STAGED, Peering, change, found, muster, peers, staged
from schema.model import Desired, NodeHeartbeat
from tests.core.stage import desired
from tests.membership.heart_net import CLUSTER, HeartNet

ADDRESSES = (("", 1), ("", 2))


def tree(*names: str, disk: bool) -> Desired:
    """A tree in which these are peers; with `disk` each is given a shared one."""
    nodes = {name: {"roles": ["run", "peer"]} for name in names} | {"bare": {}}
    wanted = desired(nodes=nodes)
    beating = NodeHeartbeat(disk="/disk" if disk else None)
    given = {name: replace(wanted.nodes[name], heartbeat=beating) for name in names}
    return replace(wanted, nodes={**wanted.nodes, **given})


class VotersNet(HeartNet):
    """`wanted` is the newest tree, `trees` and `ledgers` what each node has; `made` are the voters that
    were ever made, in order."""

    def __init__(self, *names: str, wanted: Desired, seed: int) -> None:
        self.wanted = wanted
        self.trees: dict[str, Desired] = dict.fromkeys(names, wanted)
        self.ledgers = dict.fromkeys(names, first(wanted))
        self.made: list[FoundedVoters] = []
        super().__init__(*names, seed=seed)

    def roster(self, name: str) -> Roster:
        peering = Peering(engine="builtin")
        mine = muster(self.trees[name], name, peering, self.ledgers[name], (1, "d"))
        members = tuple(replace(member, addresses=ADDRESSES) for member in mine.members)
        return replace(mine, cluster_id=CLUSTER, members=members, timing=self.timing)

    def live(self, haste: float) -> None:
        """A moment in the life of all the `cxmd`s; each does what it has to do with this chance."""
        chance, names = self.random, list(self.seats)
        for name in names:
            if chance.random() < haste:
                self._change(name)
            if chance.random() < haste:
                self._exchange(name, chance.choice(names))
            if chance.random() < haste:
                self.tell(name, RosterChanged(roster=self.roster(name)))

    def _change(self, name: str) -> None:
        view = self.seats[name].view
        if view is None or name not in self.acting():
            return
        after = change(self.trees[name], name, view, self.ledgers[name], 1)
        if after is not None:
            self.ledgers[name] = after
            self.made.append(after)

    def _exchange(self, one: str, other: str) -> None:
        """The newest tree comes to one of them, and what it knows of the voters goes to the other."""
        self.trees[one] = self.wanted
        if (one, other) not in self.cut and all(self.seats[it].heart for it in (one, other)):
            self.ledgers[other] = max(self.ledgers[one], self.ledgers[other], key=_rank)

    def settled(self) -> bool:
        """Whether the voters are those that the newest tree wants, and all who vote know it."""
        last = max(self.ledgers.values(), key=_rank)
        end = first(self.wanted)
        views = [self.seats[name].view for name in last.names]
        known = all(view is not None and view.voters.rank == _rank(last) for view in views)
        return known and (last.names, last.disk) == (end.names, end.disk)


def first(wanted: Desired) -> FoundedVoters:
    """The voters with which a cluster of this tree begins, as the real rule founds it."""
    names = [node.name for node in peers(wanted)]
    ready = Peer(state=PeerState.ALIVE, notes={STAGED: staged(1, "d")})
    view = View(
        me=names[0],
        term=0,
        leader=None,
        lead_until_s=0.0,
        peers=dict.fromkeys(names, ready),
        engine="builtin",
    )
    founded = found(wanted, names[0], view, (1, "d"))
    assert founded is not None
    return founded


def _rank(founded: FoundedVoters) -> tuple[int, int]:
    return (founded.term, founded.epoch)
