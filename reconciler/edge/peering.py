"""Peering: this daemon among the others. Heartbeats on one side, the channel to other peers on the other.

Wires the edge of `membership` to the reconciler: views go in, candidacy comes out, facts go both ways.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from membership.edge.durable import write_whole
from membership.edge.exchange import Exchange
from membership.edge.identity import Identity
from membership.edge.invitation import Invitations
from membership.edge.key_file import KeyFile
from membership.edge.link import HeartbeatLink
from membership.edge.peer_server import PeerServer
from membership.edge.sealing import Sealer
from membership.edge.secret_files import SecretError
from membership.edge.stored import ROSTER
from membership.ledger import Fact, Ledger, Target
from membership.roster import Candidacy, Door, Roster, Timing
from membership.view import SOCKET, View, unknown
from reconciler.edge.clock import boot_s
from reconciler.edge.revisions import UnreadableTree, read_tree
from reconciler.edge.source import SubversionSource
from reconciler.messages import Staged

RENEW_S = 1.0
RENEW_WITHIN_S = 2.0
WATCH_S = 0.5
KEYS_EVERY_S = 1.0
BIND_AGAIN_S = 2.0

_log = structlog.get_logger("cxmd")


class Inside(Protocol):
    """The reconciler of this daemon, as its peers need it."""

    @property
    def ledger(self) -> Ledger: ...
    def take(self, facts: Sequence[Fact]) -> None: ...
    def saw(self, view: View) -> None: ...
    async def candidacy(self) -> Candidacy: ...


class PeerLink:
    """Fills `Peers` of the ports, `Others` of requests and `Host` of the channel.

    To be made while the event loop runs; `attach` comes before anything else.
    """

    def __init__(
        self,
        identity: Identity,
        key_file: KeyFile,
        folders: tuple[Path, Path],
        source: SubversionSource,
        engine: str,
        bundle: Callable[[], bytes],
    ) -> None:
        self._identity = identity
        self._key_file = key_file
        self._state_dir, run_dir = folders
        self._source = source
        self._engine = engine
        self._sealer = Sealer(identity.keys)
        self._invitations = Invitations(identity, bundle, boot_s)
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exchange = Exchange(identity, self)
        self._server = PeerServer(identity, self)
        self._link = HeartbeatLink(run_dir / SOCKET, self._pushed, boot_s)
        self._doors: tuple[Door, ...] = ()
        self._roster: Roster | None = None
        self._view: View | None = None
        self._seen_s = boot_s()
        self._inside: Inside
        self._answer: Callable[[str, bytes], Awaitable[tuple[int, bytes]]]

    def attach(
        self, inside: Inside, answer: Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
    ) -> None:
        """Whom views and facts are for, and who answers what peers ask."""
        self._inside, self._answer = inside, answer

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(self._renew())
            tasks.create_task(self._watch())
            tasks.create_task(self._serve())
            tasks.create_task(self._follow_keys())
            await self._broken

    async def _follow_keys(self) -> None:
        """Take part by whatever keys the file has: they are changed one node after the other."""
        file = self._key_file
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            try:
                if not file.changed():
                    continue
            except SecretError as error:
                message = f"{error}; the keys before stay in use"
                _log.error("cluster-key-unusable", message=message)
                continue
            await self._use(Identity(self._identity.node, self._identity.cluster_id, file.keys))
            _log.info("cluster-key-changed", keys=len(file.keys))

    async def _use(self, identity: Identity) -> None:
        self._identity = identity
        self._sealer = Sealer(identity.keys)
        self._invitations.use(identity)
        self._exchange.use(identity)
        await self._server.use(identity)

    async def close(self) -> None:
        await self._server.close()
        await self._exchange.close()

    # --- heartbeats -----------------------------------------------------------------------------

    def _pushed(self, view: View) -> None:
        self._view, self._seen_s = view, boot_s()
        self._inside.saw(view)
        self._exchange.saw(view)

    async def _watch(self) -> None:
        """A view that is not renewed says nothing any more."""
        while True:
            await asyncio.sleep(WATCH_S)
            view = self._view
            if view is not None and boot_s() - self._seen_s > self.timing.view_s:
                self._view = None
                reason = "cxm-heartbeatd of this node does not say anything"
                _log.warning("view-lost", message=reason)
                self._inside.saw(unknown(view.me, self._engine, view.term, reason))

    async def _renew(self) -> None:
        """Candidacy is fresh progress: of the reconciler, which answers in its turn, and of the disk."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                async with asyncio.timeout(RENEW_WITHIN_S):
                    candidacy = await self._inside.candidacy()
                    await asyncio.to_thread(_prove_disk, self._state_dir / "alive")
            except TimeoutError:
                _log.warning("no-candidacy", message="the reconciler or the disk is slow")
            except OSError as error:
                _log.warning("no-candidacy", message=f"{self._state_dir}: {error.strerror}")
            else:
                self._link.renew(candidacy)

    # --- ports ----------------------------------------------------------------------------------

    def muster(self, roster: Roster) -> None:
        """Written whole, so that the heartbeats read it whole or not at all."""
        self._roster = roster
        self._exchange.follow(roster)
        me = roster.member(roster.me)
        self._doors = me.doors if me is not None else ()
        write_whole(self._state_dir / ROSTER, msgspec.json.encode(roster))

    def hand_over(self, to: str) -> None:
        self._link.hand_over(to or None)

    async def share(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        acknowledged = await self._exchange.share(facts)
        return tuple(name for name, done in acknowledged.items() if done)

    async def gather(self, within_s: float) -> tuple[str, ...]:
        return await self._exchange.gather(within_s)

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        """From whichever peer has it first."""
        del since
        staged = Staged(target=target, message="no peer that could be reached has it")
        for name in self._exchange.reached:

            async def fetch(into: Path, name: str = name) -> None:
                revision, digest = target.revision, target.digest
                await self._exchange.fetch_tree(name, revision, digest, into, timeout_s)

            staged = await self._source.receive(target, fetch)
            if staged.tree is not None:
                break
        return staged

    def seal(self, text: str) -> str:
        return self._sealer.seal(text)

    def unseal(self, sealed: str) -> str:
        return self._sealer.unseal(sealed)

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        return await self._exchange.ask(peer, body, timeout_s)

    @property
    def timing(self) -> Timing:
        """Of the roster in force."""
        return self._roster.timing if self._roster is not None else Timing()

    async def holds(self, peer: str) -> bool:
        return await self._exchange.equal(peer)

    # --- what other peers ask -------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return self._inside.ledger

    def take(self, facts: Sequence[Fact]) -> None:
        """A ledger that cannot be written to ends the daemon, whoever's request found that out."""
        try:
            self._inside.take(facts)
        except OSError as error:
            if not self._broken.done():
                self._broken.set_exception(error)
            raise

    async def asked(self, peer: str, body: bytes) -> tuple[int, bytes]:
        return await self._answer(peer, body)

    async def tree(self, revision: int, digest: str) -> Mapping[str, bytes] | None:
        folder = self._source.folder(revision, digest)
        if folder is None:
            return None
        try:
            return await asyncio.to_thread(read_tree, folder)
        except (OSError, UnreadableTree) as error:
            _log.warning("tree-not-served", message=str(error))
            return None

    async def joining(self, body: bytes) -> tuple[int, bytes]:
        return await self._invitations.joining(body)

    async def invite(self, name: str) -> str:
        """A one-time code for the node of this name, which is to join."""
        return await self._invitations.invite(name)

    async def _serve(self) -> None:
        """Listen where the tree says, which may change, and may not be ours to bind yet."""
        told: dict[Door, str] = {}
        while True:
            before = self._server.doors
            failed = await self._server.listen(self._doors)
            for host, port in self._server.doors - before:
                _log.info("peer-channel-open", address=f"{host}:{port}")
            why = {door: str(error) for door, error in failed.items()}
            for (host, port), message in why.items() - told.items():
                _log.warning("peer-channel-not-open", address=f"{host}:{port}", message=message)
            told = why
            await asyncio.sleep(BIND_AGAIN_S if failed else WATCH_S)


def _prove_disk(path: Path) -> None:
    """A journal that cannot be written to would be found out too late: at the first action.

    A new file each time: a full disk takes what goes into blocks that it has given out before.
    """
    fresh = path.with_name(path.name + ".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        os.write(file, f"{boot_s():020.6f}\n".encode())
        os.fdatasync(file)
    finally:
        os.close(file)
    fresh.replace(path)
