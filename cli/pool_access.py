"""How a command without settings gets at a pool: an address, a password, and whom to trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.envelope import failure
from cli.options import Invocation

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """Without pins or a CA file the machine's own authorities are trusted."""

    addresses: tuple[str, ...]
    user: str
    password: str
    ca_file: str | None = None
    fingerprints: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Access({self.addresses}, {self.user!r})"


def options(function: _Command) -> _Command:
    """`--user --password-file --fingerprint --ca-file`."""
    for option in (
        click.option(
            "--ca-file", type=click.Path(path_type=Path, exists=True, readable=False, dir_okay=False),
            help="Trust certificates that this CA signed.",
        ),
        click.option(
            "--fingerprint", "fingerprints", multiple=True,
            help="Trust the certificate with this SHA-256 fingerprint.",
        ),
        click.option(
            "--password-file", type=click.Path(path_type=Path, exists=True, readable=False, dir_okay=False),
            help="Read the password from the first line of a file.",
        ),
        click.option("--user", default="root", show_default=True, help="Who logs in."),
    ):  # fmt: skip
        function = option(function)
    return function


def asked_for(
    run: Invocation,
    host: str,
    user: str,
    password_file: Path | None,
    fingerprints: tuple[str, ...],
    ca_file: Path | None,
) -> Access:
    """Asks for the password where no file names it. Raises Failure (4) where nobody can be asked."""
    if fingerprints and ca_file is not None:
        raise click.UsageError("--fingerprint and --ca-file exclude each other")
    if password_file is not None:
        password = password_in(password_file)
    elif run.may_ask:
        password = click.prompt(f"Password of {user} at {host}", hide_input=True, err=True)
    else:
        hint = "give --password-file FILE"
        raise failure(
            "refused", "NoPassword", "a password is needed, and nobody can be asked", hint
        )
    return Access((host,), user, password, str(ca_file) if ca_file else None, fingerprints)


def password_in(file: Path) -> str:
    """The first line. Raises Failure (exit 1)."""
    try:
        first = file.read_text(encoding="utf-8").splitlines()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise failure("error", "Unreadable", f"{file}: {error}") from None
    if not first or not first[0]:
        raise failure("error", "NoPassword", f"{file}: the first line is empty")
    return first[0]
