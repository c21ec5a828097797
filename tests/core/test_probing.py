"""Probing: when servers are asked whether they answer."""

from __future__ import annotations

from membership.clock import Now
from reconciler.messages import Probed
from reconciler.probing import Probing

ADDRESSES = {"xen2": "10.0.0.2"}


def at(mono_s: float) -> Now:
    return Now(mono_s=mono_s, epoch_s=1e9 + mono_s)


def test_while_an_answer_is_awaited_nothing_is_due() -> None:
    """A server without power answers nothing for as long as the question lasts."""
    probing = Probing()
    assert len(list(probing.due(ADDRESSES, at(10.0)))) == 1
    deadline_s = probing.deadline_s
    assert deadline_s == 13.0
    assert list(probing.due(ADDRESSES, at(12.9))) == []
    assert len(list(probing.due(ADDRESSES, at(deadline_s)))) == 1


def test_an_answered_question_is_asked_again_a_second_later() -> None:
    probing = Probing()
    assert len(list(probing.due(ADDRESSES, at(10.0)))) == 1
    probing.probed(Probed(name="xen2", answers=False, at_s=10.2))
    assert probing.deadline_s == 11.0
    assert len(list(probing.due(ADDRESSES, at(11.0)))) == 1
