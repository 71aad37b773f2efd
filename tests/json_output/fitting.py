"""Whether what a command printed is what its published schema says, no key missing and none unknown."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
GROUPS = ("sagemaker", "sandbox")


def output_of(words: Sequence[str]) -> str | None:
    """The name of the schema for a command line; None: it prints no JSON."""
    name = f"{words[0]}-{words[1]}" if words[0] in GROUPS else words[0]
    if name in {"events", "iam"}:
        return None if "--help" in words else name
    if "--json" not in words:
        return None
    if name == "sweep" and "--dry-run" in words:
        return "sweep-dry-run"
    detached = name == "start" and not {"-d", "--detach"}.isdisjoint(words)
    return "start-detach" if detached else name


def problems(name: str, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(value)]


def assert_fits(words: Sequence[str], stdout: str) -> None:
    """What a command line printed fits its schema; a command that failed before it printed fits as well."""
    name = output_of(words)
    if name is None or not stdout.strip():
        return
    for text in stdout.splitlines() if name == "events" else [stdout]:
        found = problems(name, json.loads(text))
        assert not found, found


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    for table in [schema, *schema.get("$defs", {}).values()]:
        # The published schema lets later versions add keys. Here an unknown key is one that no type names.
        if "properties" in table:
            table["additionalProperties"] = False
    return Draft202012Validator(schema)
