"""From a pool's address to a node that can be started: steps that are shown, and done only once."""

from __future__ import annotations

import json
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from cli import certificates, compose, importing, pool_access, repository, tree
from cli.cluster_key import KEY, new_key
from cli.envelope import Failure, failure
from cli.node_folder import NodeFolder
from cli.options import Invocation
from cli.pool_access import Access
from cli.render.text import Line, Span, line
from reconciler.observed import Observed
from schema.fields import editor_files
from schema.model import Desired
from schema.settings import Settings
from schema.writing import name_to_label

POOL, SUBVERSION = "pool", "subversion"
"""The secrets of a new node, by the names that its settings give them."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A server of the pool and how to log in; `trust` agrees to certificates nobody has compared."""

    host: str
    user: str
    password_file: Path | None
    fingerprints: tuple[str, ...]
    ca_file: Path | None
    trust: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where the tree lives. At the first run exactly one of `new_repo` and `url` is given."""

    new_repo: Path | None
    url: str | None
    user: str | None
    password_file: Path | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What `cxm init HOST` was asked. `name` None: the machine's."""

    pool: Pool
    source: Source
    folder: Path
    name: str | None
    state_dir: str
    run_dir: str


class Steps:
    """What was done, in order: shown at once, and kept for the envelope."""

    def __init__(self, run: Invocation) -> None:
        self.run = run
        self.taken: list[Mapping[str, Any]] = []

    def did(self, what: str, *, anew: bool = True) -> None:
        """`anew` False: an earlier run had done it."""
        word = "done" if anew else "already"
        self.taken.append({"step": what, "result": word})
        row: Line = line(Span(f"{word:<8}", "good" if anew else "dim"), what)
        if self.run.text:
            self.run.say(row)


