"""`cxm trust`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import certificates, splicing
from cli.envelope import Finding, failure
from cli.node_folder import NodeFolder
from cli.options import Invocation, cxm_command, invocation
from cli.render.text import Line, line
from cli.settings import config_path, node_settings
from schema.forms import FORMS, endpoint_fault
from schema.settings import XenapiAccess

_COMPARE = (
    "compare it on the server's console, then give --yes:\n"
    "openssl x509 -noout -fingerprint -sha256 -in /etc/xensource/xapi-ssl.pem"
)


@cxm_command("trust")
@click.argument("host")
@click.option("--yes", is_flag=True, help="Trust what is shown: it was compared.")
def command(host: str, yes: bool) -> Finding:
    """Trust the certificate that a server of the pool shows.

    Fetches the certificate of HOST or HOST:PORT, shows its SHA-256 fingerprint, and once somebody has
    agreed adds it to xenapi.fingerprints in node.yaml. Nothing is sent to the server.
    """
    fault = endpoint_fault(host) if host else "HOST is empty"
    if fault:
        raise click.UsageError(f"{fault}: {FORMS['endpoint'].example}")
    run = invocation()
    settings, path = node_settings(run), config_path(run)
    if settings.xenapi.ca_file is not None:
        message = f"{path}: xenapi trusts what {settings.xenapi.ca_file} signed, not fingerprints"
        hint = "have that authority sign the server's certificate, or add its issuer to the file"
        raise failure("refused", "ByAuthority", message, hint)
    shown = certificates.shown_by(host)
    data = {"host": host, "fingerprint": shown.lower(), "file": str(path)}
    if shown.lower() in settings.xenapi.fingerprints:
        rows = [line(f"{path} trusts {certificates.spelled(shown)} already")]
        return Finding("converged", {**data, "changed": False}, rows)
    _agree(run, host, certificates.spelled(shown), yes=yes)
    _write(path, certificates.spelled(shown))
    rows = [
        line(f"{path} trusts the certificate of {host} now"),
        *_rest(host, settings.xenapi),
    ]
    return Finding("converged", {**data, "changed": True}, rows)


def _agree(run: Invocation, host: str, fingerprint: str, *, yes: bool) -> None:
    """Raises Failure (4) where nobody has compared."""
    run.note(f"{host} shows the certificate SHA-256 {fingerprint}")
    if yes:
        return
    if not run.may_ask:
        raise failure("refused", "NotTrusted", "nobody has agreed to this certificate", _COMPARE)
    if not click.confirm("Is it the right one?", default=False, err=True):
        raise failure("refused", "NotTrusted", "the certificate was not agreed to")


def _write(path: Path, fingerprint: str) -> None:
    text = path.read_bytes().decode("utf-8")
    fresh = splicing.with_item(str(path), text, ("xenapi", "fingerprints"), fingerprint)
    NodeFolder(path.parent, path.name).write_settings(fresh)


def _rest(host: str, access: XenapiAccess) -> list[Line]:
    rows = ["cxmd trusts it once started anew: systemctl restart cxmd"]
    if host not in access.addresses:
        rows.append(f"{host} is not in xenapi.addresses: add it there if cxmd is to ask it first")
    return [line(f"  {row}") for row in rows]
