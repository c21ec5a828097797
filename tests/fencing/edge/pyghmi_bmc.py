"""A controller whose power is a file: `pyghmi_bmc.py PORT FILE PASSWORD`."""

from __future__ import annotations

import sys
from pathlib import Path

from pyghmi.ipmi.bmc import Bmc  # type: ignore[import-untyped]


class FileBmc(Bmc):  # type: ignore[misc]
    def __init__(self, port: int, power: Path, password: str) -> None:
        super().__init__({"admin": password}, port=port, address="127.0.0.1")
        self._power = power

    def get_power_state(self) -> str:
        return self._power.read_text()

    def power_off(self) -> None:
        self._power.write_text("off")

    def power_on(self) -> None:
        self._power.write_text("on")


def main() -> None:
    bmc = FileBmc(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    bmc.listen()


if __name__ == "__main__":
    main()
