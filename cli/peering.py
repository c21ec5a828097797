"""Which nodes of the tree are peers, changed in a working copy: one file, one commit, nothing else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli import splicing, tree
from cli.envelope import Failure, failure
from cli.options import Invocation
from cli.working_copy import WorkingCopy
from schema import dialect
from schema.model import Desired, Node, Role
from schema.writing import scalar

_COMMITTED = re.compile(r"Committed revision (\d+)")


@dataclass(frozen=True, slots=True)
class Edit:
    """`path` below the root of the tree, and what it is to hold; None: the file goes."""

    path: str
    text: str | None


class Tree:
    """The tree of a working copy without changes of its own, at its newest revision.

    Raises Failure: 3 where it is not valid, 4 where something in it waits to be committed.
    """

    def __init__(self, run: Invocation, folder: Path) -> None:
        self.root = tree.root_of(folder)
        self._copy = WorkingCopy(self.root, may_ask=run.may_ask)
        self.files = tree.read(self.root)
        changes = self._copy.changes()
        if changes:
            letter, path = changes[0]
            hint = "commit or revert it first: this command commits its own change alone"
            message = f"{self.root} has changes that are not committed: {letter} {path}"
            raise failure("refused", "Uncommitted", message, hint)
        self.desired = self._valid(self.files)
        run.cluster_name = self.desired.cluster.name

    @staticmethod
    def _valid(files: tree.Files) -> Desired:
        loaded, finding = tree.checked(files)
        if loaded.desired is None:
            raise Failure(finding)
        return loaded.desired

    def node(self, name: str) -> Node | None:
        return self.desired.nodes.get(name)

    def text(self, name: str) -> tuple[str, str]:
        """(path, text) of the file of a node that is in the tree."""
        for path, content in self.files.items():
            document = dialect.read(path, content).document
            value = document.value if document is not None else None
            if isinstance(value, dict) and (value["kind"], value["name"]) == ("Node", name):
                return path, content.decode()
        raise failure("error", "NoSuchNode", f"the tree has no node {name}", self._offer())

    def _offer(self) -> str:
        return f"there are {', '.join(sorted(self.desired.nodes)) or 'none at all'}"

    def shown(self, edit: Edit) -> list[str]:
        """The change as a unified diff, line by line."""
        before = self.files.get(edit.path, b"").decode().splitlines()
        after = (edit.text or "").splitlines()
        return list(difflib.unified_diff(before, after, edit.path, edit.path, n=1, lineterm=""))

    def would_be(self, edit: Edit) -> Desired:
        """The tree after the edit. Raises Failure (3) where that is not valid."""
        files = {path: text for path, text in self.files.items() if path != edit.path}
        if edit.text is not None:
            files[edit.path] = edit.text.encode()
        return self._valid(files)

    def commit(self, edit: Edit, message: str) -> int | None:
        """Write the edit and commit it, in the caller's name. The revision, where svn says it."""
        place = self.root / edit.path
        before = self.files.get(edit.path)
        if edit.text is None:
            place.unlink()
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(edit.text, encoding="utf-8")
        try:
            self._copy.schedule(self._copy.changes())
            told = self._copy.commit(message)
        except Failure:
            if before is not None:
                place.write_bytes(before)
            raise
        found = _COMMITTED.search(told)
        return int(found[1]) if found is not None else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer is heard: an address for each network, and its path to the shared disk. What is not
    given stays as it is."""

    addresses: tuple[str, ...]
    disk: str | None

    @property
    def written(self) -> str:
        """As a value of YAML."""
        heard = f"addresses: [{', '.join(map(scalar, self.addresses))}]"
        return f"{{{heard}, disk: {scalar(self.disk)}}}" if self.disk else f"{{{heard}}}"


def added(of: Tree, name: str, place: Place) -> Edit:
    """A node of the tree becomes a peer, or is heard elsewhere. Raises Failure (1): unknown."""
    path, text = of.text(name)
    heard = of.desired.nodes[name].heartbeat
    whole = Place(place.addresses or heard.addresses, place.disk or heard.disk)
    changes = {"roles": _roles(of, name), "heartbeat": whole.written}
    return Edit(path, splicing.with_fields(path, text, changes))


def witness(of: Tree, name: str, place: Place) -> Edit:
    """A new peer that is no server. Raises Failure (4) where the tree has a node of that name."""
    path = f"nodes/{name}.yaml"
    if of.node(name) is not None or path in of.files:
        hint = "leave --witness out"
        raise failure("refused", "NodeExists", f"the tree has a node {name} already", hint)
    head = f"apiVersion: cxm/v1\nkind: Node\nname: {scalar(name)}\nroles: [witness]\n"
    return Edit(path, f"{head}heartbeat: {place.written}\n")


def removed(of: Tree, name: str) -> Edit:
    """The node is no peer any more; a witness's file goes, a server's stays."""
    path, text = of.text(name)
    node = of.desired.nodes[name]
    if Role.RUN not in node.roles:
        return Edit(path, None)
    changes: Mapping[str, str | None] = {"roles": "[run]", "heartbeat": None, "daemon": None}
    return Edit(path, splicing.with_fields(path, text, changes))


def replaced(of: Tree, name: str, uuid: str) -> Edit:
    """The node is another server now: reinstalled, or new hardware under the old name."""
    path, text = of.text(name)
    host = of.desired.nodes[name].host
    if host is None:
        raise failure("error", "NoServer", f"{name} is a witness, and no server of the pool")
    if host.uuid == uuid:
        raise failure("refused", "SameServer", f"{name} has this uuid already")
    return Edit(path, splicing.with_uuid(path, text, host.uuid, uuid))


def _roles(of: Tree, name: str) -> str:
    roles = of.desired.nodes[name].roles
    if not {Role.PEER, Role.WITNESS} & set(roles):
        roles = (*roles, Role.PEER)
    return f"[{', '.join(roles)}]"


def stays(node: Node, place: Place) -> bool:
    """Whether a peer is heard there already."""
    heard = node.heartbeat
    return place.addresses in ((), heard.addresses) and place.disk in (None, heard.disk)


def is_peer(node: Node | None) -> bool:
    return node is not None and bool({Role.PEER, Role.WITNESS} & set(node.roles))
