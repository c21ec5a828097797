"""What ``snmpd`` asks about the outlets of a power distribution unit (its ``pass_persist``).

A program of its own: ``outlets.py SOCKET NUMBER=DEVICE…``. It serves the part of PowerNet-MIB that
switches outlets: name and state (…12.3.5.1.1.2 and .4) and command (…12.3.3.1.1.4); 1 is on, 2 off.
"""

import _socket
import sys

BASE = (1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3)
_COMMAND, _NAME, _STATE = (3, 1, 1, 4), (5, 1, 1, 2), (5, 1, 1, 4)
_NOTHING = "NONE"


class Outlets:
    """The outlets by number, and the wire to whoever knows whether they are on."""

    def __init__(self, path: str, devices: dict[int, str]) -> None:
        self._devices = devices
        self._wire = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._wire.connect(path)
        columns = (_COMMAND, _NAME, _STATE)
        self._rows = sorted((*BASE, *column, number) for column in columns for number in devices)

    def get(self, oid: tuple[int, ...]) -> str:
        """The value there, as ``snmpd`` wants it: three lines, or NONE."""
        if oid not in self._rows:
            return _NOTHING
        column, device = oid[len(BASE) : -1], self._devices[oid[-1]]
        written = ".".join(map(str, ("", *oid)))
        if column == _NAME:
            return f"{written}\nstring\n{device}"
        state = {"on": 1, "off": 2}.get(self._ask("status", device))
        return _NOTHING if state is None else f"{written}\ninteger\n{state}"

    def next(self, oid: tuple[int, ...]) -> str:
        """The first value behind ``oid``."""
        behind = (row for row in self._rows if row > oid)
        return self.get(next(behind, ()))

    def set(self, oid: tuple[int, ...], value: str) -> str:
        """Give the command that the value stands for."""
        command = {"integer 1": "on", "integer 2": "off"}.get(value)
        if oid not in self._rows or oid[len(BASE) : -1] != _COMMAND or command is None:
            return "not-writable"
        return "DONE" if self._ask(command, self._devices[oid[-1]]) == "done" else "not-writable"

    def _ask(self, command: str, device: str) -> str:
        self._wire.sendall(f"{command} {device}\n".encode())
        return self._wire.recv(64).decode().strip()


def serve(outlets: Outlets) -> None:
    """Answer until ``snmpd`` is gone. It sends an empty line after each set."""
    while request := sys.stdin.readline():
        word = request.strip()
        if word == "PING":
            answer = "PONG"
        elif word in ("get", "getnext"):
            oid = _oid(sys.stdin.readline())
            answer = outlets.get(oid) if word == "get" else outlets.next(oid)
        elif word == "set":
            oid = _oid(sys.stdin.readline())
            answer = outlets.set(oid, sys.stdin.readline().strip())
        else:
            continue
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _oid(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip().split(".") if part)


def main(path: str, *devices: str) -> None:
    """Serves the devices, each given as NUMBER=NAME."""
    pairs = (device.partition("=") for device in devices)
    serve(Outlets(path, {int(number): name for number, _, name in pairs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
