"""Every case again, killed after every effect: the same end, and nothing done twice."""

from __future__ import annotations

from collections import Counter

import pytest

from reconciler.messages import Effect, Perform, Write
from reconciler.records import Intended
from tests.plan.cases import cases
from tests.plan.expansion import expand
from tests.plan.interrupted import Crash, Life, lived
from tests.plan.pool import Refused

ALL = {name: case for name, case in cases() if not case.uninterrupted}


@pytest.mark.parametrize("name", ALL)
def test_killed_anywhere_it_ends_the_same(name: str) -> None:
    given = expand(ALL[name])
    whole = lived(given)
    calls = Counter(whole.pool.log)
    for number, effect in enumerate(whole.effects, start=1):
        for crash in Crash if isinstance(effect, Perform) else (Crash.BEFORE,):
            again = lived(given, number, crash)
            place = f"{name}: killed at effect {number} ({type(effect).__name__}), {crash.value}"
            assert again.end() == whole.end(), place
            assert Counter(again.pool.log) == calls, place


@pytest.mark.parametrize("name", ALL)
def test_at_rest_it_stays_at_rest(name: str) -> None:
    """A daemon that is started on the end of a life does nothing."""
    life = lived(expand(ALL[name]))
    calls = len(life.pool.log)
    life.live()
    assert len(life.pool.log) == calls


class Forgetful(Life):
    """A daemon that does not write down what it is about to do."""

    def _carry_out(self, effect: Effect, *, killed: bool) -> None:
        if not (isinstance(effect, Write) and isinstance(effect.record.entry, Intended)):
            super()._carry_out(effect, killed=killed)


def test_a_daemon_that_forgets_its_intents_is_caught() -> None:
    """The harness sees: without the journal, a call that arrives late is made a second time."""
    given = expand(ALL["power/start-where-most-memory-is-free"])
    place = next(
        number
        for number, effect in enumerate(lived(given).effects, start=1)
        if isinstance(effect, Perform)
    )
    with pytest.raises(Refused, match=r"VM_BAD_POWER_STATE|OTHER_OPERATION_IN_PROGRESS"):
        Forgetful(given, place, Crash.LATE).live()
    assert lived(given, place, Crash.LATE).end() == lived(given).end()
