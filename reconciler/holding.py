"""Holding: when a hold counts, so that whoever asked for it may be told that it stands.

Two things have to be true. Nobody who acts goes on without it: the acting leader has it, or no lease
that this node does not see can be left. And it is not lost with any one node: no quorum of voters is
without one that has it, so whoever leads next finds it. Where the only other voter is dead and a shared
disk, or another engine, stands in for it, nobody is left to be told: the pool is told instead that this node
leads alone, and whoever finds that there and not in its ledger holds everything (`reigns`).

It stops whoever hears of it, by whatever way: its id is in the heartbeats of all who have it. So a leader
that is reached by the shared disk alone, or by a cable that works in one direction, begins nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from membership.ledger import HOLD, Hold, Ledger, as_said
from membership.roster import Timing
from membership.view import PeerState, View
from schema.model import Frozen

HOLDS = "holds"
"""A note of a peer: the ids of holds that stand in its ledger."""

MOST_NOTED = 4
"""Any of them stops everything, and a heartbeat is small: the latest."""

_GONE = (PeerState.DEAD, PeerState.LEFT)


class Spread(Frozen, frozen=True, kw_only=True):
    """How far a hold has come. `have` are the nodes that have made it durable, this one among them.

    Monotonic seconds: `led_since_s`, since when `view` has named this leader of this term, or nobody;
    `kept_since_s`, since when enough have had it that it cannot be lost, None while they are too few.
    `alone`: this node acts without its only possible successor, and the pool was told so.
    """

    view: View
    led_since_s: float
    have: frozenset[str]
    alone: bool = False
    kept_since_s: float | None = None


def noted(ledger: Ledger) -> dict[str, str]:
    """What heartbeats tell of the holds that stand here; nothing where none does."""
    keys = {f"{HOLD}{hold.id}" for hold in ledger.holds}
    latest = as_said(ledger.facts[key] for key in keys if key in ledger.facts)[-MOST_NOTED:]
    ids = [fact.key.removeprefix(HOLD) for fact in latest]
    return {HOLDS: " ".join(ids)} if ids else {}


def heard_of(view: View, ledger: Ledger) -> Iterator[Hold]:
    """The holds of which the heartbeats of others tell, and our ledger knows nothing. Of one that it knows
    the end a peer may go on telling for a while."""
    found: dict[str, str] = {}
    for name, peer in sorted(view.peers.items()):
        if name != view.me:
            found |= dict.fromkeys(_ids(peer.notes), name)
    for id_, name in found.items():
        if f"{HOLD}{id_}" not in ledger.facts:
            reason = f"{name} holds, and tells why once its ledger can be read"
            yield Hold(id=id_, reason=reason, by=name)


def telling(view: View, id_: str) -> frozenset[str]:
    """The nodes whose heartbeats tell of this hold: each has made it durable."""
    return frozenset(name for name, peer in view.peers.items() if id_ in _ids(peer.notes))


def _ids(notes: Mapping[str, str]) -> list[str]:
    return notes.get(HOLDS, "").split()


def keepers(view: View) -> tuple[tuple[str, ...], int]:
    """Of whom how many have to have a hold, so that none can lead who does not hear of it.

    Voters are needed by whoever leads. Where they are not known, or do not decide, any peer may lead;
    a node without a view knows of nobody.
    """
    if view.voters.epoch and view.engine == "builtin":
        return view.voters.names, view.voters.blocking
    known = view.peers.items()
    # Where somebody leads, who is dead comes back to a leader that tells it.
    names = [name for name, peer in known if view.leader is None or peer.state not in _GONE]
    return tuple(names), len(names)


def kept(spread: Spread) -> bool:
    """Whether enough have it, or whoever lacks it would find that out before it acts."""
    names, enough = keepers(spread.view)
    return spread.alone or (bool(names) and sum(name in spread.have for name in names) >= enough)


def to_be_told(view: View) -> frozenset[str]:
    """The other nodes that a hold is to be brought to before it counts."""
    names, _ = keepers(view)
    return frozenset({*names, view.leader or view.me} - {view.me})


def waits_for(spread: Spread, timing: Timing, now_s: float) -> str:
    """What is still to come before the hold counts, in words that follow "waiting for"; "" once it does."""
    view = spread.view
    if view.alone:
        return ""
    if not view.peers:
        return "cxm-heartbeatd of this node, which shows no peers"
    if not kept(spread) or spread.kept_since_s is None:
        return _keepers_missing(view, spread.have)
    if view.leader not in (None, view.me, *spread.have):
        return f"{view.leader}, which leads, to store it"
    if view.leader == view.me and not view.leads(now_s):
        return "this node's own lease, which is over"
    left_s = _unseen_until_s(spread, timing) - now_s
    return f"any lease that is not seen from here to end: {left_s:.0f} s" if left_s > 0.0 else ""


def _unseen_until_s(spread: Spread, timing: Timing) -> float:
    """Until when somebody may act whom this node does not take for the leader."""
    view, kept_since_s = spread.view, spread.kept_since_s
    assert kept_since_s is not None, "it is kept"
    if view.leader == view.me:
        return view.acts_from_s
    if view.leader is not None:
        return spread.led_since_s + timing.wait_s
    return max(spread.led_since_s, kept_since_s) + timing.wait_s


def _keepers_missing(view: View, have: Collection[str]) -> str:
    names, enough = keepers(view)
    lacking = [name for name in names if name not in have]
    count = enough - (len(names) - len(lacking))
    some = "" if count >= len(lacking) else f"{count} of "
    return f"{some}{', '.join(lacking)} to store it"


def held_by(holds: Sequence[Hold]) -> tuple[str, str]:
    """What is told of whatever is held, and its remedy: each of the holds has to end. There is one at
    least."""
    told = "; ".join(f"hold {each.id}: {each.reason}" for each in holds)
    return told, "; ".join(f"cxm release {each.id}" for each in holds)


class Brought(Frozen, frozen=True, kw_only=True):
    """What is brought to other nodes: as people call it, and what is so until it has come there. `noted` is
    the hold of which heartbeats tell where it has come, "" where they tell nothing."""

    what: str
    until_then: str
    noted: str = ""


def hold(identity: str) -> Brought:
    return Brought(
        what=identity,
        noted=identity,
        until_then="a leader out of reach may go on. Look at cxm members, and where a node is not reached"
        " hold on that one too, or stop its cxmd",
    )


def release(identity: str) -> Brought:
    return Brought(
        what=f"the release of {identity}",
        until_then="it is held there. Look at cxm members",
    )


def not_everywhere(brought: Brought, spread: Spread, waiting: str) -> str:
    """What is told of something that does not count yet, when nobody waits for it any longer."""
    names, _ = keepers(spread.view)
    lacking = [
        name for name in sorted({*names, *to_be_told(spread.view)}) if name not in spread.have
    ]
    unknown = f"; not known to be on {', '.join(lacking)}" if lacking else ""
    nobody = " Nobody leads as seen from here, so nothing is begun as it is."
    led = nobody if spread.view.leader is None else ""
    return (
        f"{brought.what} is in force where it is stored: on {', '.join(sorted(spread.have))}{unknown}."
        f"{led} Waited in vain for {waiting}. It goes on to the others as soon as they are reached; until"
        f" then {brought.until_then}"
    )
