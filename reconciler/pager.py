"""The pager: which alarms this node tells people of, and what all of them know to be told.

That an alarm began is told by whoever leads; where nobody who is alive has led for some time, a hold by
whoever has it; and what is about one node's own hearing by that node alone, whoever leads. The ledger notes
it once it was told, so a beginning is told at least once whoever dies in between: twice is better than
never. Only an end of what was told is told, by the leader, and by a node whose own it is: others may see
less than whoever told the beginning. A node that hears no leader says nothing of others beyond whom it does
not hear: the ledger may reach a leader that it does not hear, and each would end what the other one begins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

from membership.clock import Now
from membership.ledger import ALARM, HOLD, AlarmTold, FactValue, Ledger, Withdrawn
from membership.view import PeerState, View
from reconciler.paging import RANK, Page, Severity, Situation, alarms, dead_after_s, ended, over
from reconciler.records import Paged, PageEnded

GRACE_S = 2.0
"""How much longer than `deadAfter` nobody may lead before a node speaks for itself: a successor is mostly
chosen by then."""

LONGEST_TITLE = 200
"""Characters of a title that the note keeps, for the end of the alarm."""


class Pager:
    """One node's part. Nothing of it has to outlive a restart: what was on its way is told again."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._sending: set[str] = set()
        self._unled_since_s: float | None = None
        self._untold_since_s: dict[str, float] = {}
        self.deadline_s: float | None = None
        """When time alone lets this node speak, as of the last look."""

    def due(self, situation: Situation, now: Now) -> list[Page]:
        """What is to be told now. Each is on its way from then on, until it `was_told`."""
        leads = _leads(situation, now)
        stand, noted = alarms(situation, now), notes(situation.ledger)
        untold = {key: page for key, page in stand.items() if _news(page, noted.get(key))}
        speaks_s = self._speaks_s(situation, untold, now)
        begun = [page for key, page in sorted(untold.items()) if speaks_s[key] <= now.mono_s]
        overs = [
            over(key, note.title)
            for key, note in noted.items()
            if key not in stand and (leads or _own(key, self._me)) and ended(key, situation)
        ]
        self.deadline_s = min((s for s in speaks_s.values() if now.mono_s < s < inf), default=None)
        pages = [page for page in (*begun, *overs) if page.key not in self._sending]
        self._sending |= {page.key for page in pages}
        return pages

    def _speaks_s(
        self, situation: Situation, untold: Collection[str], now: Now
    ) -> Mapping[str, float]:
        """From when on this node tells of each of these; infinity where that is another one's part."""
        view = situation.view
        leads = _leads(situation, now)
        if leads or _led_by_another(view):
            self._unled_since_s = None
        elif self._unled_since_s is None:
            self._unled_since_s = now.mono_s
        since_s = {key: self._untold_since_s.get(key, now.mono_s) for key in untold}
        self._untold_since_s = since_s
        patience_s = dead_after_s(situation.desired) + GRACE_S

        def speaks_s(key: str) -> float:
            if leads or key == f"mute/{self._me}":
                return now.mono_s
            if not (key.startswith(HOLD) or _own(key, self._me)):
                return inf
            # Alike for all: if the leader does not tell of a hold, it does not know of it.
            unled_s = self._unled_since_s
            return (since_s[key] if unled_s is None else unled_s) + patience_s

        return {key: speaks_s(key) for key in untold}

    def was_told(self, page: Page) -> tuple[Paged | PageEnded, tuple[str, FactValue]]:
        """What is to be noted in the journal, and under which key what in the ledger."""
        self._sending.discard(page.key)
        key = ALARM + page.key
        if page.severity is Severity.OK:
            return PageEnded(key=page.key), (key, Withdrawn(by=self._me))
        entry = Paged(key=page.key, severity=page.severity, title=page.title, text=page.text)
        title = page.title[:LONGEST_TITLE]
        return entry, (key, AlarmTold(severity=page.severity.value, title=title))


def notes(ledger: Ledger) -> Mapping[str, AlarmTold]:
    """Of which alarms people were told that they began, and not yet that they are over."""
    return {
        key.removeprefix(ALARM): fact.value
        for key, fact in ledger.facts.items()
        if isinstance(fact.value, AlarmTold)
    }


def _leads(situation: Situation, now: Now) -> bool:
    """By its lease, and in the last term that it has heard of: two that both took themselves for the
    leader would contradict each other for ever."""
    view = situation.view
    return view.leads(now.mono_s) and view.term >= situation.ledger.term


def _led_by_another(view: View) -> bool:
    """Whether somebody else leads who is alive, as far as this node can tell."""
    if view.leader in (None, view.me):
        return False
    peer = view.peers.get(view.leader)
    return peer is not None and peer.state is PeerState.ALIVE


def _own(key: str, me: str) -> bool:
    """Whether an alarm is about what this node alone can see."""
    return key in (f"mute/{me}", f"no-leader/{me}")


def _news(page: Page, note: AlarmTold | None) -> bool:
    """What was told and has become worse is told again: some ways want to hear of the worst alone."""
    return note is None or RANK[page.severity] > _rank(note.severity)


def _rank(word: str) -> float:
    """Of what a peer told, which may be of a newer cxm: a word that is not known here is as bad as any, and
    nothing is told again after it."""
    known = {severity.value: rank for severity, rank in RANK.items()}
    return known.get(word, inf)
