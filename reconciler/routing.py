"""Routing: which node a person's request is for."""

from __future__ import annotations

from membership.view import View
from reconciler.messages import (
    Ask,
    AskDrain,
    AskFreeze,
    AskHold,
    AskLook,
    AskRelease,
    AskThaw,
    AskUndrain,
    Reply,
)

HERE: tuple[type, ...] = (AskLook, AskHold, AskRelease)
"""What any node takes: it is true on all of them as soon as it is true on one."""

SPREAD: tuple[type, ...] = (AskFreeze, AskThaw, AskDrain, AskUndrain)
"""What the leader has decided only once enough voters know it: no successor is without it then."""


def leader_for(ask: Ask, view: View) -> str | None:
    """The node that has to decide about this; None for this very node, or where nobody leads."""
    if isinstance(ask, HERE) or view.alone or view.leader in (None, view.me):
        return None
    return view.leader


def undecidable(ask: Ask, view: View) -> Reply | None:
    """The refusal of what only a leader can decide, while nobody leads."""
    if isinstance(ask, HERE) or view.alone or view.leader is not None:
        return None
    why = f" ({view.reason})" if view.reason else ""
    return Reply(
        accepted=False,
        reason="NoLeader",
        message=f"nobody leads{why}, so nobody can decide about this; look at cxm members",
    )
