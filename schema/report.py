"""Errors as text: the form in which `validate` and the commit hook show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schema.dialect import LINE_END
from schema.errors import ConfigError

# A hook's message travels through Subversion's error text; more than this nobody reads there.
CAP = 20
# A source line is cut to a window around the fault, so that a report stays readable.
_WIDTH = 100


def render(
    errors: Sequence[ConfigError],
    files: Mapping[str, bytes],
    *,
    read: int,
    cap: int | None = None,
    ascii_only: bool = False,
) -> str:
    """The report of `errors`, which must be sorted; `files` are shown from, `read` were read.

    At most `cap` errors are shown, the rest is counted. With `ascii_only` whatever is not ASCII is
    written as an escape: a hook's answer passes through programs that do not agree on encodings.
    """
    shown = errors if cap is None else errors[:cap]
    lines = [line for error in shown for line in entry(error, files)]
    if len(shown) < len(errors):
        lines.append(f"... and {len(errors) - len(shown)} more")
    lines.append(summary(errors, read))
    text = "\n".join(lines) + "\n"
    return text.encode("ascii", "backslashreplace").decode("ascii") if ascii_only else text


def summary(errors: Sequence[ConfigError], read: int) -> str:
    """`2 errors in 2 of 41 files`, `no errors in 41 files`."""
    whole = f"{read} file{'' if read == 1 else 's'}"
    if not errors:
        return f"no errors in {whole}"
    warnings = sum(error.severity == "warning" for error in errors)
    counts = ((len(errors) - warnings, "error"), (warnings, "warning"))
    words = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n]
    files = len({error.path for error in errors})
    return f"{' and '.join(words)} in {files} of {whole}"


def entry(error: ConfigError, files: Mapping[str, bytes]) -> Iterator[str]:
    """One error: its place and message, and where there is a hint, the line with a caret."""
    head = f"{error.path}:{error.line}:{error.column}: {error.severity}[{error.code}]"
    yield f"{head} {_one_line(error.message)}"
    if not error.hint:
        return
    # A secret in the open is not carried further, into terminals and logs of the server.
    secret = error.code == "V031"
    source = "" if secret else _source(files.get(error.path, b""), error.line)
    if not source.strip():
        yield f"      {_one_line(error.hint)}"
        return
    start = max(0, error.column - _WIDTH // 2) if len(source) > _WIDTH else 0
    visible = source[start : start + _WIDTH]
    carets = "^" * max(1, min(error.length, len(visible) - (error.column - 1 - start)))
    yield f"{error.line:5} | {visible}"
    yield f"{'':5} | {' ' * (error.column - 1 - start)}{carets} {_one_line(error.hint)}"


def _source(content: bytes, line: int) -> str:
    lines = LINE_END.split(content.decode("utf-8", "replace"))
    # A tab is one column to the reader; so it must be to the eye.
    text = lines[line - 1].replace("\t", " ") if line <= len(lines) else ""
    return "".join(c if c.isprintable() else "?" for c in text)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
