"""`cxm secret`: the secrets that a node's settings name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from cli.cluster_key import KEY, new_key
from cli.envelope import Failure, Finding, failure
from cli.node_folder import NodeFolder
from cli.options import GLOBAL, CxmCommand, Invocation, invocation
from cli.render.text import Line, Span, line
from cli.settings import config_path, node_settings
from membership.edge.key_file import SHORTEST_KEY
from membership.edge.secret_files import LONGEST
from schema import fields
from schema.forms import FORMS
from schema.settings import Settings

_RESTART = "cxmd uses it once it is started anew: systemctl restart cxmd"


@click.group("secret", params=list(GLOBAL), subcommand_metavar="set NAME", no_args_is_help=False)
def command() -> None:
    """The secrets that this node's settings name.

    Each is a file of that name in secrets.d beside node.yaml.
    """


@click.command("secret.set", cls=CxmCommand)
@click.argument("name")
@click.option("--generate", is_flag=True, help="Make a new key instead of reading one.")
@click.option("--add", is_flag=True, help="A cluster key: accept it beside those that are there.")
@click.option("--first", is_flag=True, help="A cluster key: sign with it, accept the others too.")
@click.option("--yes", is_flag=True, help="Replace what is there without asking.")
def _set(name: str, generate: bool, add: bool, first: bool, yes: bool) -> Finding:
    """Read a secret from standard input, and keep it where the daemons look for it.

    The file is for the daemons' user alone, and is written whole or not at all. Nothing of a secret is
    ever shown. A cluster key is changed in three rounds over all peers: --add the new one, make it
    --first, then set it alone.
    """
    run = invocation()
    _check_name(name)
    if add and first:
        raise click.UsageError("--add and --first exclude each other")
    folder, settings = _folder(run), _settings_if_any(run)
    known = folder.read_secret(name)
    is_key = settings is not None and settings.cluster_key_ref == name
    if generate and not is_key and not _may_become_key(name, settings):
        message = f"{name} is no cluster key: whoever asks for it would have to know it, too"
        raise failure(
            "refused", "NotTheKey", message, "leave --generate out, and pipe the secret in"
        )
    if (add or first) and not is_key:
        message = f"{config_path(run)}: clusterKeyRef is not {name}"
        hint = "only a cluster key can be one of several; leave --add and --first out"
        raise failure("refused", "NotTheKey", message, hint)
    if known is not None and not (yes or add or first):
        _agree(run, folder.secret(name))
    given = new_key() if generate else _given(run, name)
    lines = _lines(given, is_key=is_key)
    keys = known.split() if known is not None else []
    if is_key and keys and not (add or first or set(lines) & {*keys}):
        run.note(
            "in one step this peer is cut off from all that have not the new key yet; without a break:"
            " --add on all peers, then --first, then alone"
        )
    fresh = [*keys, *(key for key in lines if key not in keys)] if add else lines
    fresh += [key for key in keys if key not in lines] if first else []
    return _kept(folder, name, fresh, settings, known)


command.add_command(_set, "set")


def _may_become_key(name: str, settings: Settings | None) -> bool:
    """Whether settings that name no key yet would name this one."""
    return name == KEY and (settings is None or settings.cluster_key_ref is None)


def _check_name(name: str) -> None:
    form = fields.at("settings", ("clusterKeyRef",))
    if not re.fullmatch(str(form["pattern"]), name):
        raise click.UsageError(
            f'"{name}" is not a name of a secret: {FORMS["secret-name"].example}'
        )


def _folder(run: Invocation) -> NodeFolder:
    """Where node.yaml is, or will be. Raises Failure (1) where there is no such folder."""
    path = config_path(run)
    if not path.parent.is_dir():
        hint = "give --config FILE or set CXM_CONFIG; cxm init makes a folder with settings"
        raise failure("error", "NoFolder", f"{path.parent}: there is no such folder", hint)
    return NodeFolder(path.parent, path.name)


def _settings_if_any(run: Invocation) -> Settings | None:
    """A secret may be there before the settings that name it."""
    try:
        return node_settings(run)
    except Failure:
        return None


def _agree(run: Invocation, path: Path) -> None:
    """Raises Failure (4) where nobody says that what is there may be lost."""
    if not run.may_ask:
        raise failure("refused", "SecretExists", f"{path} is there already", "--yes replaces it")
    if not click.confirm(f"{path} is there already. Replace it?", default=False, err=True):
        raise failure("refused", "SecretExists", f"{path} stays as it is")


def _given(run: Invocation, name: str) -> str:
    """What a person types unseen, twice, or what comes through a pipe. Raises Failure (1, 4)."""
    if sys.stdin.isatty():
        if run.no_input:
            raise failure("refused", "NoSecret", "nobody may be asked", "pipe the secret in")
        told: str = click.prompt(
            f"Secret {name}", hide_input=True, confirmation_prompt=True, err=True
        )
        return told
    content = sys.stdin.buffer.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise failure("error", "TooLong", f"more than {LONGEST} bytes came; nothing was changed")
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise failure("error", "NotText", "what came is not UTF-8; nothing was changed") from None


def _lines(given: str, *, is_key: bool) -> list[str]:
    """The lines of a secret: one, but for keys. Raises Failure (1) for what no daemon would take."""
    lines = [row.strip() for row in given.splitlines() if row.strip()] if is_key else [given]
    if not given.strip():
        raise failure("error", "EmptySecret", "an empty secret; nothing was changed")
    if is_key and any(len(key) < SHORTEST_KEY for key in lines):
        message = f"a cluster key has at least {SHORTEST_KEY} characters; nothing was changed"
        raise failure("error", "ShortKey", message, "--generate makes a good one")
    if not is_key and len(given.splitlines()) > 1:
        message = "more than one line; nothing was changed"
        raise failure("error", "SeveralLines", message, "only a cluster key may have several")
    return lines


def _kept(
    folder: NodeFolder, name: str, lines: list[str], settings: Settings | None, known: str | None
) -> Finding:
    path, fresh = folder.secret(name), "\n".join(lines)
    data = {"name": name, "path": str(path), "changed": fresh != known, "lines": len(lines)}
    if fresh == known:
        return Finding("converged", data, [line(f"{path} is so already")])
    folder.write_secret(name, fresh)
    rows = [line(Span(str(path), "strong"), f" is written, mode 0600, for {_user(path)}")]
    return Finding("converged", data, [*rows, *_effect(name, path, len(lines), settings)])


def _user(path: Path) -> str:
    """The name of its owner, or the number where there is no name."""
    try:
        return path.owner()
    except KeyError:
        return f"uid {path.stat().st_uid}"


def _effect(name: str, path: Path, count: int, settings: Settings | None) -> list[Line]:
    """When the daemons use it, and what else has to be done."""
    told: list[str] = []
    if settings is None:
        return [line("  there are no settings yet that could name it")]
    if name == settings.cluster_key_ref:
        keys = "1 key" if count == 1 else f"{count} keys, the first signs"
        told = [
            f"{keys}; every peer must get the same, from {path} by a safe way",
            "cxmd and cxm-heartbeatd take it up by themselves, within seconds",
        ]
    if name == settings.xenapi.credentials_ref:
        told.append(_RESTART)
    if name == settings.source.credentials_ref:
        told.append("cxmd uses it when it next asks Subversion anew")
    if name == settings.engine.credentials_ref:
        told.append("cxm-heartbeatd uses it once started anew: systemctl restart cxm-heartbeatd")
    return [line(f"  {row}") for row in told or [f"node.yaml does not name {name}"]]
