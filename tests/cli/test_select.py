"""SEL: each form, and what is said where it stands for nothing or for too much."""

from __future__ import annotations

import pytest

from cli.envelope import Failure
from cli.select import selected, whole

OBJECTS = {
    "node/xen1": {"rack": "a"},
    "node/web": {"rack": "b"},
    "vm/web": {"role": "web", "rack": "a"},
    "vm/web1": {"role": "web"},
    "vm/db1": {"role": "db"},
}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", sorted(OBJECTS)),
        ("vm/web1", ["vm/web1"]),
        ("vm/*", ["vm/db1", "vm/web", "vm/web1"]),
        ("vm/w*", ["vm/web", "vm/web1"]),
        ("db1", ["vm/db1"]),
        ("xen1, db1", ["node/xen1", "vm/db1"]),
        ("rack=a", ["node/xen1", "vm/web"]),
        ("role=web,vm/db1", ["vm/db1", "vm/web", "vm/web1"]),
        ("web*", ["node/web", "vm/web", "vm/web1"]),
    ],
)
def test_what_it_stands_for(text: str, names: list[str]) -> None:
    assert list(selected(text, OBJECTS)) == names


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("web", "Ambiguous", "node/web and vm/web"),
        ("vm/wbe1", "NoSuchObject", "did you mean vm/web1?"),
        ("wbe1", "NoSuchObject", "did you mean vm/web1?"),
        ("role=wbe", "NoSuchObject", "there is role=web"),
        ("vm/x*", "NoSuchObject", 'there is no "vm/x*"'),
        (" , ", "NoSuchObject", "write all for all of them"),
        ("db1,zz9", "NoSuchObject", 'there is no "zz9"'),
    ],
)
def test_what_it_does_not_stand_for(text: str, code: str, told: str) -> None:
    with pytest.raises(Failure) as caught:
        selected(text, OBJECTS)
    fault = caught.value.finding.errors[0]
    assert caught.value.finding.exit == 1
    assert fault.code == code
    assert told in f"{fault.message} {fault.hint}"


def test_everything_is_everything_in_any_company() -> None:
    assert whole("all")
    assert whole("vm/web1,all")
    assert not whole("vm/*")
