"""`cxm explain`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

import click

from cli import tree
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.explain import acts, field_lines, inner, resolved_data, resolved_lines
from cli.render.text import Line, Span, line, lines
from cli.settings import node_settings
from schema.errors import TITLES
from schema.fields import KINDS, at, effective, leaves
from schema.provenance import WORDS, Provenance
from schema.suggest import did_you_mean

_CODE = re.compile(r"V\d{3}", re.IGNORECASE)
_SETTINGS = "node.yaml"
_LEAST_SHOWN = ("manage", "state", "match.uuid", "host.uuid", "mode")


@cxm_command("explain")
@click.argument("what", metavar="PATH|CODE|OBJ")
@click.option("--resolved", is_flag=True, help="Every value, with the file and line it came from.")
def command(what: str, resolved: bool) -> Finding:
    """What a field, an error code or an object means.

    PATH: VM.placement.only, or of a node's settings node.yaml or notify. CODE: V012. OBJ: vm/web1, of
    the tree around here or else of the revision in force.
    """
    if _CODE.fullmatch(what):
        return _code(what.upper())
    if "/" in what or what == "cluster":
        return _object(invocation(), what, resolved)
    own = _setting(what)
    return own if own is not None else _field(what)


# --- a code ---------------------------------------------------------------------------------------


def _code(code: str) -> Finding:
    title = TITLES.get(code)
    if title is None:
        message = f"there is no {code}{did_you_mean(code, TITLES)}"
        raise failure("error", "NoSuchCode", message)
    text = _page(code) or f"{code}: {title}\n"
    return Finding("converged", {"code": code, "title": title, "page": text}, lines(text))


def _page(code: str) -> str | None:
    """The page of a code: packaged beside this module, or in the docs of a source tree."""
    packaged = resources.files("cli").joinpath("errors", f"{code}.md")
    source = Path(__file__).parents[2] / "docs" / "errors" / f"{code}.md"
    for place in (packaged, source):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    return None


# --- a field --------------------------------------------------------------------------------------


def _field(path: str) -> Finding:
    kinds = {kind.lower(): kind for kind in KINDS}
    word, *keys = path.split(".")
    kind = kinds.get(word.lower())
    if kind is None:
        raise failure(
            "error",
            "NoSuchField",
            f'"{path}" is no field, code or object{did_you_mean(word, KINDS)}',
            "write VM.placement.only, V012 or vm/web1",
        )
    return _told_of(kind, kind, keys, effective())


def _setting(path: str) -> Finding | None:
    """A field of node.yaml, as `node.yaml.engine` or as `engine`; None where it names none. `node` is the
    kind of that name."""
    rest = path.removeprefix(_SETTINGS)
    keys = [key for key in rest.split(".") if key]
    own = keys[:1] and keys[0] in inner(at("settings", ())) and keys[0] != "node"
    if rest == path and not own:
        return None
    acting = {
        ".".join((_SETTINGS, *path)) for path, _, effective in leaves("settings") if effective
    }
    return _told_of(_SETTINGS, "settings", keys, acting)


def _told_of(name: str, kind: str, keys: Sequence[str], acting: Collection[str]) -> Finding:
    """`acting`: the fields that act, as for `render.explain.acts`."""
    schema = at(kind, ())
    for key in keys:
        known = inner(schema)
        if key not in known:
            message = f"{name} has no field {'.'.join(keys)}{did_you_mean(key, known)}"
            raise failure("error", "NoSuchField", message)
        schema = known[key]
    name = ".".join((name, *keys))
    data = {"field": name, "effective": acts(name, acting), "schema": schema}
    return Finding("converged", data, field_lines(name, schema, acting))


# --- an object ------------------------------------------------------------------------------------


def _object(run: Invocation, name: str, resolved: bool) -> Finding:
    files, origin = _files(run)
    loaded, _ = tree.checked(files)
    path = loaded.provenance.path_of(name)
    if path is None:
        known = _names(loaded.provenance)
        message = f'there is no "{name}" in {origin}{did_you_mean(name, known)}'
        raise failure("error", "NoSuchObject", message)
    rows = loaded.provenance.resolved(name)
    shown = rows if resolved else [row for row in rows if _told(row.field, row.path)]
    data = {"object": name, "path": path, "tree": origin, "fields": resolved_data(shown)}
    head: list[Line] = [line(Span(f"{name} is {path} in {origin}", "dim"))]
    return Finding("converged", data, head + resolved_lines(name, shown))


def _told(field: str, path: str | None) -> bool:
    """Without --resolved only what somebody wrote is shown, and what every object must say."""
    return path is not None or field in _LEAST_SHOWN


def _names(provenance: Provenance) -> list[str]:
    return [f"{WORDS[kind]}/{name}" for kind, name in provenance.paths if kind in WORDS]


def _files(run: Invocation) -> tuple[tree.Files, str]:
    """The tree that the current folder is part of, else the revision in force."""
    root = tree.root_of(Path())
    if (root / "cluster.yaml").is_file():
        return tree.read(root), str(root.absolute())
    from cli import compose  # noqa: PLC0415 - loads the XenAPI client: a third of a second

    kept = compose.kept_files(node_settings(run))
    return kept.files, f"r{kept.head.revision}"
