"""Probing: whether silent nodes' servers answer for themselves, and since when they do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from fencing.judgement import Probes
from membership.clock import Now
from membership.view import PeerState, View
from reconciler.messages import Probe, Probed
from reconciler.observed import Observed
from schema.model import Desired, Node, Role

WITHIN_S = 2.0
EVERY_S = 1.0
"""From one question to the next, where none was answered: death is to be believed within seconds."""

REST_S = 3.0
"""The same where the last one was."""

REPORTS_FOR_S = 10.0
"""So long an answer is a sign that the server is well."""


STRUCK_TRIES = 3
"""How many questions a dead server has surely left without an answer when it is judged."""


@dataclass(frozen=True, slots=True)
class _Asked:
    asked_s: float
    answered_s: float | None = None
    failing_s: float | None = None
    failed: int = 0
    open: bool = True


class Probing:
    """The questions to all servers of which something is to be known, by the name of their node."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def due(self, addresses: Mapping[str, str], now: Now) -> Iterator[Probe]:
        """The questions to be asked now. Whoever is no longer asked about is forgotten: the next silence
        begins anew."""
        for name in self._asked.keys() - addresses.keys():
            del self._asked[name]
        for name, address in addresses.items():
            last = self._asked.get(name)
            if last is not None and now.mono_s < _next_s(last):
                continue
            asked = _Asked(now.mono_s) if last is None else replace(last, asked_s=now.mono_s)
            self._asked[name] = replace(asked, open=True)
            yield Probe(name=name, address=address, within_s=WITHIN_S)

    def probed(self, event: Probed) -> None:
        """Take in an answer. What cannot be told counts neither way."""
        last = self._asked.get(event.name)
        if last is None:
            return
        if event.answers is True:
            last = _Asked(last.asked_s, answered_s=event.at_s)
        elif event.answers is False and _news(event, last):
            failing_s = event.at_s if last.failing_s is None else last.failing_s
            last = replace(last, failing_s=failing_s, failed=last.failed + 1)
        self._asked[event.name] = replace(last, open=False)

    def of(self, name: str, now: Now) -> Probes:
        """What is known of this node's server."""
        known = self._asked.get(name)
        if known is None:
            return Probes()
        return Probes(
            failing_s=None if known.failing_s is None else now.mono_s - known.failing_s,
            failed=known.failed,
            answered_s=None if known.answered_s is None else now.mono_s - known.answered_s,
        )

    def answers(self, name: str, now: Now) -> bool:
        """Whether it answered of late, and has not failed since."""
        known = self.of(name, now)
        answered = known.answered_s is not None and known.answered_s <= REPORTS_FOR_S
        return answered and known.failing_s is None

    def struck(self, names: Collection[str], silent_s: float, now: Now) -> Probing:
        """As it would be if none of these servers had answered for so long."""
        supposed = Probing()
        since_s = now.mono_s - silent_s
        failing = _Asked(now.mono_s, failing_s=since_s, failed=STRUCK_TRIES, open=False)
        supposed._asked = {**self._asked, **dict.fromkeys(names, failing)}
        return supposed

    @property
    def deadline_s(self) -> float | None:
        """When the next question is due."""
        return min((_next_s(asked) for asked in self._asked.values()), default=None)


def _next_s(last: _Asked) -> float:
    """When to ask again; a question that has no answer yet is given its time."""
    if last.open:
        return last.asked_s + WITHIN_S + EVERY_S
    answers = last.answered_s is not None and last.failing_s is None
    return last.asked_s + (REST_S if answers else EVERY_S)


def _news(event: Probed, last: _Asked) -> bool:
    """A question that was asked before the last answer came says nothing about what was after it."""
    return last.answered_s is None or event.at_s > last.answered_s


def has_daemon(node: Node) -> bool:
    """Whether a daemon of ours runs on this very server, so that its silence is the server's."""
    peer = bool({Role.PEER, Role.WITNESS} & {*node.roles})
    return peer and (node.daemon is None or node.daemon.runs_in != "machine")


def asked(desired: Desired, observed: Observed, view: View) -> dict[str, str]:
    """Addresses of the servers that are to be asked whether they are well, by node: those of silent
    daemons, and those that have none to tell of them."""
    found: dict[str, str] = {}
    for node in () if view.alone else desired.nodes.values():
        host = observed.nodes.get(node.host.uuid) if node.host is not None else None
        if host is None or not host.address or node.name == view.me or _speaks(node, view):
            continue
        found[node.name] = host.address
    return found


def _speaks(node: Node, view: View) -> bool:
    """Whether its daemon tells of the server."""
    peer = view.peers.get(node.name)
    return has_daemon(node) and peer is not None and peer.state is PeerState.ALIVE
