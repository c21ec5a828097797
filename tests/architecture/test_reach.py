"""Which modules of another room a room may know: finer than the import contracts, which name folders."""

from __future__ import annotations

from tests.architecture.sources import ROOMS, imported, sources

SEEN_BY_XAPI = (
    "reconciler.members",
    "reconciler.observed",
    "reconciler.actions",
    "reconciler.messages",
    "reconciler.ports",
    "reconciler.paging.Page",
    "reconciler.paging.Severity",
    "schema.model",
    "membership.clock",
)
"""The client knows the types that go in and out, and nothing of how they are decided on."""

SLOW = ("aiohttp", "ruamel", "jsonschema", "structlog", "cryptography", "pysvn")
"""What costs a command its start-up when imported at the top of a module of `cli`."""


def test_xapi_knows_types_only() -> None:
    strangers = [
        f"{source.at(statement)}: {name}"
        for source in sources("xapi")
        for statement, name in imported(source)
        if name.split(".")[0] in ROOMS
        and name.split(".")[0] != "xapi"
        and not name.startswith(SEEN_BY_XAPI)
    ]
    assert strangers == [], "\n".join(strangers)


def test_a_command_starts_without_slow_libraries() -> None:
    slow = [
        f"{source.at(statement)}: {name}"
        for source in sources("cli")
        if source.path.name in ("main.py", "__init__.py", "envelope.py", "client.py", "version.py")
        for statement, name in imported(source)
        if statement in source.tree.body and name.startswith(SLOW)
    ]
    assert slow == [], "\n".join(slow)
