"""Telling people: the ways that `notify` of node.yaml names. Each has a deadline; none holds up another.

A program gets the page as one JSON object on its standard input, in an environment that is made for
it; a webhook gets the same object as the body of a POST; a mail goes to the machine's own sendmail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from email.message import EmailMessage

import aiohttp
import msgspec

from reconciler.paging import Page, wanted
from schema.model import Frozen
from schema.settings import Notify

WITHIN_S = 30.0
KILLED_S = 1.0
"""Who was killed is gone by then, or hangs in the kernel."""

MOST_SAID = 4096
"""Bytes of a program's last words that are kept."""

SENDMAIL = "/usr/sbin/sendmail"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Told(Frozen, frozen=True, kw_only=True):
    """What a program or a webhook reads. `severity` ok: what `key` named before is over."""

    format: str = "cxm.page/1.0"
    cluster_id: str
    node: str
    key: str
    severity: str
    title: str
    text: str


class Tellers:
    """All ways of one node."""

    def __init__(self, ways: Sequence[Notify], node: str, cluster_id: str) -> None:
        self._ways = tuple(ways)
        self._node = node
        self._cluster_id = cluster_id

    async def tell(self, page: Page) -> tuple[str, ...]:
        """One line a way: `exec /path: told`, or why not. Ways that want worse things are left out."""
        ways = [way for way in self._ways if page.key == "test" or wanted(page, way.severity)]
        return tuple(await asyncio.gather(*(self._by(way, page) for way in ways)))

    async def _by(self, way: Notify, page: Page) -> str:
        name = f"{way.way} {way.target}"
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._send(way, page)
        except TimeoutError:
            return f"{name}: no end within {WITHIN_S:g} s"
        except (OSError, aiohttp.ClientError, _Refused) as error:
            return f"{name}: {error}"
        return f"{name}: told"

    async def _send(self, way: Notify, page: Page) -> None:
        body = msgspec.json.encode(
            Told(
                cluster_id=self._cluster_id,
                node=self._node,
                key=page.key,
                severity=page.severity.value,
                title=page.title,
                text=page.text,
            )
        )
        match way.way:
            case "exec":
                await _run((way.target,), body + b"\n")
            case "mail":
                await _run((SENDMAIL, "-i", "-t"), _mail(way.target, self._node, page))
            case _:
                await _post(way.target, body)


class _Refused(Exception):
    """The other end did not take it; the text says why."""


async def _run(command: Sequence[str], given: bytes) -> None:
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_ENVIRONMENT,
        start_new_session=True,
    )
    assert child.stdin is not None, "asked for above"
    assert child.stderr is not None, "asked for above"
    ended = False
    try:
        errors, _, status = await asyncio.gather(
            _tail(child.stderr), _feed(child.stdin, given), child.wait()
        )
        ended = True
    finally:
        # It may have ended and left children that keep its standard error open.
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILLED_S):
                    await child.wait()
    if status:
        said = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _Refused(f"exit {status}" + "".join(f": {line}" for line in said))


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The end of what is said there, however much that is."""
    tail = b""
    while chunk := await stream.read(MOST_SAID):
        tail = (tail + chunk)[-MOST_SAID:]
    return tail


async def _feed(stream: asyncio.StreamWriter, given: bytes) -> None:
    """Who does not care for it need not read it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(given)
        await stream.drain()
    stream.close()


def _mail(to: str, node: str, page: Page) -> bytes:
    mail = EmailMessage()
    mail["To"] = to
    # A title may quote what people wrote, on several lines; a header has one.
    mail["Subject"] = " ".join(f"[cxm {page.severity.value}] {page.title}".split())
    mail.set_content(f"{page.title}\n\n{page.text}\n\n-- \ncxm on {node}\n")
    return mail.as_bytes()


async def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        # Followed, a POST would become a GET, which tells nobody anything.
        session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        if answer.status >= 300:
            raise _Refused(f"HTTP {answer.status}")
