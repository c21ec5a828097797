"""What is derived from a cluster key: one secret for each purpose, none of which tells of another."""

from __future__ import annotations

import hashlib
import hmac

AUTHORITY = b"cxm peer authority 1"
SEALING = b"cxm sealed session 1"


def derived(key: bytes, purpose: bytes) -> bytes:
    """32 bytes for this purpose alone (HKDF-SHA-256, RFC 5869, with an empty salt)."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), key, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")
