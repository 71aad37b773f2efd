"""Python and TOML on the pages name what there is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from tests.docs.typed import FENCE, ROOT

from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import BaseModel

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


def snippets(language: str) -> list[Any]:
    return [
        pytest.param(fence["body"], id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, fence in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")))
        if fence["language"] == language
    ]


@pytest.mark.parametrize("text", snippets("python"))
def test_python_imports_what_there_is(text: str) -> None:
    tree = compile(text, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    asked = [
        (node.module or "", name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vlm_runner")
        for name in node.names
    ]

    assert [each for each in asked if not there_is(*each)] == []


def there_is(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    return hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("text", snippets("toml"))
def test_toml_of_a_spec_has_keys_that_there_are(text: str) -> None:
    table = tomllib.loads(text)
    of_a_spec = set(table) <= set(RunSpec.model_fields)  # else of another file

    assert not of_a_spec or list(unknown(table, RunSpec)) == []


def unknown(table: dict[str, Any], kind: type[BaseModel], where: str = "") -> Iterator[str]:
    for name, value in table.items():
        field = kind.model_fields.get(name)
        if field is None:
            yield f"{where}{name}"
        elif isinstance(value, dict):
            inner = re.search(r"vlm_runner\.spec\.(\w+)", str(field.annotation))
            if inner is not None:
                yield from unknown(
                    value, getattr(importlib.import_module("vlm_runner.spec"), inner[1]), f"{name}."
                )


@pytest.mark.parametrize("page", [page for page in PAGES if "[[[cog" in page.read_text(encoding="utf-8")])
def test_what_makes_a_part_of_a_page_is_not_a_part_of_it(page: Path) -> None:
    """
    A comment of HTML ends at its first arrow, wherever that stands: what follows would be shown.
    """
    makers = page.read_text(encoding="utf-8").split("<!-- [[[cog")[1:]

    assert [maker for maker in makers if maker.index("-->") < maker.index("]]]")] == []
