"""`python -m membership.edge.settings_child FILE`: node.yaml in, what the heartbeats need as JSON out."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from membership.edge import node_yaml
from membership.edge.node_settings import EngineAccess, NodeSettings
from membership.edge.secret_files import secret_path
from membership.edge.starting import EX_CONFIG, CannotStart
from schema.settings import Settings


def _narrowed(settings: Settings, config: Path) -> NodeSettings:
    """Raises CannotStart."""
    engine, listen = settings.engine, settings.listen.heartbeat
    if engine.kind == "single" or settings.cluster_key_ref is None:
        raise CannotStart(
            EX_CONFIG,
            f"{config}: engine: {engine.kind} has no peers, so there is nobody to hear; write "
            "engine: {kind: builtin} and clusterKeyRef: NAME, or do not start cxm-heartbeatd",
        )
    password = engine.credentials_ref
    return NodeSettings(
        node=settings.node,
        cluster_id=settings.cluster_id,
        state_dir=settings.state_dir,
        run_dir=settings.run_dir,
        boot_id_file=settings.boot_id_file,
        cluster_key=str(secret_path(config, settings.cluster_key_ref)),
        engine=EngineAccess(
            kind=engine.kind,
            endpoints=engine.endpoints,
            user=engine.user,
            credential=str(secret_path(config, password)) if password is not None else None,
            ca_file=engine.ca_file,
        ),
        listen=(listen.address, listen.port) if listen.address is not None else None,
        release=version("cxm"),
    )


def main(argv: list[str]) -> int:
    config = Path(argv[1])
    try:
        settings = _narrowed(node_yaml.read(config), config)
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    sys.stdout.buffer.write(msgspec.json.encode(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
