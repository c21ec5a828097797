"""`cxm schema`."""

from __future__ import annotations

import click

from cli.envelope import Finding, failure
from cli.options import cxm_command
from cli.render.text import lines
from schema.fields import KINDS, document, schema_text
from schema.suggest import listed, nearest


@cxm_command("schema")
@click.argument("kind")
def command(kind: str) -> Finding:
    """The JSON Schema of a kind."""
    known = {name.lower(): name for name in KINDS}
    name = known.get(kind.lower())
    if name is None:
        near = nearest(kind, KINDS)
        hint = f"did you mean {near}?" if near else f"there are {listed(KINDS)}"
        raise failure("error", "NoSuchKind", f'there is no kind "{kind}"', hint)
    data = {"kind": name, "schema": document(name)}
    return Finding("converged", data, lines(schema_text(name)))
