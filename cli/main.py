"""`cxm`: the table of commands, loaded only when used, and what an exit status means.

Starting must stay cheap (0.3 s of CPU): nothing here imports a command before it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import NoReturn

import click

from cli.envelope import EXITS, INTERRUPTED, USAGE, Fault, Finding
from cli.options import GLOBAL, Invocation
from schema.suggest import did_you_mean

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "status": ("status", "What cxm knows: verdict, nodes, what is pending and what refuses."),
        "diff": ("diff", "What would change, why, and what refuses the rest."),
        "apply": ("apply", "Look at Subversion now and converge to its head."),
        "wait": ("wait", "Wait until objects are as desired."),
        "watch": ("watch", "Show every change as it happens."),
        "events": ("events", "What happened: the daemon's journal."),
        "why": ("why", "Evidence, rule and choice behind the state of one object."),
        "explain": ("explain", "What a field, an error code or an object means."),
        "validate": ("validate", "Check a tree: all errors at once."),
        "commit": ("commit", "Validate, show the diff and commit a working copy."),
        "freeze": ("freeze", "Leave objects alone for a while."),
        "thaw": ("thaw", "End a freeze."),
        "drain": ("drain", "Move everything off a node."),
        "undrain": ("undrain", "Let a drained node take VMs again."),
        "retry": ("retry", "Try again now what waits for back-off or has stalled."),
        "members": ("members", "Who is alive, who hears whom on which channel, and who leads."),
        "leader": ("leader", "Who leads; with --hand-over: let another one lead."),
        "hold": ("hold", "Begin nothing any more, on any node, until the hold is released."),
        "release": ("release", "End the hold of this id, exactly as cxm status shows it."),
        "confirm-off": ("confirm_off", "Swear that a node is off: its VMs run again elsewhere."),
        "bootstrap": (
            "bootstrap",
            "After a blackout, swear that all nodes that are not here are off.",
        ),
        "fence": ("fence", "Power a node off, though it may be well."),
        "fence-drill": ("fence_drill", "Read the fence devices: do they answer, and for whom?"),
        "recover": ("recover", "What stands between a dead node and its VMs."),
        "locks": ("locks", "Disks that bear the mark of a server that their VM is not on."),
        "notify": ("notify", "Try whether alarms reach people."),
        "secret": ("secret", "The secrets that this node's settings name."),
        "trust": ("trust", "Trust the certificate that a server of the pool shows."),
        "schema": ("schema", "The JSON Schema of a kind."),
        "survey": ("survey", "Look at a pool: needs its address and a password, changes nothing."),
        "init": ("init", "From a pool's address to a node whose daemons can be started."),
        "node": ("node", "Which nodes are peers: add one, remove one, replace its server."),
        "import": ("import_pool", "Write the tree that describes a pool as it is."),
        "hook": ("hook", "The hooks of a Subversion repository."),
        "heartbeat": ("heartbeat", "The shared disk over which peers hear each other."),
        "sim": ("sim", "A simulated pool of Xen servers on this machine."),
        "demo": ("demo", "The whole of cxm at work on a simulated pool."),
        "version": ("version", "Which cxm this is."),
    }
)
"""Name -> (module below cli.commands, short help)."""


class CommandTable(click.Group):
    """The commands in the order of the table, each imported when it is used. No prefix matching."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command = import_module(f"cli.commands.{row[0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f'no such command "{name}"{did_you_mean(name, COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


root = CommandTable(
    name="cxm",
    params=list(GLOBAL),
    help="Clustered Xen Manager: a pool of Xen servers becomes what the files in Subversion say.",
    epilog="Exit status: 0 in sync, 1 error, 2 differs, 3 invalid, 4 refused, 5 partly failed, "
    "6 cannot observe, 7 stale plan, 8 timeout, 64 usage, 130 interrupted.",
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run(args: Sequence[str]) -> int:
    """Run one command line; the answer is the exit status."""
    run_ = Invocation(output=_wanted_output(args))
    try:
        code = root.main(list(args), prog_name="cxm", standalone_mode=False, obj=run_)
    except click.UsageError as error:
        return _usage(run_, error)
    except click.Abort:
        run_.emit(Finding(INTERRUPTED, errors=(_DETACHED,)))
        return EXITS[INTERRUPTED]
    except click.ClickException as error:
        run_.emit(Finding("error", errors=(Fault("Failed", error.format_message()),)))
        return EXITS["error"]
    return code if isinstance(code, int) else 0


_DETACHED = Fault("Interrupted", "interrupted; whatever the daemon has begun goes on")


def _usage(run_: Invocation, error: click.UsageError) -> int:
    run_.command = run_.command or _named(error)
    place = error.ctx.command_path if error.ctx is not None else "cxm"
    fault = Fault("Usage", error.format_message(), f"{place} --help tells more")
    run_.emit(Finding(USAGE, errors=(fault,)))
    return EXITS[USAGE]


def _named(error: click.UsageError) -> str:
    """The command whose options or arguments are wrong."""
    return (error.ctx.info_name if error.ctx is not None else None) or "cxm"


def _wanted_output(args: Sequence[str]) -> str:
    """Which form was asked for, told before parsing: a usage error must come in it too."""
    for n, word in enumerate(args):
        following = args[n + 1] if n + 1 < len(args) else ""
        for given in (
            following if word in ("-o", "--output") else "",
            word.removeprefix("--output=") if word.startswith("--output=") else "",
            word.removeprefix("-o") if word.startswith("-o") else "",
        ):
            if given in ("json", "jsonl"):
                return given
    return "text"


def main() -> NoReturn:
    sys.exit(run(sys.argv[1:]))
