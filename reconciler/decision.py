"""Decision: what was made of a person's request."""

from __future__ import annotations

from dataclasses import dataclass

from membership.ledger import FactValue
from reconciler.messages import Reply
from reconciler.records import AnyEntry


@dataclass(frozen=True, slots=True)
class Decision:
    """`facts` are (key, value) for the ledger; `approve` is a revision; `look`: at Subversion, now;
    `hand_over` names who is to lead, "" for whoever can; of the nodes in `read` the fence devices are
    to be read now."""

    reply: Reply
    entries: tuple[AnyEntry, ...] = ()
    facts: tuple[tuple[str, FactValue], ...] = ()
    approve: int | None = None
    look: bool = False
    hand_over: str | None = None
    read: tuple[str, ...] = ()


def refused(reason: str, message: str) -> Decision:
    return Decision(Reply(accepted=False, reason=reason, message=message))
