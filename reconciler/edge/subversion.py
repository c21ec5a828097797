"""Subversion, as the daemon sees it: requests to a child process, each with a deadline.

The child is started at the first request, kept while it answers, and killed where it does not; the
next request starts a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from reconciler.edge.subversion_failures import BROKEN, REFUSED, UNREACHABLE
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
from reconciler.messages import Head

LONGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer: about 400,000 files in `authors`."""


KILLED_WITHIN_S = 2.0
"""A killed child may hang in the kernel (a dead NFS server); it is not waited for any longer."""

_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class SourceError(Exception):
    """Subversion did not give what was asked. `reason` as in `SourceFailed`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Subversion:
    """One repository. `access` is asked for anew with each child, so a changed password is taken up.

    Every method raises SourceError. Requests wait for each other; a deadline starts when the request's
    turn comes.
    """

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def head(self, url: str, timeout_s: float) -> Head:
        """The newest revision that touched `url`."""
        answer = await self._ask(AskHead(url=url), timeout_s)
        if not isinstance(answer, HeadFound):
            raise _broken(answer)
        return answer.head

    async def export(self, url: str, revision: int, into: Path, timeout_s: float) -> None:
        """The tree at `url` as of `revision`, into a folder that does not exist yet."""
        ask = AskExport(url=url, revision=revision, into=str(into))
        answer = await self._ask(ask, timeout_s)
        if not isinstance(answer, Exported):
            raise _broken(answer)

    async def authors(
        self, url: str, revision: int, timeout_s: float, since: int = 0
    ) -> AuthorsFound:
        """Who last changed each file of that tree, by path below `url`, and the log after `since`."""
        ask = AskAuthors(url=url, revision=revision, since=since)
        answer = await self._ask(ask, timeout_s)
        if not isinstance(answer, AuthorsFound):
            raise _broken(answer)
        return answer

    async def close(self) -> None:
        """End the child. A later request starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), KILLED_WITHIN_S)

    async def _ask(self, request: Request, timeout_s: float) -> Answer:
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._exchange(request)
            except TimeoutError:
                await self.close()
                raise SourceError(
                    UNREACHABLE, f"Subversion gave no answer within {timeout_s:g} s"
                ) from None
            except (OSError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
                await self.close()
                raise SourceError(UNREACHABLE, f"the Subversion child ended: {error}") from error
            except asyncio.CancelledError:
                # The answer to this request must not be taken for that of the next one.
                await asyncio.shield(self.close())
                raise
            if isinstance(answer, Failed) and answer.reason in (REFUSED, BROKEN):
                await self.close()
        if isinstance(answer, Failed):
            raise SourceError(answer.reason, answer.message)
        return answer

    async def _exchange(self, request: Request) -> Answer:
        child = await self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgspec.json.encode(request) + b"\n")
        await child.stdin.drain()
        line = await child.stdout.readuntil(b"\n")
        return _ANSWERS.decode(line)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        access = self._access()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "reconciler.edge.subversion_child", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_prepared(access),
            limit=LONGEST_ANSWER,
        )
        self._child = child
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(access) + b"\n")
        return child


def _prepared(access: Access) -> dict[str, str]:
    """The child's whole environment: no PYTHONPATH of ours, no HOME with somebody's `.subversion`."""
    Path(access.config_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "HOME": access.config_dir,
    }


def _broken(answer: Answer) -> SourceError:
    return SourceError(BROKEN, f"the Subversion child gave an answer to another question: {answer}")
