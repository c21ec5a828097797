"""A mutant that its tests notice is killed, and the module as it is lives."""

from __future__ import annotations

from tests.mutants.mutants import ROOT, survives
from tests.mutants.mutation import Mutant, mutants

MODULE = "fencing/brake.py"


def test_a_mutant_is_killed_and_the_module_itself_lives() -> None:
    text = (ROOT / MODULE).read_text()
    assert survives(MODULE, Mutant("nothing", text))
    mutant = next(it for it in mutants(text) if "len(fallen) < 2" in it.what)
    assert mutant.what.endswith("len(fallen) <= 2")
    assert not survives(MODULE, mutant)


def test_each_decision_is_changed_once() -> None:
    found = [it.what for it in mutants("def f(a, b):\n    return a < 1 and not b\n")]
    assert found == [
        "line 2: return a < 1 and (not b) -> return None",
        "line 2: a < 1 and (not b) -> a < 1 or not b",
        "line 2: a < 1 -> a <= 1",
        "line 2: not b -> not not b",
        "line 2: 1 -> 2",
    ]
