"""What ``ipmi_sim`` runs whenever its server's power is asked for or switched.

A program of its own: ``chassis.py SOCKET DEVICE get power`` prints ``power:1`` or ``power:0``, and
``… set power 0|1`` switches. Exit status 1 where the device has no answer. It imports one built-in
module and no package, because a controller answers within milliseconds.
"""

import _socket
import sys

_COMMANDS = {"get power": "status", "set power 0": "off", "set power 1": "on"}


def main(path: str, device: str, *words: str) -> int:
    """Passes one command on to the simulator; the exit status."""
    command = _COMMANDS.get(" ".join(words))
    if command is None:
        return 1
    wire = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    wire.connect(path)
    wire.sendall(f"{command} {device}\n".encode())
    answer = wire.recv(64).decode().strip()
    if command == "status" and answer in ("on", "off"):
        sys.stdout.write(f"power:{int(answer == 'on')}\n")
        return 0
    return int(answer != "done")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
