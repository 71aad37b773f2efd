"""
Every row and image against the model's rules, before anything is created. Needs no AWS.

`lint_dataset` looks at what a spec names, `lint_jsonl` at records that exist already.
"""

from __future__ import annotations

from vlm_runner.lint.dataset import lint_dataset
from vlm_runner.lint.finding import Finding, LintReport, Severity
from vlm_runner.lint.jsonl import lint_jsonl
from vlm_runner.lint.rules import RULES, Rule

__all__ = ["RULES", "Finding", "LintReport", "Rule", "Severity", "lint_dataset", "lint_jsonl"]
