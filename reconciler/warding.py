"""Warding: all that is done about nodes that die, in one step: who is fenced, who is made master in a
dead one's place, that the members have copies good enough for it, and whether devices switch whom they
should."""

from __future__ import annotations

from reconciler.accusing import Hearing, accused
from reconciler.copying import Copying
from reconciler.deaths import Deaths
from reconciler.guarding import Guarding
from reconciler.leading import Moves
from reconciler.live_drilling import LiveDrilling
from reconciler.members import CopiesSent, MasterMade, MemberEvent, MembersAsked, MembersTold
from reconciler.power import PowerLooked, PowerSwitched
from reconciler.promotion import Promoting

WardEvent = PowerLooked | PowerSwitched | MemberEvent


class Warding:
    """One node's."""

    def __init__(self) -> None:
        self.guarding = Guarding()
        self.promoting = Promoting()
        self._copying = Copying()
        self._live = LiveDrilling()

    @property
    def deadline_s(self) -> float | None:
        """When time alone brings any of it forward."""
        parts = (self.guarding, self.promoting, self._copying, self._live)
        return min((p.deadline_s for p in parts if p.deadline_s is not None), default=None)

    def step(self, at: Hearing, deaths: Deaths) -> Moves:
        """Judge what is to be done now; one thing after the other, each known before the next."""
        wants = self.guarding.step(at, deaths)
        if not wants.facts and not wants.holds:
            wants.add(self.promoting.step(at, deaths))
        if not wants.facts and not wants.holds:
            wants.add(self._copying.step(at, deaths))
        wants.add(self._live.step(at, deaths, self.guarding.readings))
        return wants

    def took(self, event: WardEvent, at: Hearing) -> Moves:
        """Take in what came of an effect."""
        match event:
            case PowerLooked():
                self._live.looked(event)
                return self.guarding.looked(event, at, accused(at))
            case PowerSwitched():
                self.guarding.switched(event)
                self._live.switched(event, at)
            case MembersAsked():
                self.promoting.asked(event, at.now)
            case MasterMade():
                self.promoting.made(event, accused(at), at.now)
            case MembersTold():
                self.promoting.told(event, at.now)
            case CopiesSent():
                return self._copying.sent(event, at, accused(at))
        return Moves()
