"""What if: a question of `cxm diff` that the daemon answers, since it alone hears who is alive."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from cli import asking
from cli.envelope import Finding
from cli.options import Invocation
from cli.render.whatif import whatif_lines
from reconciler.whatif import WhatIf, verdict_of

ABOUT = ("down",)


def asked(text: str) -> tuple[str, ...]:
    """The nodes of `down=xen1+xen2`. Raises UsageError where something else is asked."""
    key, _, value = text.partition("=")
    names = tuple(dict.fromkeys(name.removeprefix("node/") for name in value.split("+") if name))
    if key not in ABOUT or not names:
        raise click.UsageError(f"--what-if {text}: write down=NODE or down=NODE+NODE")
    return names


def finding(run: Invocation, down: Sequence[str]) -> Finding:
    """What would become of these nodes. Raises Failure: 4 for who is no node, 6 without a picture."""
    status = asking.of_cluster(run, asking.need_daemon(run, lambda control: control.status()))
    path = f"/v1/what-if/{'+'.join(down)}"
    found = asking.need_daemon(run, lambda control: control.get(path, WhatIf))
    return Finding(
        str(verdict_of(found)),
        {"whatIf": msgspec.to_builtins(found)},
        whatif_lines(found),
        status.cluster,
        status.observation,
    )
