"""`cxm sim`: a simulated pool on this machine, and `cxm sim ctl` to look into it and break it.

`ctl` is a thin client of the simulator's control socket (one JSON line each way). It decides
nothing and imports nothing of the simulator, so that it starts quickly and shares no code with it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.envelope import Failure, Finding, envelope, failure
from cli.options import GLOBAL, CxmCommand, invocation
from cli.render.text import Cell, Line, Span, line, table

# Every operation answers at once but `act`, which waits for the operation it asked for.
_ANSWER_WITHIN_S = 10.0
_CONTROL = "cxm.sim.control"

Text = Callable[[Any], list[Line]]


class _SimGroup(click.Group):
    """`cxm sim FILE` is short for `cxm sim serve FILE`: FILE is no subcommand, so whatever does not
    name one is meant for `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        word = args[0] if args else ""
        if word not in self.commands and word not in ctx.help_option_names:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_SimGroup, subcommand_metavar="FILE [OPTIONS] | ctl OPERATION")
def command() -> None:
    """A simulated pool of Xen servers on this machine.

    `cxm sim FILE` serves the pool described in FILE on loopback addresses, by the protocols of a
    real one, until it is interrupted; `cxm sim ctl` looks into a running one, and breaks it.
    """


@command.command("serve", cls=CxmCommand)
@click.argument(
    "file", type=click.Path(exists=True, readable=False, dir_okay=False, path_type=Path)
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep certificates and the control socket here.  [default: a temporary one]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port of every host; 0 takes a free one.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Written once every host answers: addresses, fingerprints, control socket.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Divides the time that operations take; faults keep theirs.",
)
@click.option("--bmcs", is_flag=True, help="Fence devices on the network, too.")
def _serve(
    file: Path,
    directory: Path | None,
    port: int,
    ready_file: Path | None,
    speed: float,
    bmcs: bool,
) -> Finding:
    """Serve the pool described in FILE until SIGTERM or Ctrl-C."""
    import asyncio  # noqa: PLC0415 - these imports cost what `ctl` must not pay

    from simulator import serve as simulator  # noqa: PLC0415

    try:
        serving = simulator.serve(file, directory, port, ready_file, speed, _announce, bmcs=bmcs)
        asyncio.run(serving)
    except simulator.CannotServe as error:
        raise failure("error", "cannot-serve", str(error)) from None
    return Finding("converged", streamed=True)


def _announce(ready: Mapping[str, Any]) -> None:
    run = invocation()
    if not run.text:
        run.hand_over(envelope("sim", Finding("converged", ready)))
        return
    run.say(*table([(host["name"], host["url"], host["fingerprint"]) for host in ready["hosts"]]))
    run.say(line("control: cxm sim ctl --control ", Span(ready["control"], "strong"), " status"))


# --- ctl ------------------------------------------------------------------------------------------


def _remember_control(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[_CONTROL] = value


_SOCKET = click.Option(
    ["--control"],
    type=click.Path(),
    expose_value=False,
    callback=_remember_control,
    help="Control socket of the simulator.  [$CXM_SIM]",
)


class _Operation(CxmCommand):
    """One operation of the control socket; options are understood before and after its name."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), _SOCKET]


_ctl = click.Group(
    "ctl",
    params=[_SOCKET, *GLOBAL],
    help="Look into a running simulator, and break it.",
    subcommand_metavar="OPERATION [ARGS]",
    no_args_is_help=False,
)
_fault = click.Group(
    "fault",
    params=[_SOCKET, *GLOBAL],
    help="Start a fault, or stop it before its time.",
    subcommand_metavar="start NAME [KEY=VALUE]... | stop ID",
    no_args_is_help=False,
)
command.add_command(_ctl)
_ctl.add_command(_fault)


def _operation(
    name: str, group: click.Group = _ctl, word: str = ""
) -> Callable[[Callable[..., Finding]], click.Command]:
    """Declare an operation; its envelope's format is `cxm.sim.NAME`."""

    def declare(function: Callable[..., Finding]) -> click.Command:
        made = click.command(f"sim.{name}", cls=_Operation)(function)
        group.add_command(made, word or name)
        return made

    return declare


@_operation("status")
def _status() -> Finding:
    """Hosts, what runs on them, the faults that are on."""
    return _asked(_status_lines, op="status")


@_operation("power")
@click.argument("host")
@click.argument("to", type=click.Choice(["on", "off"]))
def _power(host: str, to: str) -> Finding:
    """Take HOST's power away, or give it back: then it boots."""
    return _asked(_power_lines, op="power", host=host, to=to)


@_operation("bmc")
@click.argument("name")
@click.argument("do", type=click.Choice(["status", "on", "off"]))
def _bmc(name: str, do: str) -> Finding:
    """Ask the fence device NAME whether its host is on, or tell it to switch.

    It takes a command at once; its host's power follows seconds later, or never.
    """
    return _asked(_bmc_lines, op="bmc", name=name, do=do)


@_operation("fault", _fault, "start")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def _fault_start(name: str, settings: Sequence[str]) -> Finding:
    """Start the fault NAME, for example: api-hang for=60s host=xen1."""
    wrong = [setting for setting in settings if "=" not in setting]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r} is not of the form KEY=VALUE, such as for=60s")
    pairs = dict(setting.split("=", 1) for setting in settings)
    return _asked(_fault_lines, op="fault", do="start", name=name, settings=pairs)


@_operation("fault", _fault, "stop")
@click.argument("number", metavar="ID")
def _fault_stop(number: str) -> Finding:
    """Stop the fault of this ID before its time."""
    return _asked(_fault_lines, op="fault", do="stop", id=number)


@_operation("vm")
@click.argument("name")
def _vm(name: str) -> Finding:
    """Where the VM NAME (or uuid) really runs, whatever the pool's database says."""
    return _asked(_vm_lines, op="vm", name=name)


@_operation("act")
@click.argument("method")
@click.argument("name")
@click.argument("arguments", nargs=-1)
def _act(method: str, name: str, arguments: Sequence[str]) -> Finding:
    """Call METHOD for NAME as another client of the pool, and wait for its end.

    NAME is a VM; for the methods of hosts a host; for those of the pool the pool or, for
    pool.emergency_transition_to_master and its like, the host that is asked itself.
    ARGUMENTS follow: host names, numbers, true or false, text.
    """
    given = {"method": method, "name": name, "args": list(arguments)}
    return _asked(_act_lines, within_s=None, op="act", **given)


@_operation("log")
def _log() -> Finding:
    """Every call that changed something: time, host, originator, method, object, outcome."""
    return _asked(_log_lines, op="log")


@_operation("clock")
@click.argument("advance", metavar="+DURATION")
def _clock(advance: str) -> Finding:
    """Move the simulated clock forward, for example: +30s."""
    return _asked(lambda data: [line(f"clock {data['clock']}")], op="clock", advance=advance)


@_operation("corruption")
def _corruption() -> Finding:
    """VMs that ran twice and disks that had two writers, ever. Exit status 1 if there is one."""
    found = _asked(_corruption_lines, op="corruption")
    verdict = "error" if found.data["count"] else "converged"
    return Finding(verdict, found.data, found.lines, found.cluster)


# --- asking ---------------------------------------------------------------------------------------


def _asked(text: Text, within_s: float | None = _ANSWER_WITHIN_S, **request: Any) -> Finding:
    """What the control socket answers; raises Failure where it refuses or is not there."""
    answer = _exchange(_control_path(), request, invocation().timeout_s or within_s)
    if not answer["ok"]:
        raise failure("error", **answer["error"])
    return Finding("converged", answer["data"], text(answer["data"]), answer["pool"])


def _control_path() -> str:
    path = click.get_current_context().meta.get(_CONTROL) or os.environ.get("CXM_SIM")
    if not path:
        raise failure(
            "error", "no-control", "no simulator was named", "set CXM_SIM or give --control SOCKET"
        )
    return str(path)


def _exchange(path: str, request: Mapping[str, Any], within_s: float | None) -> Any:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within_s)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = answers.readline()
    except OSError as error:
        raise _unreachable(path, error.strerror or str(error)) from None
    if not answer.endswith(b"\n"):
        raise _unreachable(path, "it went away before it answered")
    return json.loads(answer)


def _unreachable(path: str, why: str) -> Failure:
    message = f"cannot ask the simulator at {path}: {why}"
    return failure("error", "unreachable", message, "is `cxm sim` running?")


# --- for people -----------------------------------------------------------------------------------


def _headed(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[Line]:
    return table([[Span(head, "dim") for head in heads], *rows])


def _status_lines(data: Any) -> list[Line]:
    pool, corruption = data["pool"], data["corruption"]
    hosts = [_host_row(host) for host in data["hosts"]]
    count = Span(str(corruption), "bad" if corruption else "good")
    lines = [
        line(Span(pool["name"], "strong"), f" {pool['uuid']}"),
        line(f"clock {data['clock']}, corruption ", count),
        line(),
        *_headed(("HOST", "ADDRESS", "ROLE", "POWER", "API", "RUNNING"), hosts),
    ]
    if data["bmcs"]:
        bmcs = [_bmc_row(bmc) for bmc in data["bmcs"]]
        lines += [line(), *_headed(("FENCE DEVICE", "HOST", "KIND", "STATE"), bmcs)]
    if data["faults"]:
        faults = [_fault_row(fault) for fault in data["faults"]]
        lines += [line(), *_headed(("FAULT", "NAME", "LEFT", "SCOPE"), faults)]
    return lines


def _host_row(host: Any) -> tuple[Cell, ...]:
    return (
        host["name"],
        host["address"],
        host["role"],
        "on" if host["powered"] else Span("off", "bad"),
        _api(host),
        ", ".join(host["running"]) or "-",
    )


def _bmc_row(bmc: Any) -> tuple[Cell, ...]:
    state = "answers" if bmc["answers"] else Span("silent", "bad")
    return bmc["name"], bmc["host"], bmc["kind"], state


def _api(host: Any) -> Cell:
    if host["emergency"]:
        return Span("emergency", "bad")
    return "answers" if host["reachable"] else Span("refuses", "bad")


def _fault_row(fault: Any) -> tuple[Cell, ...]:
    scope = " ".join(f"{key}={value}" for key, value in fault["scope"].items())
    return str(fault["id"]), fault["name"], f"{fault['left_s']:.0f} s", scope or "everything"


def _power_lines(data: Any) -> list[Line]:
    return [line(f"{data['host']} is {'on' if data['powered'] else 'off'}")]


def _bmc_lines(data: Any) -> list[Line]:
    told = f"was told {data['told']}" if "told" in data else f"says {data['power']}"
    return [line(f"{data['bmc']} {told}")]


def _fault_lines(data: Any) -> list[Line]:
    return [line(f"fault {data['id']} {'started' if data['active'] else 'stopped'}")]


def _vm_lines(data: Any) -> list[Line]:
    where = " and ".join(data["hosts"]) or "nowhere"
    believed = data["database"]
    placed = f" on {believed['host']}" if believed["host"] else ""
    return [
        line(f"{data['vm']} really runs on ", Span(where, "strong"), f" ({data['power_state']})"),
        line(f"the database says {believed['power_state']}{placed}"),
    ]


def _act_lines(data: Any) -> list[Line]:
    return [line("done" if data["result"] == "" else json.dumps(data["result"]))]


def _log_lines(data: Any) -> list[Line]:
    rows = [
        (
            entry["time"],
            entry["host"],
            entry["originator"] or "-",
            entry["method"],
            entry["object"]["name"] or entry["object"]["uuid"] or "-",
            entry["outcome"],
        )
        for entry in data["entries"]
    ]
    return _headed(("TIME", "HOST", "ORIGINATOR", "METHOD", "OBJECT", "OUTCOME"), rows)


def _corruption_lines(data: Any) -> list[Line]:
    rows = [
        (case["time"], Span(case["kind"], "bad"), case["object"], ", ".join(case["hosts"]))
        for case in data["cases"]
    ]
    count = line(f"corruption {data['count']}")
    return [count, *_headed(("TIME", "KIND", "OBJECT", "HOSTS"), rows)] if rows else [count]
