"""A node that comes back from its death: who opens it again, and what is said until then."""

from __future__ import annotations

import pytest

from membership.view import Peer, PeerState
from reconciler.accusing import accused
from reconciler.actions import Action, Call, Cause, DeclareDead, Done, Outcome, Stalled, Told, Verb
from reconciler.diff import diff
from reconciler.drift import NodeChange
from reconciler.journal import JournalState, replay
from reconciler.records import AnyEntry, FoundOpen, Intended, Record, Settled
from tests.core.court import died, facts, failing, hearing, host, silent

XEN3 = host("xen3")
BACK = {"xen3": {"enabled": False, "boot_hint": "9000"}}
CERTIFICATE = {"certificate__xen3": died("xen3", boot_hint="1000")}


def intended(call: Call) -> Intended:
    action = Action(
        id="A-1",
        object="node/xen3",
        verb=Verb.WRITE_OFF,
        cause=Cause.RECOVERY,
        reason="NodeDead",
        message="",
        call=call,
    )
    return Intended(txn="t", action=action, subject=XEN3)


def settled(outcome: Outcome) -> Settled:
    return Settled(txn="t", object="node/xen3", subject=XEN3, outcome=outcome)


def after(*entries: AnyEntry) -> JournalState:
    return replay(
        Record(seq=seq, at_s=float(seq), entry=entry) for seq, entry in enumerate(entries, start=1)
    )


WRITTEN_OFF = (intended(DeclareDead(node=XEN3)), settled(Done()))


def rows(journal: JournalState, *, answers: bool, dead: bool = True) -> list[tuple[str, str]]:
    """What is done or told about xen3, which the pool shows closed and in a newer boot."""
    states = {} if answers else {"xen3": silent()}
    at = hearing(
        {**states, "xen2": Peer(state=PeerState.ALIVE, sees=("xen1",))},
        ledger=facts(**(CERTIFICATE if dead else {})),
        probing=None if answers else failing("xen3"),
        hosts=BACK,
        on="xen2",
    )
    drift = diff(at.desired, at.observed, at.ledger, journal, accused(at), {}, at.now)
    changes = [(str(c.verb), c.reason) for c in drift.changes if isinstance(c, NodeChange)]
    told = [("told", row.reason) for row in drift.told if _about(row)]
    return [*changes, *told]


def _about(row: Told) -> bool:
    return row.object == "node/xen3" and row.reason != "NothingToRecover"


def test_it_is_opened_by_who_had_it_written_off_once_it_answers() -> None:
    assert rows(after(*WRITTEN_OFF), answers=True) == [("uncordon", "Returned")]
    assert rows(after(*WRITTEN_OFF), answers=False) == [("told", "WrittenOff")]


def test_once_it_was_seen_open_somebody_else_has_closed_it() -> None:
    journal = after(*WRITTEN_OFF, FoundOpen(node=XEN3))
    assert rows(journal, answers=True) == [("told", "DisabledByOther")]


def test_who_was_closed_before_it_died_is_not_opened() -> None:
    journal = after(intended(DeclareDead(node=XEN3, closes=False)), settled(Done()))
    assert rows(journal, answers=True) == [("told", "DisabledByOther")]


def test_a_write_off_that_came_to_nothing_closed_nothing() -> None:
    refused = settled(Stalled(reason="HostIsLive", message="it lives"))
    journal = after(intended(DeclareDead(node=XEN3)), refused)
    assert rows(journal, answers=True) == [("told", "DisabledByOther")]


@pytest.mark.parametrize("dead", [True, False])
def test_one_that_only_restarts_its_toolstack_is_not_opened_for_it(dead: bool) -> None:
    assert rows(JournalState(), answers=True, dead=dead) == [("told", "DisabledByOther")]
