"""CONTRIBUTING answers where something is: each module is there, and defines what is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "CONTRIBUTING.md").read_text().partition("**Where to look:**")[2].partition("**To add")[0]
ROWS = [
    (question, re.findall(r"`([^`]+)`", modules), re.findall(r"`([^`]+)`", names))
    for question, modules, names in re.findall(r"^\| (.+\?) \| (.+) \| (.+) \|$", TABLE, re.MULTILINE)
]


def test_the_table_is_found() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize(("question", "modules", "names"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_named_is_defined_there(question: str, modules: list[str], names: list[str]) -> None:
    defined = set()
    for module in modules:
        for node in ast.walk(ast.parse((ROOT / "src" / "vlm_runner" / module).read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    defined.add(name)
                case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                    defined.add(name)
                case _:
                    pass

    assert set(names) <= defined, question
