"""What the daemon and its Subversion child say to each other: one JSON object a line, each way.

The first line to the child is `Access`, which holds the password: it travels by the pipe alone, never
by arguments or environment, which every user of the machine can read.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.messages import Authorship, Head
from schema.model import Frozen


class Access(Frozen, frozen=True, kw_only=True):
    """How to reach the repository. `config_dir` is private to cxm; root's own would rule otherwise.

    `timeout_s` bounds the waits that Subversion itself can bound (https only); the parent's deadline
    bounds the rest.
    """

    config_dir: str
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    timeout_s: float = 10.0

    def __repr__(self) -> str:
        return f"Access(user={self.user!r})"


class AskHead(Frozen, tag_field="op", tag="head", frozen=True, kw_only=True):
    url: str


class AskExport(Frozen, tag_field="op", tag="export", frozen=True, kw_only=True):
    """Export `revision` into the folder `into`, which must not exist yet."""

    url: str
    revision: int
    into: str


class AskAuthors(Frozen, tag_field="op", tag="authors", frozen=True, kw_only=True):
    """Who last changed each file of the tree at `revision`, and what was said since `since`."""

    url: str
    revision: int
    since: int


Request = AskHead | AskExport | AskAuthors


class HeadFound(Frozen, tag_field="answer", tag="head", frozen=True, kw_only=True):
    head: Head


class Exported(Frozen, tag_field="answer", tag="exported", frozen=True, kw_only=True):
    pass


class AuthorsFound(Frozen, tag_field="answer", tag="authors", frozen=True, kw_only=True):
    """`files` by their path below the tree's root. `messages`: the log of every revision after
    `since`, newest first, as far back as is read."""

    files: Mapping[str, Authorship]
    messages: tuple[str, ...] = ()


class Failed(Frozen, tag_field="answer", tag="failed", frozen=True, kw_only=True):
    """`reason` as in `SourceFailed`."""

    reason: str
    message: str


Answer = HeadFound | Exported | AuthorsFound | Failed
