"""Sameness: when two plans are the same one, so that exactly what was read is what is approved."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from reconciler.actions import Plan


def plan_digest(plan: Plan) -> str:
    """Hexadecimal, of what would be done and what is refused; not of when, nor of how long it takes."""
    rows = [
        (row.object, row.verb, row.cause, row.reason, row.node, row.call) for row in plan.actions
    ]
    refusals = [(row.object, row.verb, row.reason) for row in plan.blocked]
    return sha256(msgspec.json.encode((rows, refusals))).hexdigest()
