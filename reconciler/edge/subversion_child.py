"""The process in which Subversion is spoken. It is killed where it does not answer in time.

A `svn://` call has no time-out and no cancel: against a server that accepts and never answers it
hangs for ever, and a hanging thread cannot be ended. Hence a process, which dies with its parent.

Run as `python -I -m reconciler.edge.subversion_child PARENT_PID`.
"""

from __future__ import annotations

import ctypes
import locale
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

import msgspec

from reconciler.edge.subversion_failures import BROKEN, REFUSED, classify, codes_of, text_of
from reconciler.edge.subversion_wire import (
    Access,
    Answer,
    AskAuthors,
    AskExport,
    AskHead,
    AuthorsFound,
    Exported,
    Failed,
    HeadFound,
    Request,
)
from reconciler.messages import Authorship, Head

if TYPE_CHECKING:
    import pysvn

PR_SET_PDEATHSIG = 1
MESSAGES_READ = 1000
"""Log messages looked up for the files of a tree; older files keep author and revision alone."""

WRONG_PYSVN = (
    "this Python has no usable pysvn: it must be Debian's python3-svn (the package of that name on "
    "PyPI is another one). Install it by `apt-get install python3-svn` and make the environment by "
    "`/usr/bin/python3 -m venv --system-site-packages`"
)


def usable(module: ModuleType) -> bool:
    """Whether this is the real pysvn: the other ones know neither libsvn nor `info2`."""
    client = getattr(module, "Client", None)
    return hasattr(module, "svn_version") and hasattr(client and client(), "info2")


