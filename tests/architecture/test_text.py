"""What the project says of itself: on any machine, at any time, and with pages where it promises them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from jsonschema import Draft202012Validator

from cli.main import COMMANDS
from schema.errors import TITLES
from schema.tree import load
from tests.architecture.sources import ROOMS, ROOT, sources, tracked

OF_ONE_MACHINE = re.compile(r"(?<![\w.:/}])/(?:home/\w+|root|work|Users|mnt/\w+|tmp/\w+/\w+)/")
OF_ONE_NETWORK = re.compile(r"pypi\.org|pythonhosted\.org|deb\.debian\.org|registry\.npmjs\.org")
OF_ITS_MAKING = re.compile(r"\b[Ii]ssue #?\d|\btime box\b|\bTODO\b|\bFIXME\b|\bXXX\b")

TEXT = frozenset({".py", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg", ".service", ""})


def test_nothing_speaks_of_where_or_how_it_was_made() -> None:
    told = [
        f"{path}:{number}: {found.group()}"
        for path in tracked()
        if path.suffix in TEXT and path.name != "LICENSE"
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), start=1)
        for pattern in (OF_ONE_MACHINE, OF_ONE_NETWORK, OF_ITS_MAKING)
        for found in [pattern.search(line)]
        if found and path != Path("tests/architecture/test_text.py")
    ]
    assert told == [], "\n".join(told)


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    pages = {path.stem for path in (ROOT / "docs/errors").glob("V*.md")}
    assert pages == set(TITLES)


def test_the_schemas_are_valid() -> None:
    kinds = sorted((ROOT / "schema/kinds").glob("*.json"))
    assert kinds
    for path in kinds:
        Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(source.path)
        for source in sources(*ROOMS, "bench", "tests")
        if source.tree.body and not ast.get_docstring(source.tree)
    ]
    assert silent == [], "\n".join(silent)


def test_decisions_are_numbered_without_gaps_and_dated() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    numbers = [int(path.name.split("-")[0]) for path in decisions]
    assert numbers == list(range(1, len(numbers) + 1))
    for path in decisions:
        text = path.read_text("utf-8")
        assert re.match(rf"# {path.name[:4]}: .+\n\n\d{{4}}-\d\d-\d\d\. \w+", text), path.name


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{path}: {target}"
        for path in tracked()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / path).read_text("utf-8"))
        if "://" not in target and not (ROOT / path).parent.joinpath(target).exists()
    ]
    assert broken == [], "\n".join(broken)


def test_the_tree_in_the_readme_is_a_good_one() -> None:
    blocks = re.findall(
        r"```yaml\n# (\S+\.yaml)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S
    )
    loaded = load({path: text.encode() for path, text in blocks})
    assert [error.message for error in loaded.errors] == []
    assert loaded.desired is not None
    assert list(loaded.desired.vms) == ["web1"]


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = "\n".join(line for line in readme.splitlines() if line.startswith("| `"))
    assert [name for name in COMMANDS if f"`{name}`" not in table] == []
