"""Whether a transaction may become a revision, and if not, the text its author gets to see."""

from __future__ import annotations

from collections.abc import Iterable

from cli.hooks.transaction import Files, Transaction
from schema import tree
from schema.consent import Missing, changes, missing_consent
from schema.model import Desired
from schema.report import CAP, render

LOOKED_BACK = 10
"""Revisions among which the last valid one is looked for, when somebody got past the hook before."""


def refusal(transaction: Transaction) -> str:
    """Why the transaction is refused, in ASCII; empty where it is not. Raises HookFailed."""
    message = transaction.message
    clusters = transaction.clusters()
    texts = {cluster: _refusal(transaction, cluster, message) for cluster in clusters}
    refused = {cluster: text for cluster, text in texts.items() if text}
    if len(clusters) == 1:
        return "".join(refused.values())
    return "\n".join(f"in {_escaped(cluster)}/\n{text}" for cluster, text in refused.items())


def _refusal(transaction: Transaction, cluster: str, message: str) -> str:
    last, nodes = transaction.before(cluster)
    files = transaction.files(cluster, last, nodes)
    new = tree.load(files)
    if new.desired is None:
        return report(new, files)
    old = _last_good(transaction, cluster, last, new.cache)
    limits = [wish.cluster.limits for wish in (old, new.desired) if wish is not None]
    return consent_text(missing_consent(changes(old, new.desired), limits, message))


def _last_good(
    transaction: Transaction, cluster: str, last: Files, cache: tree.Cache
) -> Desired | None:
    """The wish in force: daemons keep to the last valid revision, so that is what would change."""
    if not last:
        return None
    wish = tree.load(last, cache).desired
    if wish is not None:
        return wish
    history = transaction.history(cluster, LOOKED_BACK)
    wishes = (tree.load(files, cache).desired for files in history)
    return next((wish for wish in wishes if wish is not None), None)


def report(loaded: tree.Loaded, files: Files) -> str:
    """The text of `cxm validate`, short enough for an error message."""
    return render(loaded.errors, files, read=len(files), cap=CAP, ascii_only=True)


def consent_text(missing: Iterable[Missing]) -> str:
    """What goes beyond the limits, and the exact lines with which it is accepted."""
    rows = tuple(missing)
    if not rows:
        return ""
    reasons = "".join(f"this commit {row.reason}\n" for row in rows)
    lines = "".join(f"{row.trailer_line}\n" for row in rows)
    return _escaped(f"{reasons}If that is meant, say so at the end of the commit message:\n{lines}")


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
