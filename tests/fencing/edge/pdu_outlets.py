"""Outlets of an APC PDU for snmpd's `pass_persist`: `pdu_outlets.py FOLDER`.

In FOLDER, `outlet.N` holds 1 (on) or 2 (off); `deaf` makes it ignore what it is told to switch, and
`amnesia` lets an outlet vanish once it was switched off, in name and state or in state alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

APC = ".1.3.6.1.4.1.318.1.1.12.3"
NAME, STATUS, CONTROL = f"{APC}.5.1.1.2", f"{APC}.5.1.1.4", f"{APC}.3.1.1.4"


class Outlets:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _outlets(self) -> dict[int, str]:
        states = {
            int(path.suffix[1:]): path.read_text().strip() for path in self._folder.glob("outlet.*")
        }
        return dict(sorted(states.items()))

    def _forgets(self, what: str, state: str) -> bool:
        amnesia = self._folder / "amnesia"
        return state == "forgotten" and amnesia.exists() and what in amnesia.read_text()

    def rows(self) -> dict[str, tuple[str, str]]:
        """(type, value) of every object there is."""
        found: dict[str, tuple[str, str]] = {}
        outlets = self._outlets()
        for column in (CONTROL, NAME, STATUS):
            what = "name" if column == NAME else "state"
            for number, state in outlets.items():
                if not self._forgets(what, state):
                    value = ("string", f"Outlet {number}") if what == "name" else ("integer", state)
                    found[f"{column}.{number}"] = value
        return found

    def set(self, oid: str, value: str) -> None:
        if oid.startswith(f"{CONTROL}.") and not (self._folder / "deaf").exists():
            forgetful = (self._folder / "amnesia").exists() and value == "2"
            outlet = self._folder / f"outlet.{oid.rpartition('.')[2]}"
            outlet.write_text("forgotten" if forgetful else value)


def _key(oid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in oid.strip(".").split("."))


def answers(outlets: Outlets, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        command = line.strip()
        if command == "PING":
            yield "PONG"
        elif command == "set":
            oid, value = next(lines).strip(), next(lines).strip()
            outlets.set(oid, value.rpartition(" ")[2])
            yield "DONE"
        elif command in ("get", "getnext"):
            oid, rows = next(lines).strip(), outlets.rows()
            if command == "getnext":
                after = [other for other in rows if _key(other) > _key(oid)]
                oid = min(after, key=_key, default="")
            yield "\n".join((oid, *rows[oid])) if oid in rows else "NONE"


def main() -> None:
    for answer in answers(Outlets(Path(sys.argv[1])), iter(sys.stdin.readline, "")):
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
