"""Noticing: what became blocked or worth telling, and what no longer is."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.actions import Plan
from reconciler.journal import JournalState
from reconciler.records import Cleared, Noticed


def noticed(plan: Plan, journal: JournalState) -> Iterator[Noticed | Cleared]:
    """What is blocked or told since this plan, and what no longer is."""
    present = {(row.object, row.reason): row.message for row in plan.blocked}
    present.update({(row.object, row.reason): row.message for row in plan.told})
    for obj, reason in sorted(present.keys() - journal.noticed.keys()):
        yield Noticed(object=obj, reason=reason, message=present[obj, reason])
    for obj, reason in sorted(journal.noticed.keys() - present.keys()):
        yield Cleared(object=obj, reason=reason)
