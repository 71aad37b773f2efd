from __future__ import annotations

import ast
import re
from pathlib import Path

import vlm_runner
from vlm_runner.lint import RULES
from vlm_runner.lint.rules import rule

SOURCE = Path(vlm_runner.__file__).parent
CODE = re.compile(r"[A-Z]\d{3}")


def test_every_code_that_is_reported_has_its_rule_and_every_rule_is_reported() -> None:
    texts = (
        node.value
        for file in SOURCE.rglob("*.py")
        if file != SOURCE / "lint" / "rules.py"
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    reported = {text for text in texts if CODE.fullmatch(text)}

    assert reported == RULES.keys()
    assert all(rule(code).code == code for code in reported)


def test_every_rule_has_a_title_a_reason_a_source_and_a_fix() -> None:
    for code in RULES:
        found = rule(code)
        assert all([found.title, found.why, found.source, found.fix]), code
