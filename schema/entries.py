"""One file of the tree, read by itself: what is kept of it from one revision to the next.

Places are not kept, they are most of a document's bulk: who needs one, for an error between files
or for `explain`, reads the file again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath

from msgspec.structs import replace

from schema import dialect, fields, quick, rules, validation
from schema.dialect import Document, Path
from schema.errors import ConfigError
from schema.fields import EVERY, KEYS
from schema.merging import Plain
from schema.model import Frozen
from schema.suggest import listed, nearest

Key = tuple[str, str]  # (kind, name)
Claim = tuple[str, str, str]  # (group, key, value) such as ("match", "uuid", "0b7f...")

_CLAIMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "VM": (("match", "uuid"), ("match", "name")),
    "Node": (("host", "uuid"), ("host", "address"), ("heartbeat", "addresses")),
}


class Entry(Frozen, frozen=True, kw_only=True, eq=False):
    """One YAML file.

    `kind` and `name` are what the file says, or None where that cannot be told. `value` is the
    document where it is valid by itself, else None, and then `errors` says why not. The rest is what
    a valid document means to others: every (kind, name) it names, what it claims to be the only one
    to have, the VMs it waits for.
    """

    path: str
    content: bytes
    line: bytes
    kind: str | None = None
    name: str | None = None
    value: Plain | None = None
    errors: tuple[ConfigError, ...] = ()
    refers: frozenset[Key] = frozenset()
    claims: tuple[Claim, ...] = ()
    waits: tuple[str, ...] = ()


def digest_line(path: str, content: bytes) -> bytes:
    """One file's part of the tree's digest, in the form that `sha256sum` prints."""
    return f"{sha256(content).hexdigest()}  {path}\n".encode()


def enter(path: str, content: bytes) -> Entry:
    """Reads one file and checks all that can be checked without the others."""
    bare = Entry(path=path, content=content, line=digest_line(path, content))
    misnamed = _misnamed(path)
    if misnamed:
        return replace(bare, errors=(misnamed,))
    value = quick.value(content)
    if isinstance(value, dict) and _is_good(path, value):
        return _valid(bare, value)
    reading = dialect.read(path, content)
    if reading.document is None:
        return replace(bare, errors=reading.errors)
    errors = [*reading.errors, *_errors(path, reading.document, bool(reading.errors))]
    value = reading.document.value
    if not errors:
        return _valid(bare, value)
    said = value if isinstance(value, dict) else {}
    return replace(
        bare,
        kind=_text(said.get("kind"), fields.KINDS),
        name=_text(said.get("name")),
        errors=tuple(_first_at_each_place(errors)),
    )


def _text(value: object, among: Sequence[str] = ()) -> str | None:
    return value if isinstance(value, str) and (not among or value in among) else None


def _is_good(path: str, value: Plain) -> bool:
    """Whether `_errors` would find nothing; it needs no places for that."""
    if any(_foreign(value)):
        return False
    kind = value["kind"]
    return validation.accepts(kind, value) and not any(_own_faults(path, kind, value))


def _errors(path: str, document: Document, misread: bool) -> list[ConfigError]:
    value = document.value
    if not isinstance(value, dict):
        return validation.no_mapping(path, document)
    faults = list(_foreign(value))
    if not faults:
        kind = value["kind"]
        errors = validation.check(kind, path, document)
        if errors or misread:
            return errors
        faults = list(_own_faults(path, kind, value))
    return [rules.located(path, document, *fault) for fault in faults]


def _own_faults(path: str, kind: str, value: Plain) -> rules.Broken:
    yield from rules.broken(kind, value)
    name, stem = value["name"], PurePosixPath(path).stem
    if kind != "Cluster" and name != stem:
        message = f'name: "{name}" is not the name of the file'
        yield ("name",), "V021", message, f"write name: {stem}, or rename the file to {name}.yaml"


def _valid(bare: Entry, value: Plain) -> Entry:
    kind = value["kind"]
    return replace(
        bare,
        kind=kind,
        name=value["name"],
        value=value,
        refers=frozenset((wanted, bare_name(text)) for wanted, _, text in named(kind, value)),
        claims=tuple(_claims(kind, value)),
        waits=tuple(
            text.removeprefix("vm/")
            for text in (value.get("start", {}).get("after", ()) if kind == "VM" else ())
        ),
    )


def _claims(kind: str, value: Plain) -> Iterator[Claim]:
    for group, key in _CLAIMED.get(kind, ()):
        found = value.get(group, {}).get(key, ())
        for text in found if isinstance(found, list) else (found,) if found else ():
            yield group, key, text


def _first_at_each_place(errors: list[ConfigError]) -> Iterator[ConfigError]:
    """What the dialect refuses, the schema often refuses again: `yes` is also no boolean."""
    blamed: set[tuple[int, int]] = set()
    for error in errors:
        # Several keys can be missing at the one place where the object begins.
        if (error.line, error.column) not in blamed or error.code == "V015":
            yield error
        if error.code != "V015":
            blamed.add((error.line, error.column))


def _misnamed(path: str) -> ConfigError | None:
    message = hint = ""
    if not path.isascii():
        message = "the name of the file is not ASCII"
        hint = "Subversion cannot check it out everywhere; rename the file and the object"
    elif not path.endswith(".yaml"):
        message = f'the name of the file ends in "{PurePosixPath(path).suffix}"'
        hint = "cxm reads .yaml; rename the file, or this object would not be managed"
    if not message:
        return None
    return ConfigError(path=path, line=1, column=1, code="V020", message=message, hint=hint)


def _foreign(value: Plain) -> rules.Broken:
    """Reasons not to look for the kind's own schema; one language, one kind, is as good as none."""
    version, kind = value.get("apiVersion"), value.get("kind")
    for key, wanted in (("apiVersion", fields.API_VERSION), ("kind", listed(fields.KINDS))):
        if key not in value:
            yield (), "V015", f'"{key}" is missing', f"{key}: {wanted}"
    if version is not None and version != fields.API_VERSION:
        message = f'"{version}" is not the language that this cxm reads'
        yield ("apiVersion",), "V903", message, f"write {fields.API_VERSION}, or upgrade cxm"
    if kind == "Cluster":
        yield from rules.too_new(value)
    if kind is not None and kind not in fields.KINDS:
        near = nearest(str(kind), fields.KINDS)
        hint = "" if near else f"known are {listed(fields.KINDS)}; a newer cxm may know it"
        meant = f'; did you mean "{near}"?' if near else ""
        yield ("kind",), "V901", f'unknown kind "{kind}"{meant}', hint


def named(kind: str, value: Plain) -> Iterator[tuple[str, Path, str]]:
    """Every object that a document names: its kind, where, and as it is written.

    Where the name is a key, the place ends in `KEYS`.
    """
    for path, wanted in fields.references(kind):
        for spot, text in _spots(value, path, ()):
            yield wanted, spot, text


def bare_name(text: str) -> str:
    """`db1` of `vm/db1`."""
    return text.rpartition("/")[2]


def _spots(value: object, where: Path, done: Path) -> Iterator[tuple[Path, str]]:
    if not where:
        yield done, str(value)
    elif isinstance(value, dict) and where[0] == KEYS:
        yield from (((*done, key, KEYS), key) for key in value)
    elif isinstance(value, list) and where[0] == EVERY:
        for index, item in enumerate(value):
            yield from _spots(item, where[1:], (*done, index))
    elif isinstance(value, dict) and where[0] in value:
        yield from _spots(value[where[0]], where[1:], (*done, where[0]))
