"""A new cluster key, and the name that a new node's settings give it."""

from __future__ import annotations

import secrets

KEY = "cluster-key"
_BYTES = 32


def new_key() -> str:
    """A key by which peers know each other."""
    return secrets.token_urlsafe(_BYTES)
