"""`kill -9` at every await point: the same end, nothing done twice, nothing left open."""

from __future__ import annotations

import pytest

from tests.simulation.crashes import faults, pairs, undisturbed

PARTS = 8
"""The seams are dealt out, so that the workers share them."""

EVERY_NTH_PAIR = 7


def test_the_undisturbed_life_is_a_good_one() -> None:
    told = undisturbed()
    assert told.faults == ()
    assert told.lives == 1
    assert set(told.counts.values()) <= {1, 2}


def test_the_seams_are_of_every_kind() -> None:
    """Each call has two or three, each durable write three; without them nothing is proven."""
    seams = undisturbed().seams
    assert len(seams) > 400
    for call in ("start_on", "clean_shutdown", "suspend", "resume_on", "pool_migrate"):
        for moment in ("not yet sent", "on its way", "answered"):
            assert f"{moment}: Async.VM.{call}" in seams
    for call in ("Async.host.disable", "Async.host.enable", "VM.set_memory_limits", "event.inject"):
        assert f"answered: {call}" in seams
    for moment in ("not yet in", "half in", "in"):
        assert f"{moment} the journal: Intended" in seams
        assert f"{moment} the ledger: target" in seams


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_seam(part: int) -> None:
    seams = len(undisturbed().seams)
    found = [fault for seam in range(1 + part, seams + 1, PARTS) for fault in faults(seam)]
    assert found == [], "\n".join(found)


def test_killed_again_while_it_recovers() -> None:
    """A sample; `python -m tests.simulation.crashes` takes eight times as many."""
    found = [fault for kills in list(pairs(1))[::EVERY_NTH_PAIR] for fault in faults(*kills)]
    assert found == [], "\n".join(found)
