"""`cxm secret set`: what is kept, for whom, and what is refused."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from membership.edge.key_file import read_keys
from membership.edge.secret_files import read_secret, secret_path
from tests.cli.conftest import Cxm

OLD, NEW = "old" * 12, "new" * 12
Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """What comes on standard input, which is no terminal."""

    def given(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return given


@pytest.fixture
def keyed(config: Path) -> Path:
    """Settings that name a cluster key, too; the answer is its file."""
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}clusterKeyRef: cluster-key\n", encoding="utf-8")
    return config.parent / "secrets.d" / "cluster-key"


def test_a_secret_is_kept_as_the_daemons_want_it(config: Path, cxm: Cxm, pipe: Pipe) -> None:
    pipe(b"p\xc3\xa4ss word\n")
    found = cxm("secret", "set", "pool", "--yes")
    path = config.parent / "secrets.d" / "pool"
    assert found.exit == 0
    assert read_secret(secret_path(config, "pool")) == "päss word"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "systemctl restart cxmd" in found.out
    assert "word" not in found.out + found.err
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_is_replaced_only_by_consent(config: Path, cxm: Cxm, pipe: Pipe) -> None:
    pipe(b"another\n")
    found = cxm("secret", "set", "pool", "-o", "json")
    assert found.exit == 4
    assert found.envelope["errors"][0]["code"] == "SecretExists"
    assert read_secret(secret_path(config, "pool")) == "secret"
    pipe(b"secret\n")
    same = cxm("secret", "set", "pool", "--yes", "-o", "json")
    assert (same.exit, same.envelope["data"]["changed"]) == (0, False)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "EmptySecret"),
        (b"  \n", "EmptySecret"),
        (b"\xff\n", "NotText"),
        (b"x" * 5000, "TooLong"),
        (b"one\ntwo\n", "SeveralLines"),
    ],
)
def test_what_no_daemon_would_take(
    content: bytes, code: str, config: Path, cxm: Cxm, pipe: Pipe
) -> None:
    pipe(content)
    found = cxm("secret", "set", "fresh", "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (1, code)
    assert not (config.parent / "secrets.d" / "fresh").exists()


@pytest.mark.parametrize("name", ["../pool", ".hidden", "a/b", "", "x" * 65])
def test_names_are_those_of_the_schema(name: str, config: Path, cxm: Cxm, pipe: Pipe) -> None:
    pipe(b"secret\n")
    assert cxm("secret", "set", name).exit == 64
    assert [path.name for path in (config.parent / "secrets.d").iterdir()] == ["pool"]


def test_what_others_must_know_is_never_generated(config: Path, cxm: Cxm) -> None:
    found = cxm("secret", "set", "pool", "--generate", "--yes")
    assert found.exit == 4
    assert "NotTheKey" in found.err
    assert read_secret(secret_path(config, "pool")) == "secret"
    assert cxm("secret", "set", "cluster-key", "--generate").exit == 0, "settings may name it later"


def test_a_key_changed_in_one_step_is_warned_about(keyed: Path, cxm: Cxm, pipe: Pipe) -> None:
    pipe(OLD.encode())
    assert "cut off" not in cxm("secret", "set", "cluster-key").err
    pipe(NEW.encode())
    assert "cut off" in cxm("secret", "set", "cluster-key", "--yes").err
    assert keyed.read_text(encoding="utf-8").strip() == NEW
    pipe(OLD.encode())
    assert "cut off" not in cxm("secret", "set", "cluster-key", "--first").err
    pipe(NEW.encode())
    assert "cut off" not in cxm("secret", "set", "cluster-key", "--yes").err, (
        "it was accepted before"
    )


def test_a_generated_key_is_one_for_peers(keyed: Path, cxm: Cxm) -> None:
    found = cxm("secret", "set", "cluster-key", "--generate")
    assert found.exit == 0
    keys = read_keys(keyed)
    assert len(keys) == 1
    assert keys[0].decode() not in found.out + found.err


def test_a_key_is_changed_in_three_rounds(keyed: Path, cxm: Cxm, pipe: Pipe) -> None:
    def kept(content: str, *words: str) -> list[str]:
        pipe(content.encode())
        assert cxm("secret", "set", "cluster-key", *words).exit == 0
        return [key.decode() for key in read_keys(keyed)]

    assert kept(OLD) == [OLD]
    assert kept(NEW, "--add") == [OLD, NEW]
    assert kept(NEW, "--add") == [OLD, NEW]
    assert kept(NEW, "--first") == [NEW, OLD]
    assert kept(f"{OLD}\n{NEW}\n", "--yes") == [OLD, NEW]
    assert kept(f"{NEW}\n", "--yes") == [NEW]


def test_a_key_that_is_short_or_no_key_is_refused(keyed: Path, cxm: Cxm, pipe: Pipe) -> None:
    pipe(b"short\n")
    assert "error[ShortKey]" in cxm("secret", "set", "cluster-key").err
    pipe(NEW.encode())
    found = cxm("secret", "set", "pool", "--add", "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (4, "NotTheKey")
    assert cxm("secret", "set", "cluster-key", "--add", "--first").exit == 64
    assert not keyed.exists()


def test_a_secret_may_come_before_the_settings(tmp_path: Path, cxm: Cxm, pipe: Pipe) -> None:
    config = tmp_path / "etc" / "node.yaml"
    pipe(b"secret\n")
    absent = cxm("secret", "set", "pool", "--config", config, "-o", "json")
    assert (absent.exit, absent.envelope["errors"][0]["code"]) == (1, "NoFolder")
    config.parent.mkdir()
    pipe(b"secret\n")
    assert cxm("secret", "set", "pool", "--config", config).exit == 0
    assert read_secret(secret_path(config, "pool")) == "secret"
    assert not config.exists()
