"""The certificate that a server shows: what a person compares before it is trusted."""

from __future__ import annotations

import hashlib
import ssl
from urllib.parse import urlsplit

from cli.envelope import failure

_PORT = 443
_WITHIN_S = 5.0


def shown_by(address: str) -> str:
    """The SHA-256 fingerprint of what ADDRESS or ADDRESS:PORT shows; nothing is sent to it.

    Raises Failure (6) where nothing answers there.
    """
    try:
        parts = urlsplit(f"//{address}")
        place = (parts.hostname or address, parts.port or _PORT)
        shown = ssl.get_server_certificate(place, timeout=_WITHIN_S)
    except (OSError, ValueError) as error:
        hint = "is it a server of the pool, and its toolstack running?"
        message = f"{address} shows no certificate: {error}"
        raise failure("unknown", "NoCertificate", message, hint) from None
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest().upper()


def spelled(fingerprint: str) -> str:
    """In pairs, as other tools print it."""
    return ":".join(fingerprint[n : n + 2] for n in range(0, len(fingerprint), 2))
