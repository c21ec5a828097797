"""What `import` writes is what the reader reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import dialect
from schema.tree import load
from schema.writing import cluster_file, name_to_label, node_file, scalar, vm_file

UUID = "0b7f2b52-5c7f-42f4-8f1b-1f0e7a9d7c31"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORDS = st.sampled_from(["yes", "null", "010", "1e3", "a: b", "a #b", "- a", "tcp:443", "x,y", ""])


@given(TEXT | WORDS)
def test_text_is_read_back_in_block_and_flow(text: str) -> None:
    written = f"a: {scalar(text)}\nb: {{c: {scalar(text)}, d: [{scalar(text)}]}}\n"
    reading = dialect.read("a.yaml", written.encode())
    assert reading.errors == ()
    assert reading.document is not None
    assert reading.document.value == {"a": text, "b": {"c": text, "d": [text]}}


def test_a_plain_word_stays_plain() -> None:
    assert [scalar(text) for text in ("web1", "10.0.0.1", "Debian 12", "tcp:443")] == [
        "web1",
        "10.0.0.1",
        "Debian 12",
        "tcp:443",
    ]


@given(st.sampled_from(["on", "null", "010", "1e5", "web-1", "0x1", "no"]), TEXT)
def test_a_written_tree_is_a_good_tree(name: str, text: str) -> None:
    files = {
        "cluster.yaml": cluster_file("lyon", UUID, more={"description": text}),
        f"vms/{name}.yaml": vm_file(name, UUID),
        "nodes/xen1.yaml": node_file("xen1", UUID, "10.0.0.1"),
    }
    loaded = load({path: content.encode() for path, content in files.items()})
    assert loaded.errors == ()
    assert loaded.desired is not None
    assert loaded.desired.vms[name].match.uuid == UUID


def test_a_vm_has_six_lines() -> None:
    assert vm_file("web1", UUID, depth=2) == (
        "# yaml-language-server: $schema=../../.schema/vm.schema.json\n"
        "apiVersion: cxm/v1\nkind: VM\nname: web1\nmanage: observe\n"
        f"match: {{uuid: {UUID}}}\n"
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("web1", "web1"),
        ("Web Server (old)", "web-server-old"),
        ("Datenbank für Café", "datenbank-fur-cafe"),
        ("--", "vm"),
        ("仮想", "vm"),
        ("a" * 70, "a" * 63),
        ("a" * 62 + "--b", "a" * 62),
    ],
)
def test_names_of_the_pool_become_labels(name: str, label: str) -> None:
    assert name_to_label(name) == label


@given(st.lists(TEXT, max_size=12))
def test_labels_are_labels_and_differ(names: list[str]) -> None:
    labels: list[str] = []
    for name in [*names, *names]:
        labels.append(name_to_label(name, labels))
    assert len(set(labels)) == len(labels)
    for label in labels:
        files = {"cluster.yaml": cluster_file("c", UUID), f"a/{label}.yaml": vm_file(label, UUID)}
        assert load({path: text.encode() for path, text in files.items()}).errors == ()


def test_a_taken_label_gets_a_number_within_the_length() -> None:
    long = "a" * 63
    assert name_to_label("web", {"web", "web-2"}) == "web-3"
    assert name_to_label(long, {long}) == "a" * 61 + "-2"
