"""`cxmd`: one node's daemon, put together.

The order of the start is the order of trust: settings, the lock on the state, the memory, the claim
of a term, the last good tree; only then is anything looked at, and nothing is done that was not
planned from it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from random import Random, SystemRandom

import structlog

from fencing.edge.agent import Agents, CredentialsError
from membership.edge import node_yaml
from membership.edge.bundle import packed
from membership.edge.identity import Identity as PeerIdentity
from membership.edge.key_file import KeyFile
from membership.edge.secret_files import SecretError, read_secret, secret_path
from membership.edge.starting import (
    EX_CONFIG,
    EX_DATAERR,
    EX_SOFTWARE,
    CannotStart,
    config_given,
    end,
)
from membership.edge.state_lock import StateLock
from membership.edge.supervision import Supervisor, supervisor
from reconciler.edge import log
from reconciler.edge.alone import Alone
from reconciler.edge.arming import Armed, credentials
from reconciler.edge.assembly import Assembly, Identity, Memory, Surroundings
from reconciler.edge.clock import boot_s
from reconciler.edge.control import SOCKET, Control
from reconciler.edge.knocking import Knocking
from reconciler.edge.lines import DamagedFile
from reconciler.edge.mark import stored_mark
from reconciler.edge.peering import PeerLink
from reconciler.edge.requests import Requests
from reconciler.edge.revisions import RevisionStore, UnreadableTree
from reconciler.edge.source import SubversionSource
from reconciler.edge.subversion import SourceError, Subversion
from reconciler.edge.subversion_failures import REFUSED
from reconciler.edge.subversion_wire import Access
from reconciler.edge.telling import Tellers
from reconciler.messages import TreeLoaded
from reconciler.mustering import Peering
from reconciler.ports import Peers
from schema.settings import Settings
from xapi.https import HttpsTransport
from xapi.pool import PoolClient

NAME = "cxmd"
LOGOUT_WITHIN_S = 5.0

_log = structlog.get_logger(NAME)


class Stopped(Exception):
    """Somebody asked the daemon to end."""


class Daemon:
    """Everything that one process of cxmd holds. Raises CannotStart."""

    def __init__(self, settings: Settings, config: Path, release: str) -> None:
        self._settings = settings
        self._config = config
        self._release = release
        self._supervisor: Supervisor = supervisor()
        self._password = read_secret(secret_path(config, settings.xenapi.credentials_ref))
        key = settings.cluster_key_ref
        self._key_file = KeyFile(secret_path(config, key)) if key is not None else None
        state_dir = Path(settings.state_dir)
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        Path(settings.run_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
        self._lock = StateLock(state_dir / "lock", NAME)
        self._memory = Memory(state_dir, boot=boot_s)
        self._tellers = Tellers(settings.notify, settings.node, settings.cluster_id)
        self._peering = Peering(
            engine=settings.engine.kind,
            heartbeat_port=settings.listen.heartbeat.port,
            peer_port=settings.listen.peer.port,
            mark=stored_mark(state_dir),
        )
        torn = {"journal": self._memory.journal.torn, "ledger": self._memory.ledger.torn}
        for name, size in torn.items():
            if size:
                _log.warning("torn-tail-cut", file=name, bytes=size)
        self._source = SubversionSource(
            Subversion(self._access), RevisionStore(state_dir), settings.source.url
        )

    async def run(self) -> None:
        """Until somebody asks it to end, or something breaks: then that is raised."""
        async with AsyncExitStack() as closing:
            pool = self._pool()
            closing.push_async_callback(_closed, pool)
            closing.push_async_callback(self._source.close)
            async with asyncio.TaskGroup() as tasks:
                peers = self._peers()
                closing.push_async_callback(peers.close)
                parts = self._assembly(pool, peers, tasks)
                requests = Requests(
                    self._settings.node,
                    self._config.absolute(),
                    parts.steering,
                    peers,
                    self._tellers,
                    parts,
                )
                peers.attach(parts, requests.asked_by)
                socket = Path(self._settings.run_dir) / SOCKET
                control = Control(socket, requests, self._memory.journal)
                closing.push_async_callback(control.close)
                await control.open()
                tasks.create_task(_until_asked_to_end())
                tasks.create_task(peers.run())
                tasks.create_task(parts.observe())
                tasks.create_task(parts.steering.run())
                self._supervisor.tell("READY=1")
                _log.info("started", node=self._settings.node, version=self._release)

    def close(self) -> None:
        """After the loop ended. The lock goes last."""
        self._supervisor.tell("STOPPING=1")
        self._memory.close()
        self._lock.release()

    def _assembly(self, pool: PoolClient, peers: Peers, tasks: asyncio.TaskGroup) -> Assembly:
        settings = self._settings
        return Assembly(
            Identity(node=settings.node, release=self._release, cluster_id=settings.cluster_id),
            self._memory,
            pool,
            self._source,
            Surroundings(peers, self._tellers, self._devices(), Knocking(), self._peering),
            self._kept(),
            # Spreads polls; nothing secret hangs on it.
            Random(SystemRandom().random()),  # noqa: S311
            self._supervisor,
            tasks.create_task,
        )

    def _devices(self) -> Armed:
        return Armed(Agents(self._fence_secret, self._config.absolute().parent / "fence.d"))

    def _fence_secret(self, name: str) -> Mapping[str, str]:
        """Read with each use, so that a changed password needs no restart."""
        try:
            return credentials(read_secret(secret_path(self._config, name)))
        except SecretError as error:
            raise CredentialsError(str(error)) from error

    def _peers(self) -> PeerLink | Alone:
        settings, file = self._settings, self._key_file
        if self._peering.alone:
            return Alone()
        assert file is not None, "node.yaml has to name it where there are peers"
        return PeerLink(
            PeerIdentity(settings.node, settings.cluster_id, file.keys),
            file,
            (Path(settings.state_dir), Path(settings.run_dir)),
            self._source,
            settings.engine.kind,
            lambda: packed(self._config),
        )

    def _kept(self) -> TreeLoaded | None:
        """Without a last good tree the daemon looks on and waits for Subversion: never as if it were
        empty."""
        try:
            return self._source.load_kept()
        except UnreadableTree as error:
            _log.error("last-good-tree-unreadable", message=str(error))
            return None

    def _pool(self) -> PoolClient:
        access, node = self._settings.xenapi, self._settings.node
        known = self._memory.known_pool
        try:
            transport = HttpsTransport(
                version=self._release,
                ca_file=Path(access.ca_file) if access.ca_file is not None else None,
                fingerprints=access.fingerprints,
            )
            return PoolClient(
                transport,
                known.reached(access.addresses),
                access.user,
                self._password,
                node,
                self._release,
                pool_uuid=known.known.uuid,
            )
        except (ValueError, OSError) as error:
            raise CannotStart(EX_CONFIG, f"{self._config}: xenapi: {error}") from error

    def _access(self) -> Access:
        """Asked with each new child, so that a changed password needs no restart."""
        source = self._settings.source
        password = None
        if source.credentials_ref is not None:
            try:
                password = read_secret(secret_path(self._config, source.credentials_ref))
            except SecretError as error:
                raise SourceError(REFUSED, str(error)) from error
        return Access(
            config_dir=str(Path(self._settings.state_dir) / "subversion"),
            user=source.user,
            password=password,
            ca_file=source.ca_file,
        )


async def _closed(pool: PoolClient) -> None:
    """A pool that does not answer keeps its session for a day; it must not keep us."""
    try:
        async with asyncio.timeout(LOGOUT_WITHIN_S):
            await pool.close()
    except TimeoutError:
        _log.warning("session-not-ended", message="the pool did not answer the logout in time")


async def _until_asked_to_end() -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()
    raise Stopped


def _run(config: Path, release: str) -> int:
    """The exit status of a daemon that was asked to end, or could not start."""
    try:
        daemon = Daemon(node_yaml.read(config), config, release)
    except DamagedFile as error:
        raise CannotStart(EX_DATAERR, str(error)) from error
    except SecretError as error:
        raise CannotStart(EX_CONFIG, str(error)) from error
    except OSError as error:
        raise CannotStart(EX_CONFIG, f"{error.filename}: {error.strerror}") from error
    try:
        asyncio.run(daemon.run())
    except* Stopped:
        _log.info("stopped")
    finally:
        daemon.close()
    return 0


def main() -> None:
    config = config_given(NAME, "The daemon of cxm on one node.")
    log.configure()
    try:
        sys.exit(_run(config, version("cxm")))
    except CannotStart as error:
        end(NAME, error)
    except Exception:  # noqa: BLE001 (the top boundary: told and ended, never swallowed)
        _log.exception("broken")
        sys.exit(EX_SOFTWARE)


if __name__ == "__main__":
    main()
