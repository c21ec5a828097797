"""`cxm demo`."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from types import FrameType

import click

from cli.demo import acts, powerless, silence
from cli.demo.nodes import MOST_PEERS
from cli.demo.stage import Stage
from cli.demo.typist import Typist
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.text import line

_LOOK_AGAIN_S = 0.2
# As fast as may be: a live migration of the smallest VM must still take five seconds. That VM has
# 1 GiB at first (6.6 s at speed 1), and 2 GiB after the acts (8.3 s).
_QUICK_SPEED = 1.3
_SPEED = 1.6
# A name of a Unix socket has 107 bytes at most.
_LONGEST_PLACE = 107 - len("/nodes/witness9/run/heartbeatd.sock")


@cxm_command("demo")
@click.option("--keep", is_flag=True, help="Stay up after the acts, until SIGTERM.")
@click.option("--quick", is_flag=True, help="Skip the acts.")
@click.option(
    "--peers",
    type=click.IntRange(0, MOST_PEERS),
    default=0,
    metavar="N",
    help=f"So many nodes with daemons that know each other, up to {MOST_PEERS}.  [default: one alone]",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="D",
    help="Where everything is put.  [default: a passing folder]",
)
def command(keep: bool, quick: bool, peers: int, folder: Path | None) -> Finding:
    """The whole of cxm at work on a simulated pool.

    A pool of 4 servers and 12 VMs, a repository, a daemon, all on this machine. Each command is
    shown as one would type it. With --keep `. D/env` lets you go on by hand. With --peers the
    first servers, and witnesses beyond them, run a cxmd and a cxm-heartbeatd each; one of them
    leads. In two acts more the leader falls silent, and servers lose their power.
    """
    run = invocation()
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise failure("refused", "NotEmpty", f"{folder} is not empty", "give another --dir")
    if folder is not None and len(os.fsencode(folder.absolute())) > _LONGEST_PLACE:
        message = f"the path of {folder} is too long for the sockets in it: at most {_LONGEST_PLACE} bytes"
        raise failure("refused", "PathTooLong", message, "give a shorter --dir")
    signal.signal(signal.SIGTERM, _asked_to_end)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cxm-demo-") as passing:
        place = folder or Path(passing)
        place.mkdir(parents=True, exist_ok=True)
        with Stage(place, peers) as stage:
            _play(run, stage, quick=quick)
            took_s = time.monotonic() - began_s
            run.note(f"the demo took {took_s:.0f} s")
            if keep:
                _stay(run, stage)
    return Finding("converged", {"seconds": round(took_s, 1)})


def _asked_to_end(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does: 130 in the middle of the acts, 0 after them."""
    del number, frame
    raise KeyboardInterrupt


def _play(run: Invocation, stage: Stage, *, quick: bool) -> None:
    stage.start_pool(_QUICK_SPEED if quick else _SPEED)
    stage.write_settings()
    stage.start_repository()
    stage.install_hooks()
    typist = Typist(run, stage.env)
    if quick:
        acts.skipped(stage, typist)
    else:
        acts.survey_and_import(stage, typist)
        acts.first_vm(typist)
        acts.all_vms(typist)
        acts.move_grow_drain(typist)
        acts.foreign_stop(typist)
        acts.bad_commit(typist)
        if len(stage.peers) > 1:
            silence.leader_falls_silent(stage, typist)
        if stage.peers:
            powerless.servers_lose_power(stage, typist)
    acts.prove(stage, typist, played=not quick)
    typist.type("cxm status")


def _stay(run: Invocation, stage: Stage) -> None:
    """Both files appear now, and are kept true: a daemon that came back has another pid."""
    stage.announce()
    run.say(line(f"It stays up until SIGTERM or Ctrl-C.  . {stage.folder}/env"))
    known = stage.pids
    try:
        while True:
            time.sleep(_LOOK_AGAIN_S)
            if stage.pids != known:
                known = stage.pids
                stage.announce()
    except KeyboardInterrupt:
        run.note("ended")
    finally:
        stage.withdraw()
