"""The base of everything that a fact of the ledger can say."""

from __future__ import annotations

from schema.model import Frozen


class Value(Frozen, tag_field="fact", frozen=True, kw_only=True):
    """Base of what a fact can say."""
