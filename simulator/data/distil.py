"""Write ``classes.json`` anew from a published description of the API's classes.

Usage: ``CXM_XENAPI_FACTS=FOLDER python simulator/data/distil.py``. Only names, types, qualifiers,
defaults and parameter lists are taken, no sentences; a drift test compares the two where the
variable is set.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IMPLICIT_WITH_ASYNC = frozenset({"create", "destroy"})


def distil(facts: Path) -> dict[str, Any]:
    """The declarations of every class, shaped as ``simulator.datamodel`` reads them."""
    model = json.loads((facts / "xenapi-datamodel.json").read_text("utf-8"))
    errors = json.loads((facts / "xenapi-errors.json").read_text("utf-8"))
    without_async = set(errors["no_async_classes"])
    classes = {entry["name"]: _class(entry, without_async) for entry in model}
    for hidden in errors["hidden_messages"]:
        classes[hidden["class"]]["messages"][hidden["name"]] = _message(hidden, asynchronous=False)
    return {
        "classes": classes,
        "errors": {entry["name"]: len(entry["params"]) for entry in errors["errors"]},
        "message_priorities": {m["name"]: m["priority"] for m in errors["message_types"]},
    }


def _class(entry: dict[str, Any], without_async: set[str]) -> dict[str, Any]:
    asynchronous = entry["name"] not in without_async
    return {
        "fields": {field["name"]: _field(field) for field in entry["fields"]},
        "messages": {
            message["name"]: _message(
                message,
                asynchronous
                and (not message["implicit"] or message["name"] in IMPLICIT_WITH_ASYNC),
            )
            for message in entry["messages"]
        },
        "enums": {enum["name"]: [v["name"] for v in enum["values"]] for enum in entry["enums"]},
    }


def _field(field: dict[str, Any]) -> list[Any]:
    default = [] if "default" not in field else [_default(field["type"], field["default"])]
    return [field["type"], field["qualifier"], *default]


def _default(kind: str, text: str) -> Any:
    if kind.endswith(" ref"):
        return "OpaqueRef:NULL"
    if kind.endswith(" set"):
        return []
    if kind.endswith(" map"):
        return {}
    if kind in ("int", "bool", "float"):
        return json.loads(text + "0" if text.endswith(".") else text)
    return text.strip('"')


def _message(message: dict[str, Any], asynchronous: bool) -> list[Any]:
    params = [[p["name"], p["type"], p.get("required", True)] for p in message["params"]]
    return [message["result"][0] if message["result"] else "void", params, asynchronous]


def _lay_out(value: Any, depth: int = 4) -> str:
    """JSON with one line for each field and message, so that a change shows as one line."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value)
    lines = (f"{json.dumps(key)}: {_lay_out(value[key], depth - 1)}" for key in value)
    return "{\n" + ",\n".join(lines) + "\n}"


def main() -> None:
    """Read the folder that CXM_XENAPI_FACTS names, write ``classes.json`` beside this file."""
    facts = os.environ.get("CXM_XENAPI_FACTS")
    if not facts:
        sys.exit("CXM_XENAPI_FACTS is not set: point it at the folder with xenapi-datamodel.json")
    (HERE / "classes.json").write_text(_lay_out(distil(Path(facts))) + "\n", "utf-8")


if __name__ == "__main__":
    main()
