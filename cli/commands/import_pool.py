"""`cxm import`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import importing, pool_access, select, tree
from cli.envelope import Failure, Finding
from cli.options import Invocation, cxm_command, invocation
from cli.pool_access import Access
from cli.render.survey import import_lines
from cli.settings import node_settings
from schema.fields import editor_files
from schema.model import Desired


@cxm_command("import")
@click.argument("sel", default=select.ALL)
@click.option(
    "--out",
    default=Path(),
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to write the tree.  [default: here]",
)
@click.option("--host", help="A server of the pool, instead of those of the settings.")
@pool_access.options
def command(
    sel: str,
    out: Path,
    host: str | None,
    user: str,
    password_file: Path | None,
    fingerprints: tuple[str, ...],
    ca_file: Path | None,
) -> Finding:
    """Write the tree that describes a pool as it is.

    Every VM gets `manage: observe`, every node `unfenced: accepted`; nothing in the tree asks for a
    change. Templates, snapshots and copies are left out and counted. In a tree that is there already
    only what it lacks is added.
    """
    run = invocation()
    settings = node_settings(run)
    existing = _existing(run, out)
    from cli import compose  # noqa: PLC0415 - loads the XenAPI client: a third of a second

    access: Access
    if host is None:
        access = compose.access_of(run, settings)
    else:
        access = pool_access.asked_for(run, host, user, password_file, fingerprints, ca_file)
    observed, _ = compose.snapshot(access, None)
    found = importing.imported(observed, settings.cluster_id, existing)
    chosen = None if select.whole(sel) else frozenset(select.selected(sel, _objects(found)))
    files = found.files(chosen)
    schemas = editor_files()
    tree.write_new(out, {**files, **{p: c for p, c in schemas.items() if not (out / p).exists()}})
    return _finding(out, files, found, observed.pool.name)


def _existing(run: Invocation, out: Path) -> Desired | None:
    """The tree that is there already. One that is not valid is not added to."""
    if not (out / "cluster.yaml").exists():
        return None
    loaded, finding = tree.checked(tree.read(out))
    if loaded.desired is None:
        run.note(f"{out} holds a tree that is not valid:")
        raise Failure(finding)
    return loaded.desired


def _objects(found: importing.Imported) -> select.Objects:
    return {f"vm/{name}": {} for name in found.vms}


def _finding(out: Path, files: dict[str, bytes], found: importing.Imported, pool: str) -> Finding:
    nodes = sum(path.startswith("nodes/") for path in files)
    vms = sum(path.startswith("vms/") for path in files)
    data = {
        "out": str(out),
        "files": sorted(files),
        "nodes": nodes,
        "vms": vms,
        "left_out": dict(found.left_out),
        "renamed": [{"name_label": was, "name": now} for was, now in found.renamed],
    }
    rows = import_lines(str(out), nodes, vms, found.left_out, found.renamed)
    return Finding("converged", data, rows, pool or None)
