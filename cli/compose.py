"""The composition root for "no daemon answers": Subversion and XenAPI are read from here.

Nothing is written, to the state directory least of all: what the daemon remembers is read where it may
be read, and the reconciler's effects are dropped but for the looks that they ask for.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from random import Random

import msgspec

from cli.envelope import Failure, failure
from cli.options import Invocation
from cli.pool_access import Access
from cli.settings import config_path
from membership.clock import Now
from membership.edge.secret_files import SecretError, read_secret, secret_path
from membership.ledger import Ledger
from membership.view import unknown
from reconciler.edge import journal_file, ledger_file
from reconciler.edge.lines import DamagedFile
from reconciler.edge.revisions import Origin, UnreadableTree, read_tree
from reconciler.edge.subversion import SourceError, Subversion
from reconciler.edge.subversion_wire import Access as SourceAccess
from reconciler.journal import JournalState, replay
from reconciler.messages import (
    Fetch,
    Head,
    PoolLost,
    PoolObserved,
    SourceFailed,
    SourceSeen,
    TreeLoaded,
)
from reconciler.observed import Observed
from reconciler.reconciler import STEP_INTERVAL_S, Reconciler
from reconciler.status import Status
from reconciler.why import Why
from schema.errors import needs_upgrade
from schema.model import Desired
from schema.settings import Settings
from schema.tree import Loaded, load
from xapi.https import HttpsTransport
from xapi.pool import PoolClient
from xapi.transport import JsonValue, Transport, Unavailable, UnknownCertificate

Files = dict[str, bytes]
Trace = Callable[[str], None]

_LOOK_WITHIN_S = 10.0
_EXPORT_WITHIN_S = 60.0
_STRANGERS = 4
"""Servers that are asked in turn until one is the pool master: the first, and where it sends us."""


# --- XenAPI ---------------------------------------------------------------------------------------


def access_of(run: Invocation, settings: Settings) -> Access:
    """How this node gets at its pool. Raises Failure (1) where the secret cannot be read."""
    pool = settings.xenapi
    return Access(
        addresses=pool.addresses,
        user=pool.user,
        password=secret(run, pool.credentials_ref),
        ca_file=pool.ca_file,
        fingerprints=pool.fingerprints,
    )


def snapshot(access: Access, trace: Trace | None) -> tuple[Observed, Now]:
    """The pool now, once. `trace` is told each call.

    Raises Failure: 6 where it cannot be seen, 4 where its certificate is not trusted.
    """
    try:
        observed = asyncio.run(_snapshot(access, trace))
    except UnknownCertificate as error:
        raise failure("refused", error.reason, error.message) from None
    except Unavailable as error:
        raise failure("unknown", error.reason, error.message) from None
    except ValueError as error:
        raise failure("error", "BadAddress", str(error)) from None
    return _dated(observed), _moment(observed)


def meet(access: Access, agree: Callable[[str, str], bool]) -> tuple[Observed, Access]:
    """The pool, seen for the first time. `agree` is asked whether the certificate that a server
    shows (address, fingerprint) is to be trusted; what was agreed to is pinned in the answer.

    Raises Failure as `snapshot` does: 4 where it does not agree.
    """
    for _ in range(_STRANGERS):
        try:
            return _dated(asyncio.run(_snapshot(access, None))), access
        except UnknownCertificate as error:
            if error.fingerprint in access.fingerprints or not agree(
                error.address, error.fingerprint
            ):
                raise failure("refused", error.reason, error.message) from None
            access = replace(access, fingerprints=(*access.fingerprints, error.fingerprint))
        except Unavailable as error:
            raise failure("unknown", error.reason, error.message) from None
        except ValueError as error:
            raise failure("error", "BadAddress", str(error)) from None
    raise failure("error", "TooManyCertificates", "each server sends on to another unknown one")


def _moment(observed: Observed) -> Now:
    return Now(mono_s=observed.epoch_s, epoch_s=observed.epoch_s)


def _dated(observed: Observed) -> Observed:
    """On the clock of the journal, which starts at wall time (`reconciler.edge.clock`)."""
    return msgspec.structs.replace(observed, as_of_s=observed.epoch_s)


async def _snapshot(access: Access, trace: Trace | None) -> Observed:
    own = version("cxm")
    ca_file = Path(access.ca_file) if access.ca_file is not None else None
    transport: Transport = HttpsTransport(
        version=own, ca_file=ca_file, fingerprints=access.fingerprints
    )
    if trace is not None:
        transport = _Traced(transport, trace)
    client = PoolClient(transport, access.addresses, access.user, access.password, "cli", own)
    async with client:
        return await client.snapshot()


class _Traced:
    """A transport that tells each call, without its parameters: the password is among them."""

    def __init__(self, inner: Transport, trace: Trace) -> None:
        self._inner, self._trace = inner, trace

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        self._trace(f"{address} {method}")
        return await self._inner.call(address, method, params, deadline_s)

    async def close(self) -> None:
        await self._inner.close()


def secret(run: Invocation, reference: str) -> str:
    """The secret of `credentialsRef`. Raises Failure (1): not there, or open to others."""
    try:
        return read_secret(secret_path(config_path(run), reference))
    except SecretError as error:
        hint = "run cxm as root or as the daemon's user"
        raise failure("error", "NoSecret", str(error), hint) from None


# --- Subversion -----------------------------------------------------------------------------------


def exported(
    run: Invocation, settings: Settings, url: str | None, number: int | None
) -> tuple[Files, Head]:
    """The files of a tree at a revision (None: the newest), and where they are from.

    Raises Failure: 6 where Subversion does not give them.
    """
    try:
        return asyncio.run(_exported(run, settings, url or settings.source.url, number))
    except SourceError as error:
        raise failure("unknown", f"Source:{error.reason}", error.message) from None
    except UnreadableTree as error:
        raise failure("unknown", "UnreadableTree", str(error)) from None


async def _exported(
    run: Invocation, settings: Settings, url: str, number: int | None
) -> tuple[Files, Head]:
    with _subversion(run, settings) as (source, folder):
        try:
            head = await source.head(url, _LOOK_WITHIN_S)
            if number is not None:
                head = msgspec.structs.replace(head, revision=number)
            return await _export(source, url, head, folder), head
        finally:
            await source.close()


async def _export(source: Subversion, url: str, head: Head, folder: Path) -> Files:
    into = folder / f"r{head.revision}"
    await source.export(url, head.revision, into, _EXPORT_WITHIN_S)
    return read_tree(into)


@contextmanager
def _subversion(run: Invocation, settings: Settings) -> Iterator[tuple[Subversion, Path]]:
    """A client with a private, passing configuration, and a folder to export to."""
    reference = settings.source.credentials_ref
    password = secret(run, reference) if reference is not None else None
    with tempfile.TemporaryDirectory(prefix="cxm-") as name:
        access = SourceAccess(
            config_dir=str(Path(name, "subversion")),
            user=settings.source.user,
            password=password,
            ca_file=settings.source.ca_file,
        )
        yield Subversion(lambda: access), Path(name)


# --- what the daemon keeps ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """The last known good tree of the state directory."""

    files: Files
    head: Head


def kept_files(settings: Settings) -> Kept:
    """Raises Failure (1) where there is no tree in force here, or it may not be read."""
    kept = _kept(settings)
    if kept is None:
        message = f"no revision is in force in {settings.state_dir}"
        raise failure("error", "NoTarget", message, "is cxmd running on this node?")
    return kept


def in_force(settings: Settings) -> Desired | None:
    """The tree in force on this node; None where there is none, or it is not to be read here."""
    try:
        kept = _kept(settings)
    except Failure:
        return None
    return load(kept.files).desired if kept is not None else None


def target_tree(run: Invocation, settings: Settings) -> Desired:
    """The tree in force, from the state directory or else the head of Subversion."""
    kept = _kept(settings)
    files = kept.files if kept is not None else exported(run, settings, None, None)[0]
    desired = load(files).desired
    if desired is None:
        raise failure("invalid", "Invalid", "the tree is not valid", "cxm validate tells why")
    return desired


def _kept(settings: Settings) -> Kept | None:
    state = Path(settings.state_dir)
    try:
        name = (state / "target").readlink()
        files = read_tree(state / name)
        origin = state.joinpath(f"{name}.json").read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, UnreadableTree) as error:
        raise failure("error", "Unreadable", f"{state / 'target'}: {error}") from None
    return Kept(files, msgspec.json.decode(origin, type=Origin).head)


def _memory(run: Invocation, settings: Settings) -> tuple[JournalState, Ledger]:
    """Journal and ledger; without them drift cannot be told from intent, which is said."""
    state = Path(settings.state_dir)
    try:
        journal = replay(journal_file.stored(state / "journal"))
        return journal, ledger_file.stored(state / "ledger.jsonl")
    except (OSError, DamagedFile) as error:
        run.note(f"what the daemon remembers cannot be read, so causes may be wrong: {error}")
        return JournalState(), Ledger()


# --- a status without a daemon --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Composed:
    """A reconciler that has seen the world once, and the moment of that."""

    reconciler: Reconciler
    now: Now

    @property
    def status(self) -> Status:
        return msgspec.structs.replace(self.reconciler.status(self.now), daemon=False)

    def why(self, obj: str) -> Why:
        return self.reconciler.why(obj, self.now)


def look(run: Invocation, settings: Settings) -> Composed:
    """Subversion and the pool, looked at now. What cannot be seen is unknown in the status."""
    journal, ledger = _memory(run, settings)
    kept = _kept(settings)
    tree = _loaded(load(kept.files), kept.head) if kept is not None else None
    seen, loaded = asyncio.run(_source(run, settings))
    pool, now = _pool(run, settings)
    core = _core(settings, journal, ledger, tree)
    earlier = Now(mono_s=now.mono_s - 2 * STEP_INTERVAL_S, epoch_s=now.epoch_s)
    asked = core.handle(seen, earlier)
    if loaded is not None and any(isinstance(effect, Fetch) for effect in asked):
        core.handle(loaded, earlier)
    core.handle(pool, now)
    return Composed(core, now)


def supposing(run: Invocation, settings: Settings, loaded: Loaded, head: Head | None) -> Composed:
    """As `look`, if this tree were in force. Raises Failure: 4 for another cluster's, 6."""
    assert loaded.desired is not None
    if loaded.desired.cluster.id != settings.cluster_id:
        message = f"the tree is of cluster {loaded.desired.cluster.id}, not {settings.cluster_id}"
        raise failure("refused", "WrongCluster", message)
    journal, ledger = _memory(run, settings)
    of = head or Head(repository="", path="", revision=0, author=None, message="")
    observed, now = snapshot(access_of(run, settings), None)
    core = _core(settings, journal, _untied(ledger), _loaded(loaded, of))
    core.handle(PoolObserved(observed=observed), now)
    return Composed(core, now)


