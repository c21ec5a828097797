"""Sealing: text in the ledger that only a holder of the cluster key can read."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from membership.cluster_key import SEALING, derived


class Sealer:
    """The first key seals, each of them opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._box = MultiFernet(
            [Fernet(base64.urlsafe_b64encode(derived(key, SEALING))) for key in keys]
        )

    def seal(self, text: str) -> str:
        return self._box.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """ "" where it was sealed by none of our keys."""
        try:
            return self._box.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return ""
