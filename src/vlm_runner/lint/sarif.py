"""A report as SARIF 2.1.0 (OASIS), which code hosts and editors show."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vlm_runner.lint.finding import Severity
from vlm_runner.lint.rules import RULES

if TYPE_CHECKING:
    from vlm_runner.lint.finding import Finding, LintReport

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def sarif(report: LintReport, *, version: str, uri: str, lines: bool) -> dict[str, Any]:
    """
    One run with all findings. `uri` is what was looked at: a spec or a JSONL file.

    `lines`: rows are lines of that file, so that a row can be shown there.
    """
    used = sorted({finding.code for finding in report.findings})
    places = {code: place for place, code in enumerate(used)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "vlm-runner",
                        "version": version,
                        "informationUri": _homepage(),
                        "rules": [_rule(code) for code in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places, uri, lines=lines) for finding in report.findings],
                "properties": {"model": report.model, "source": report.source},
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", rule.title)),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.why} Source: {rule.source}."},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
    }


def _result(finding: Finding, places: dict[str, int], uri: str, *, lines: bool) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _relative(uri)}}
    if lines and finding.row is not None:
        physical["region"] = {"startLine": finding.row + 1}
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where, "kind": "member"}]
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.where}: {finding.message}. {finding.fix}".removeprefix(": ")},
        "locations": [location],
        "properties": {"why": finding.why, "fix": finding.fix}
        | ({} if finding.row is None else {"row": finding.row}),
    }


def _relative(uri: str) -> str:
    return uri if "://" in uri else quote(PurePath(uri).as_posix())


def _homepage() -> str:
    """Of the package, as `pyproject.toml` names it."""
    urls: list[str] = metadata("vlm-runner").get_all("Project-URL", [])
    return next(url.removeprefix("Homepage, ") for url in urls if url.startswith("Homepage, "))