class Login:
    """Gives the password once a request. Asked again, it was wrong: svn:// would ask for ever."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.asked = 0

    def __call__(self, _realm: str, _user: str, _may_save: bool) -> tuple[bool, str, str, bool]:
        self.asked += 1
        if self.asked > 1 or self._access.user is None or self._access.password is None:
            return False, "", "", False
        return True, self._access.user, self._access.password, False

    @property
    def refused(self) -> bool:
        return self.asked > 1 or (self.asked == 1 and self._access.password is None)


class Subversion:
    """One Client, which only one thread may use, and what we ask of it."""

    def __init__(self, module: ModuleType, access: Access) -> None:
        self._svn: Any = module
        self._access = access
        self.login = Login(access)
        self._client = self._connected()

    def _connected(self) -> pysvn.Client:
        client: pysvn.Client = self._svn.Client(self._access.config_dir)
        client.exception_style = 1
        client.set_interactive(False)
        client.set_auth_cache(False)
        client.callback_get_login = self.login
        # A certificate is good because its authority is in the CA file, not because a callback says so.
        client.callback_ssl_server_trust_prompt = lambda _trust: (False, 0, False)
        return client

    def _at(self, revision: int) -> pysvn.Revision:
        kind = self._svn.opt_revision_kind.number
        return self._svn.Revision(kind, revision)  # type: ignore[no-any-return]

    def _latest(self) -> pysvn.Revision:
        return self._svn.Revision(self._svn.opt_revision_kind.head)  # type: ignore[no-any-return]

    def head(self, ask: AskHead) -> HeadFound | Failed:
        """The newest revision that touched our path; commits elsewhere in the repository are noise."""
        info = self._client.info2(ask.url, revision=self._latest(), recurse=False)[0][1]
        if info["kind"] != self._svn.node_kind.dir:
            return Failed(reason="missing", message=f"{ask.url} is a file, not a folder")
        revision = info["last_changed_rev"].number
        below = unquote(info["URL"].removeprefix(info["repos_root_URL"])).strip("/")
        head = Head(
            repository=info["repos_UUID"],
            path=below,
            revision=revision,
            author=info["last_changed_author"] or None,
            message=self._message(ask.url, revision),
            committed_epoch_s=float(info["last_changed_date"] or 0.0),
        )
        return HeadFound(head=head)

    def _message(self, url: str, revision: int) -> str:
        """Followed back from HEAD, like the export: the path may have had another name then."""
        at = self._at(revision)
        entries = self._client.log(
            url,
            revision_start=at,
            revision_end=at,
            peg_revision=self._latest(),
            strict_node_history=False,
        )
        return _text(entries[0]) if entries else ""

    def export(self, ask: AskExport) -> Exported:
        """The path is looked up at HEAD and followed back: a folder whose parent was renamed keeps its
        old last-changed revision, in which this path did not exist.

        Keywords stay unexpanded and externals out: the same bytes for every peer, whatever its URL.
        """
        self._client.export(
            ask.url,
            ask.into,
            revision=self._at(ask.revision),
            peg_revision=self._latest(),
            native_eol="LF",
            ignore_externals=True,
            ignore_keywords=True,
        )
        return Exported()

    def authors(self, ask: AskAuthors) -> AuthorsFound:
        at = self._at(ask.revision)
        rows = self._client.list(ask.url, revision=at, peg_revision=self._latest(), recurse=True)
        root = rows[0][0]["repos_path"].rstrip("/") + "/"
        files = [row[0] for row in rows if row[0]["kind"] == self._svn.node_kind.file]
        changed = {entry["created_rev"].number for entry in files}
        log = self._log(ask, min(changed | {ask.since + 1, ask.revision}))
        return AuthorsFound(
            files={
                entry["repos_path"].removeprefix(root): Authorship(
                    revision=entry["created_rev"].number,
                    author=entry["last_author"] or None,
                    summary=_first_line(log.get(entry["created_rev"].number, "")),
                )
                for entry in files
            },
            messages=tuple(text for number, text in log.items() if number > ask.since),
        )

    def _log(self, ask: AskAuthors, oldest: int) -> dict[int, str]:
        """The messages of the revisions that touched the tree, newest first."""
        entries = self._client.log(
            ask.url,
            revision_start=self._at(ask.revision),
            revision_end=self._at(oldest),
            peg_revision=self._latest(),
            strict_node_history=False,
            limit=MESSAGES_READ,
        )
        return {entry["revision"].number: _text(entry) for entry in entries}

    def answer(self, request: Request) -> Answer:
        self.login.asked = 0
        try:
            match request:
                case AskHead():
                    return self.head(request)
                case AskExport():
                    return self.export(request)
                case AskAuthors():
                    return self.authors(request)
        except self._svn.ClientError as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Failed:
        if self.login.refused:
            return Failed(reason=REFUSED, message=self._refusal())
        text = text_of(error.args)
        return Failed(reason=classify(codes_of(error.args), text), message=text)

    def _refusal(self) -> str:
        if self._access.user is None or self._access.password is None:
            return "the server asks for a user and a password; node.yaml names none for the source"
        return f"the server refuses the user {self._access.user} with the password it was given"


def _text(entry: Mapping[str, str | None]) -> str:
    """The message of a log entry. It is not there where the revision also touched what we may not read."""
    return (entry["message"] if "message" in entry else None) or ""  # noqa: SIM401 (not a real mapping)


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]


def write_servers_file(access: Access) -> None:
    """Bounds for https and its authority, in the only place where libsvn takes them."""
    lines = ["[global]", f"http-timeout = {max(1, round(access.timeout_s))}"]
    if access.ca_file is not None:
        lines += [f"ssl-authority-files = {access.ca_file}", "ssl-trust-default-ca = no"]
    (Path(access.config_dir) / "servers").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tie_to_parent(parent: int) -> None:
    """Die with the parent, also where it died before this line."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def own_stdout() -> BinaryIO:
    """The way to the parent, for us alone: whatever else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def connect(access: Access) -> Callable[[Request], Answer]:
    """Something that answers requests; without a usable pysvn each answer says what is wrong."""
    try:
        import pysvn as module  # noqa: PLC0415 (only after the locale is set)
    except ImportError:
        return _without_pysvn
    if not usable(module):
        return _without_pysvn
    write_servers_file(access)
    return Subversion(module, access).answer


def _without_pysvn(request: Request) -> Answer:
    del request
    return Failed(reason=BROKEN, message=WRONG_PYSVN)


def main() -> None:
    tie_to_parent(int(sys.argv[1]))
    # Under the C locale one file with a non-ASCII name breaks every export (Python's UTF-8 mode does
    # not reach libsvn).
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    answers = own_stdout()
    lines = sys.stdin.buffer
    access = msgspec.json.decode(lines.readline(), type=Access)
    respond = connect(access)
    decoder = msgspec.json.Decoder(Request)
    for line in lines:
        answers.write(msgspec.json.encode(respond(decoder.decode(line))) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
