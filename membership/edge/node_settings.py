"""What this daemon needs of node.yaml, read by a child process that ends at once.

YAML, its schema and what they load weigh more than all of this daemon; a process that must stay in
memory when memory is short does not carry them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from membership.edge.starting import EX_CONFIG, EX_SOFTWARE, CannotStart
from schema.model import Frozen

CHILD = "membership.edge.settings_child"
WITHIN_S = 60.0


class EngineAccess(Frozen, frozen=True, kw_only=True):
    """`engine` of node.yaml. `credential` is the path of the file that holds the password."""

    kind: str
    endpoints: tuple[str, ...] = ()
    user: str | None = None
    credential: str | None = None
    ca_file: str | None = None


class NodeSettings(Frozen, frozen=True, kw_only=True):
    """`listen` is the address that replaces the first of the node's own, where node.yaml names one.
    `cluster_key` is the path of the key file; `release` the version of cxm."""

    node: str
    cluster_id: str
    state_dir: str
    run_dir: str
    boot_id_file: str
    cluster_key: str
    engine: EngineAccess
    listen: tuple[str, int] | None
    release: str


def read(config: Path) -> NodeSettings:
    """The settings in the file `config`. Raises CannotStart with what is wrong with them."""
    # -P: what lies in the current directory is not ours to import.
    command = [sys.executable, "-P", "-m", CHILD, str(config)]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"{config}: not read within {WITHIN_S:.0f} s; the machine is overloaded"
        raise CannotStart(EX_SOFTWARE, message) from None
    if done.returncode == EX_CONFIG:
        raise CannotStart(EX_CONFIG, done.stderr.decode("utf-8", "replace").rstrip())
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise CannotStart(EX_SOFTWARE, f"{config}: reading it failed ({done.returncode}): {told}")
    return msgspec.json.decode(done.stdout, type=NodeSettings)
