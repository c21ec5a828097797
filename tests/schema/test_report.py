"""The text that an operator and the hook's committer read."""

from __future__ import annotations

from collections.abc import Callable

from schema.errors import ConfigError
from schema.report import CAP, render
from schema.tree import load

Tree = Callable[[dict[str, str]], dict[str, bytes]]
HEAD = "apiVersion: cxm/v1\nkind: VM\nname: {0}\nmanage: observe\nmatch: {{name: {0}}}\n"


def test_the_form_of_a_report(tree: Tree) -> None:
    files = tree(
        {
            "vms/web1.yaml": HEAD.format("web1") + "state: running\nmemory: 8GB\n",
            "vms/web2.yaml": HEAD.format("web2") + "placment: {only: [xen1]}\n",
        }
    )
    assert render(load(files).errors, files, read=5) == (
        'vms/web1.yaml:7:9: error[V012] memory: "8GB" is not a size\n'
        "    7 | memory: 8GB\n"
        "      |         ^^^ write 8GiB (8589934592 bytes) or 7629MiB\n"
        'vms/web2.yaml:6:1: error[V003] unknown key "placment"; did you mean "placement"?\n'
        "2 errors in 2 of 5 files\n"
    )


def test_a_hook_gets_ascii_and_no_more_than_it_can_carry() -> None:
    errors = [
        ConfigError(path="vms/é.yaml", line=1, column=i, code="V020", message="ü")
        for i in range(50)
    ]
    text = render(errors, {}, read=1, cap=CAP, ascii_only=True)
    assert text.isascii()
    assert text.count("error[V020]") == 20
    assert text.endswith("... and 30 more\n50 errors in 1 of 1 file\n")


def test_what_is_shown_cannot_disturb_a_terminal() -> None:
    files = {"a.yaml": b"a:\tb \x1b[31m \xff\n"}
    bad = ConfigError(
        path="a.yaml", line=1, column=4, code="V014", message="x\x1b\n", hint="h", length=1
    )
    text = render([bad], files, read=1)
    assert text.splitlines()[1:3] == ["    1 | a: b ?[31m \ufffd", "      |    ^ h"]
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4


def test_a_long_line_is_cut_around_the_fault() -> None:
    files = {"a.yaml": b"k: " + b"x" * 5000 + b"Y" + b"z" * 5000}
    bad = ConfigError(path="a.yaml", line=1, column=5004, code="V014", message="m", hint="h")
    source, caret = render([bad], files, read=1).splitlines()[1:3]
    assert len(source) < 120
    assert source[caret.index("^")] == "Y"


def test_a_place_beyond_the_text_still_gets_its_hint() -> None:
    bad = ConfigError(
        path="cluster.yaml", line=1, column=1, code="V027", message="m", hint="add it"
    )
    assert render([bad], {}, read=0).splitlines()[1] == "      add it"


def test_a_secret_is_not_repeated(tree: Tree) -> None:
    device = "apiVersion: cxm/v1\nkind: FenceDevice\nname: a\nagent: manual\npassword: hunter2\n"
    files = tree({"fencing/a.yaml": device})
    text = render(load(files).errors, files, read=4)
    assert "V031" in text
    assert "hunter2" not in text


def test_warnings_are_counted_apart() -> None:
    both = [
        ConfigError(path="a.yaml", line=1, column=1, code=code, message="m")
        for code in ("V801", "V003")
    ]
    assert render(both, {}, read=3).endswith("1 error and 1 warning in 1 of 3 files\n")
    assert render([], {}, read=3) == "no errors in 3 files\n"
