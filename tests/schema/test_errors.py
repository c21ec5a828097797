"""Every code has its page, and the examples on it are true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from schema.errors import TITLES, ConfigError, arranged, needs_upgrade
from schema.tree import load

PAGES = Path(__file__).parents[2] / "docs" / "errors"
EXAMPLE = re.compile(r"`([^`\n]+)`:\n```yaml\n(.*?)```", re.DOTALL)
NEIGHBOURS = {
    f"vms/{name}.yaml": f"apiVersion: cxm/v1\nkind: VM\nname: {name}\nmanage: observe\n"
    f"match: {{name: {match}}}\n"
    for name, match in (("web1", "web1"), ("web2", "other"))
} | {
    "nodes/xen4.yaml": "apiVersion: cxm/v1\nkind: Node\nname: xen4\nroles: [witness]\n"
    "heartbeat: {addresses: [10.1.0.4, 10.2.0.4]}\n"
}


def test_there_is_a_page_for_every_code_and_no_other() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(TITLES)


@pytest.mark.parametrize("code", sorted(TITLES))
def test_the_examples_on_a_page_are_true(
    code: str, tree: Callable[[dict[str, str]], dict[str, bytes]]
) -> None:
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {code}: {TITLES[code]}\n")
    (wrong_path, wrong), (right_path, right) = EXAMPLE.findall(text)
    bad = load(tree({**NEIGHBOURS, wrong_path: wrong}))
    assert code in {error.code for error in (*bad.errors, *bad.warnings)}
    good = load(tree({**NEIGHBOURS, right_path: right}))
    assert (good.errors, good.warnings) == ((), ())


def error(code: str = "V001", line: int = 1) -> ConfigError:
    return ConfigError(path="a.yaml", line=line, column=1, code=code, message="m")


def test_errors_are_arranged_by_place_and_told_once() -> None:
    assert arranged([error(line=9), error(line=2), error(line=9)]) == (error(line=2), error(line=9))


def test_a_newer_tree_is_told_from_a_wrong_one() -> None:
    assert needs_upgrade([error(), error("V902")])
    assert not needs_upgrade([error()])
    assert (error("V801").severity, error("V901").severity) == ("warning", "error")
