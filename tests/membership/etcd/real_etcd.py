"""A real etcd of three members on loopback, with TLS and logins, that can be hurt."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from membership.edge.node_settings import EngineAccess

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "ETCDCTL_API": "3"}
USER, PASSWORD = "cxm", "correct horse"
STARTS_WITHIN_S = 30.0


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def run(*argv: str | Path) -> str:
    """Output of a command, which must succeed."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """An authority of certificates, and one that it issued for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.ca, self.key, self.cert = folder / "ca.pem", folder / "key.pem", folder / "cert.pem"
        ca_key = folder / "ca-key.pem"
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        name = ("-subj", f"/CN={folder.name}", "-days", "2")
        run("openssl", "req", "-x509", *kind, *name, "-keyout", ca_key, "-out", self.ca)
        issued = ("-CA", self.ca, "-CAkey", ca_key, "-addext", "subjectAltName=IP:127.0.0.1")
        uses = ("-addext", "basicConstraints=critical,CA:FALSE")
        issuing = ("openssl", "req", "-x509", *kind, *name, *issued, *uses)
        run(*issuing, "-keyout", self.key, "-out", self.cert)


class EtcdCluster:
    """Members are numbered 0, 1, 2. What is hurt stays so until `heal`."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority")
        self.password = folder / "password"
        self.password.write_text(f"{PASSWORD}\n")
        self.password.chmod(0o600)
        self._ports = [(free_port(), free_port()) for _ in range(count)]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped: set[int] = set()
        self._login: tuple[str, ...] = ()
        self.heal()
        self._ask_for_logins()

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{client}" for client, _ in self._ports)

    def access(self, *, first: int = 0) -> EngineAccess:
        """As a node has it; each of them may begin with another member."""
        return EngineAccess(
            kind="etcd",
            endpoints=self.endpoints[first:] + self.endpoints[:first],
            user=USER,
            credential=str(self.password),
            ca_file=str(self.authority.ca),
        )

    def _start(self, member: int) -> None:
        client, peer = (f"127.0.0.1:{port}" for port in self._ports[member])
        others = (f"m{n}=http://127.0.0.1:{port}" for n, (_, port) in enumerate(self._ports))
        pair = ("--cert-file", self.authority.cert, "--key-file", self.authority.key)
        command = (
            *("etcd", "--name", f"m{member}", "--data-dir", self.folder / f"m{member}"),
            *("--listen-client-urls", f"https://{client}"),
            *("--advertise-client-urls", f"https://{client}"),
            *("--listen-peer-urls", f"http://{peer}"),
            *("--initial-advertise-peer-urls", f"http://{peer}"),
            *("--initial-cluster", ",".join(others), *pair),
            *("--bcrypt-cost", "4", "--log-level", "error"),
            *("--heartbeat-interval", "50", "--election-timeout", "500"),
        )
        with (self.folder / f"m{member}.log").open("ab") as log:
            words = [str(word) for word in command]
            self._running[member] = subprocess.Popen(
                words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self, *words: str) -> list[str]:
        where = ("--endpoints", ",".join(self.endpoints), "--cacert", str(self.authority.ca))
        return ["etcdctl", *where, *self._login, *words]

    def etcdctl(self, *words: str) -> str:
        return run(*self._command("--command-timeout", "10s", *words))

    def _ask_for_logins(self) -> None:
        for words in (
            ("user", "add", f"root:{PASSWORD}"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "cxm"),
            ("role", "grant-permission", "cxm", "--prefix=true", "readwrite", "/cxm/"),
            ("user", "add", f"{USER}:{PASSWORD}"),
            ("user", "grant-role", USER, "cxm"),
            ("auth", "enable"),
        ):
            self.etcdctl(*words)
        self._login = ("--user", f"root:{PASSWORD}")

    def leader(self) -> int:
        """Which member leads etcd itself."""
        members = self.etcdctl("endpoint", "status", "--write-out", "fields").split("\n\n")
        shown = [dict(_pairs(text)) for text in members if text.strip()]
        leading = [row for row in shown if row["MemberID"] == row["Leader"]]
        assert len(leading) == 1, shown
        return self.endpoints.index(leading[0]["Endpoint"].strip('"'))

    def kill(self, *members: int) -> None:
        for member in members:
            process = self._running.pop(member)
            process.send_signal(signal.SIGKILL)
            process.wait()

    def freeze(self, *members: int) -> None:
        for member in members:
            self._running[member].send_signal(signal.SIGSTOP)
            self._stopped.add(member)

    def thaw(self) -> None:
        for member in self._stopped:
            self._running[member].send_signal(signal.SIGCONT)
        self._stopped.clear()

    def heal(self) -> None:
        """All members run, and agree on things again."""
        self.thaw()
        for member in range(len(self._ports)):
            if member not in self._running:
                self._start(member)
        until_s = time.monotonic() + STARTS_WITHIN_S
        while not self._serves():
            assert time.monotonic() < until_s, (self.folder / "m0.log").read_text()[-2000:]
            time.sleep(0.1)

    def _serves(self) -> bool:
        words = self._command("--command-timeout", "2s", "endpoint", "health")
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False)
        return done.returncode == 0

    def close(self) -> None:
        self.thaw()
        self.kill(*list(self._running))


def _pairs(text: str) -> list[tuple[str, str]]:
    rows = (line.partition(" : ") for line in text.splitlines() if " : " in line)
    return [(name.strip().strip('"'), value.strip()) for name, _, value in rows]
