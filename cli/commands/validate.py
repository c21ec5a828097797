"""`cxm validate`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import tree
from cli.envelope import Finding
from cli.options import cxm_command


@cxm_command("validate")
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
def command(folder: Path, strict: bool) -> Finding:
    """Check a tree: all errors at once.

    DIR is the tree or a folder inside it.  [default: here]
    """
    _, finding = tree.checked(tree.read(tree.root_of(folder)), strict=strict)
    return finding
