"""Single fields changed in the text of a YAML file: all else stays, or nothing is changed at all."""

from __future__ import annotations

import pytest

from cli.envelope import Failure
from cli.splicing import with_fields, with_item, with_uuid

NODE = """\
# rack b, third from above
apiVersion: cxm/v1
kind: Node
name: xen2
host:
  uuid: cbf27734-ac10-4525-8b66-402800e03d2c  # as of March
  address: 10.0.0.2

roles:
- run
heartbeat: {addresses: [10.1.0.2],
  disk: /dev/hb}
labels: {rack: b}
"""


def test_a_list_and_a_long_map_are_replaced_and_the_rest_stays() -> None:
    fresh = with_fields("n.yaml", NODE, {"roles": "[run, peer]", "heartbeat": "{}"})
    assert fresh == NODE.replace("roles:\n- run\n", "roles: [run, peer]\n").replace(
        "heartbeat: {addresses: [10.1.0.2],\n  disk: /dev/hb}\n", "heartbeat: {}\n"
    )


def test_what_is_taken_away_leaves_no_line_and_what_is_new_comes_last() -> None:
    fresh = with_fields("n.yaml", NODE.rstrip("\n"), {"heartbeat": None, "unfenced": "accepted"})
    assert "disk" not in fresh
    assert fresh.endswith("labels: {rack: b}\nunfenced: accepted\n")
    assert with_fields("n.yaml", NODE, {"daemon": None}) == NODE


def test_a_blank_line_before_the_next_key_stays() -> None:
    fresh = with_fields("n.yaml", NODE, {"host": "{uuid: x}"})
    assert "host: {uuid: x}\n\nroles:\n" in fresh


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: cxm/v1, kind: Node, name: x}\n",
        "a: 1\n? roles\n: [run]\n",
        "'roles': [run]\nname: x\n",
    ],
)
def test_a_form_that_cannot_be_spliced_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        with_fields("n.yaml", text, {"roles": "[run, peer]"})
    assert caught.value.finding.verdict in ("error", "invalid")


def test_what_is_no_yaml_is_told_with_its_place() -> None:
    with pytest.raises(Failure) as caught:
        with_fields("n.yaml", "a: [1\n", {"roles": "[run]"})
    assert caught.value.finding.exit == 3
    assert caught.value.finding.errors[0].path == "n.yaml"


def test_a_uuid_is_replaced_where_it_stands_once() -> None:
    old, new = "cbf27734-ac10-4525-8b66-402800e03d2c", "00000000-0000-4000-8000-000000000001"
    assert with_uuid("n.yaml", NODE, old, new) == NODE.replace(old, new)
    with pytest.raises(Failure):
        with_uuid("n.yaml", f"{NODE}description: was {old}\n", old, new)


@pytest.mark.parametrize(
    ("text", "fresh"),
    [
        ("x: {l: [a, 'b' ]}  # why\n", "x: {l: [a, 'b', \"c\" ]}  # why\n"),
        (
            "x:\n  l:\n  - a\n  - b  # last\ny: 1\n",
            'x:\n  l:\n  - a\n  - b  # last\n  - "c"\ny: 1\n',
        ),
        ("x:\n  l:\n    -   a", 'x:\n  l:\n    -   a\n    -   "c"'),
        ("x:\r\n  l:\r\n  - a\r\n", 'x:\r\n  l:\r\n  - a\r\n  - "c"\r\n'),
        (
            "x:\n  l: [\n    a,  # one\n    b,\n  ]\n",
            'x:\n  l: [\n    a,  # one\n    b, "c",\n  ]\n',
        ),
    ],
)
def test_an_item_comes_last_in_the_form_that_the_list_has(text: str, fresh: str) -> None:
    assert with_item("n.yaml", text, ("x", "l"), "c") == fresh


@pytest.mark.parametrize(
    "text", ["x: {}\n", "x: {l: []}\n", "x:\n  l:\n  -\n    a\n", "x: {l: a}\n"]
)
def test_a_list_that_cannot_be_added_to_is_left(text: str) -> None:
    with pytest.raises(Failure) as caught:
        with_item("n.yaml", text, ("x", "l"), "c")
    assert caught.value.finding.errors[0].code == "NotSpliced"
