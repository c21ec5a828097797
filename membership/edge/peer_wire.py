"""What travels over the peer channel, as both of its ends read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from aiohttp import StreamReader, web

from membership.ledger import Fact, read, written
from schema.model import Frozen

JOIN = "/v1/join"

LARGEST = 4 * 1024 * 1024
"""Bytes of a message, but for a tree."""

LARGEST_BATCH = 1024 * 1024
"""Bytes of facts that are sent at once, where a single one is not larger."""

LARGEST_TREE = 256 * 1024 * 1024
MOST_FILES = 100_000

M = TypeVar("M")


class TooLarge(Exception):
    """More bytes come than anything of this kind may have."""


class Told(Frozen, frozen=True, kw_only=True):
    """`facts` as JSON; `digest` is of all that is durable where this comes from.

    In the answer to `Known` they are what the asker lacks, `left` more of which do not fit in; and
    `lacking` are the keys of what the asker has and the answerer does not.
    """

    facts: tuple[msgspec.Raw, ...] = ()
    digest: str = ""
    left: int = 0
    lacking: tuple[str, ...] = ()

    def read(self) -> tuple[Fact, ...]:
        """Raises msgspec.DecodeError."""
        return tuple(read(bytes(fact)) for fact in self.facts)


class Known(Frozen, frozen=True, kw_only=True):
    """The stamps of all facts that the sender has, by key."""

    known: Mapping[str, str]


def batches(facts: Iterable[Fact]) -> Iterator[tuple[msgspec.Raw, ...]]:
    """The facts, so many at once as a message holds."""
    batch: list[msgspec.Raw] = []
    size = 0
    for fact in facts:
        text = written(fact)
        if batch and size + len(text) > LARGEST_BATCH:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(msgspec.Raw(text))
        size += len(text)
    if batch:
        yield tuple(batch)


def decoded(body: bytes, kind: type[M]) -> M:
    """Raises msgspec.DecodeError for whatever is not a `kind`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"malformed: {error}") from None


async def bounded(content: StreamReader, most: int) -> bytes:
    """All that comes, once it has come. Raises TooLarge after `most` bytes."""
    chunks: list[bytes] = []
    left = most
    async for chunk in content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise TooLarge(f"more than {most} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def as_json(model: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(model), content_type="application/json")
