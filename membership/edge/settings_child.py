"""`python -m membership.edge.settings_child FILE`: node.yaml in, what the heartbeats need as JSON out."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from membership.edge.node_settings import EngineAccess, NodeSettings
from membership.edge.starting import EX_CONFIG, CannotStart
from schema.report import render
from schema.settings import Settings, read_settings


def told(config: Path) -> NodeSettings:
    """Raises CannotStart."""
    try:
        content = config.read_bytes()
    except OSError as error:
        hint = "give --config FILE"
        raise CannotStart(EX_CONFIG, f"{config}: {error.strerror}; {hint}") from None
    read = read_settings(content, str(config))
    if read.settings is None:
        raise CannotStart(EX_CONFIG, render(read.errors, {str(config): content}, read=1).rstrip())
    return _narrowed(read.settings, config)


def _narrowed(settings: Settings, config: Path) -> NodeSettings:
    engine, listen = settings.engine, settings.listen.heartbeat
    if engine.kind == "single" or settings.cluster_key_ref is None:
        raise CannotStart(
            EX_CONFIG,
            f"{config}: engine: {engine.kind} has no peers, so there is nobody to hear; write "
            "engine: {kind: builtin} and clusterKeyRef: NAME, or do not start cxm-heartbeatd",
        )
    return NodeSettings(
        node=settings.node,
        cluster_id=settings.cluster_id,
        state_dir=settings.state_dir,
        run_dir=settings.run_dir,
        cluster_key=_secret(config, settings.cluster_key_ref),
        engine=EngineAccess(
            kind=engine.kind,
            endpoints=engine.endpoints,
            user=engine.user,
            credential=engine.credentials_ref and _secret(config, engine.credentials_ref),
            ca_file=engine.ca_file,
        ),
        listen=(listen.address, listen.port) if listen.address is not None else None,
        release=version("cxm"),
    )


def _secret(config: Path, name: str) -> str:
    return str(config.absolute().parent / "secrets.d" / name)


def main(argv: list[str]) -> int:
    try:
        settings = told(Path(argv[1]))
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    sys.stdout.buffer.write(msgspec.json.encode(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