def _untied(ledger: Ledger) -> Ledger:
    """Without the agreed target, which no tree that is only supposed could stand up to."""
    return Ledger().merge(fact for key, fact in ledger.facts.items() if key != "target")


def _core(
    settings: Settings, journal: JournalState, ledger: Ledger, kept: TreeLoaded | None
) -> Reconciler:
    why = f"no daemon answers on {settings.node}"
    view = unknown(settings.node, settings.engine.kind, ledger.term, why)
    return Reconciler(
        me=settings.node,
        version=version("cxm"),
        cluster_id=settings.cluster_id,
        journal=journal,
        ledger=ledger,
        view=view,
        kept=kept,
        random=Random(0),  # noqa: S311 - spreads looks over time, and nothing is looked at twice
    )


def _loaded(loaded: Loaded, head: Head) -> TreeLoaded:
    return TreeLoaded(
        head=head,
        digest=loaded.digest,
        desired=loaded.desired,
        errors=loaded.errors,
        needs_upgrade=needs_upgrade(loaded.errors),
    )


def _pool(run: Invocation, settings: Settings) -> tuple[PoolObserved | PoolLost, Now]:
    """A pool that cannot be seen is an answer too: the status then says unknown, and why."""
    try:
        observed = asyncio.run(_snapshot(access_of(run, settings), None))
    except Unavailable as error:
        lost = PoolLost(reason=error.reason, message=error.message)
        return lost, Now(mono_s=time.time(), epoch_s=time.time())
    return PoolObserved(observed=_dated(observed)), _moment(observed)


async def _source(
    run: Invocation, settings: Settings
) -> tuple[SourceSeen | SourceFailed, TreeLoaded | None]:
    url = settings.source.url
    with _subversion(run, settings) as (source, folder):
        try:
            head = await source.head(url, _LOOK_WITHIN_S)
            loaded = load(await _export(source, url, head, folder))
        except SourceError as error:
            return SourceFailed(reason=error.reason, message=error.message), None
        finally:
            await source.close()
    return SourceSeen(head=head), _loaded(loaded, head)