class Founding:
    """One run of `cxm init HOST`."""

    def __init__(self, run: Invocation, wish: Wish, steps: Steps) -> None:
        self.run, self.wish, self.steps = run, wish, steps
        self.folder = NodeFolder(wish.folder)

    def go(self) -> Settings:
        """All steps. Raises Failure; what was done until then stays, and the next run goes on."""
        known = self.folder.settings()
        if known is None and (self.wish.source.new_repo is None) == (self.wish.source.url is None):
            raise click.UsageError("give one of --new-repo DIR and --source URL")
        access = self._access(known)
        observed, access = self._met(access)
        pool = name_to_label(observed.pool.name or "cluster")
        self._secret(POOL, access.password)
        self._secret(KEY, new_key())
        place = self._place(known, pool)
        files = place.files()
        desired = _valid(files) if "cluster.yaml" in files else None
        settings = known or self._settings(access, observed, place, desired)
        if known is not None:
            self.steps.did(f"{self.folder.config} says how", anew=False)
        self._tree(place, settings, observed, desired)
        return settings

    # --- the pool -----------------------------------------------------------------------------

    def _access(self, known: Settings | None) -> Access:
        """What an earlier run was told is not asked again: it has served to log in."""
        wish, password = self.wish.pool, self.folder.read_secret(POOL)
        if password is None:
            password = pool_access.asked_for(
                self.run, wish.host, wish.user, wish.password_file, wish.fingerprints, wish.ca_file
            ).password
        if known is not None:
            pool = known.xenapi
            return Access(pool.addresses, pool.user, password, pool.ca_file, pool.fingerprints)
        ca_file = str(wish.ca_file) if wish.ca_file else None
        return Access((wish.host,), wish.user, password, ca_file, wish.fingerprints)

    def _met(self, access: Access) -> tuple[Observed, Access]:
        """The pool, and access to it by every server's certificate and address."""
        if access.ca_file is None and not access.fingerprints:
            shown = certificates.shown_by(self.wish.pool.host)
            if not self._agrees(self.wish.pool.host, certificates.spelled(shown)):
                raise failure("refused", "NotTrusted", "the certificate was not agreed to")
            access = Access(access.addresses, access.user, access.password, None, (shown,))
        observed, access = compose.meet(access, self._agrees)
        count = len(observed.nodes)
        self.steps.did(f"logged in to {observed.pool.name or 'the pool'}: {count} servers")
        return observed, access

    def _agrees(self, address: str, fingerprint: str) -> bool:
        """A person compares, unless --yes says that nobody needs to."""
        self.run.note(f"{address} shows the certificate SHA-256 {fingerprint}")
        if self.wish.pool.trust:
            return True
        if not self.run.may_ask:
            self.run.note("compare it with the server's console; then give --fingerprint or --yes")
            return False
        return click.confirm("Is it the right one?", default=False, err=True)

    # --- this machine -------------------------------------------------------------------------

    def _secret(self, name: str, content: str) -> None:
        anew = self.folder.read_secret(name) is None
        if anew:
            self.folder.write_secret(name, content)
        self.steps.did(f"secret {name} in {self.folder.secret(name).parent}", anew=anew)

    def _settings(
        self, access: Access, observed: Observed, place: repository.Place, tree_: Desired | None
    ) -> Settings:
        host = self.wish.pool.host
        servers = [(host, _pins_of(access))] if access.ca_file else self._servers(observed, access)
        text = node_yaml(
            {
                "node": self.wish.name or own_name(),
                "cluster": {"id": tree_.cluster.id if tree_ is not None else str(uuid.uuid4())},
                "source": self._source(place),
                "xenapi": {
                    "addresses": [address for address, _ in servers],
                    "user": access.user,
                    "credentialsRef": POOL,
                    **_trusting(access, [pin for _, pins in servers for pin in pins]),
                },
                "clusterKeyRef": KEY,
                # One daemon, no peers; `cxm node add` of this very node makes it one of several.
                "engine": {"kind": "single"},
                "stateDir": self.wish.state_dir,
                "runDir": self.wish.run_dir,
            }
        )
        self.folder.write_settings(text)
        self.steps.did(f"settings in {self.folder.config}")
        settings = self.folder.settings()
        assert settings is not None
        return settings

    def _servers(self, observed: Observed, access: Access) -> list[tuple[str, tuple[str, ...]]]:
        """(address, pins) of every server of the pool that answers, HOST first."""
        port = urlsplit(f"//{self.wish.pool.host}").port
        found: list[tuple[str, tuple[str, ...]]] = [(self.wish.pool.host, _pins_of(access))]
        for host in sorted(observed.nodes.values(), key=lambda host: host.name):
            address = f"{host.address}:{port}" if port else host.address
            if not host.address or address == self.wish.pool.host:
                continue
            try:
                shown = certificates.shown_by(address)
            except Failure:
                self.run.note(f"{address} does not answer now; cxm trust {address} adds it later")
                continue
            known = {pin.replace(":", "").upper() for pin in access.fingerprints}
            if shown in known or self._agrees(address, certificates.spelled(shown)):
                found.append((address, (shown,)))
        return found

    def _source(self, place: repository.Place) -> dict[str, str]:
        user = self.wish.source.user
        login = {"user": user, "credentialsRef": SUBVERSION} if user is not None else {}
        return {"url": place.url, **login}

    # --- the repository -----------------------------------------------------------------------

    def _place(self, known: Settings | None, pool: str) -> repository.Place:
        wish, login = self.wish.source, self._login()
        if wish.new_repo is not None:
            folder = wish.new_repo.absolute()
            anew = repository.created(folder, Path(self.wish.run_dir) / "cxmd.sock")
            self.steps.did(f"repository {folder}, with cxm's hooks", anew=anew)
            place = repository.Place(f"file://{folder}/{pool}", login)
        else:
            place = repository.Place(wish.url or (known.source.url if known else ""), login)
        anew = place.prepare()
        self.steps.did(f"directory {place.url}", anew=anew)
        return place

    def _login(self) -> repository.Login:
        wish = self.wish.source
        if wish.user is None:
            return repository.Login(may_ask=self.run.may_ask)
        password = self.folder.read_secret(SUBVERSION)
        if password is None:
            if wish.password_file is None:
                raise click.UsageError("--source-user needs --source-password-file")
            password = pool_access.password_in(wish.password_file)
            self._secret(SUBVERSION, password)
        return repository.Login(wish.user, password)

    def _tree(
        self,
        place: repository.Place,
        settings: Settings,
        observed: Observed,
        desired: Desired | None,
    ) -> None:
        if desired is not None:
            if desired.cluster.id != settings.cluster_id:
                message = (
                    f"{place.url} is of cluster {desired.cluster.id}, "
                    f"{self.folder.config} of {settings.cluster_id}"
                )
                raise failure("refused", "WrongCluster", message)
            self.steps.did(f"a valid tree of {len(desired.vms)} VMs", anew=False)
            return
        found = importing.imported(observed, settings.cluster_id)
        files = {**found.files(None), **editor_files()}
        place.commit(files, "The pool as it is; nothing is asked for")
        _valid(place.files())
        count = f"{len(found.nodes)} nodes and {len(found.vms)} VMs"
        self.steps.did(f"committed the pool as it is: {count}, all observed, none managed")


def _valid(files: tree.Files) -> Desired:
    loaded, finding = tree.checked(files)
    if loaded.desired is None:
        raise Failure(finding)
    return loaded.desired


def _pins_of(access: Access) -> tuple[str, ...]:
    return tuple(pin.replace(":", "").upper() for pin in access.fingerprints)


def _trusting(access: Access, pins: list[str]) -> dict[str, Any]:
    if access.ca_file is not None:
        return {"caFile": str(Path(access.ca_file).absolute())}
    return {"fingerprints": list(dict.fromkeys(pins))}


def own_name() -> str:
    """The machine's, as a name in the tree: a server's own where the daemons run on that."""
    return name_to_label(socket.gethostname().split(".")[0] or "manager")


def node_yaml(settings: Mapping[str, Any]) -> str:
    """A key a line; the values are written as JSON, which is YAML, too."""
    rows = [f"{key}: {_scalar(value)}" for key, value in settings.items()]
    return "# Settings of this node; the pool itself is described in Subversion.\n" + "".join(
        f"{row}\n" for row in rows
    )


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


ALONE, AMONG_PEERS = ("cxmd",), ("cxm-heartbeatd", "cxmd")
"""The daemons of a node that is the only one, and of a peer."""


def starting(folder: NodeFolder, programs: Sequence[str], verb: str = "enable --now") -> list[str]:
    """The commands that start these daemons on this machine; `verb` is systemctl's."""
    packaged = shutil.which("systemctl") is not None and str(folder.root) == "/etc/cxm"
    if packaged and Path("/run/systemd/system").is_dir():
        return [f"systemctl {verb} {' '.join(programs)}"]
    return [f"{program} --config {folder.config}" for program in programs]
