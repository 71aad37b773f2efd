"""What a spec can do about findings, written into the spec's file; the source is never touched."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from vlm_runner.errors import ConfigurationError
from vlm_runner.lint.finding import Severity
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.lint.finding import LintReport
    from vlm_runner.models import ModelProfile

_WORD = re.compile(r"^'(.+?)' at character ")


def fixes(report: LintReport, profile: ModelProfile) -> dict[tuple[str, str], tuple[str, str]]:
    """By section and key, the TOML value that mends findings, and what it does."""
    wanted = {finding.fixes for finding in report.findings if finding.fixes}
    if not _mends_all(report):
        wanted.discard("skip")
    count = report.codes
    found: dict[tuple[str, str], tuple[str, str]] = {}
    if "fit" in wanted:
        rows = sum(finding.fixes == "fit" for finding in report.findings)
        longest = profile.images.max_side or profile.inference.max_image_side
        found["images", "fit"] = (
            "true",
            f"images are downscaled to {longest} pixels a side (findings: {rows})",
        )
    if "strip" in wanted:
        words = sorted(
            {
                match[1]
                for finding in report.findings
                if finding.fixes == "strip" and (match := _WORD.match(finding.message))
            }
        )
        listed = ", ".join(_quoted(word) for word in words)
        found["prompt", "strip"] = (f"[{listed}]", f"taken out of the rendered texts: {', '.join(words)}")
    if "drop_duplicates" in wanted:
        found["dataset", "drop_duplicates"] = ("true", f"exact duplicates are left out: {count['D405']}")
    if "skip" in wanted:
        rows = len({(f.subset, f.row) for f in report.findings if f.fixes == "skip"})
        found["dataset", "on_bad_row"] = (
            '"skip"',
            f"rows that cannot be used are left out, and listed: {rows}",
        )
    return found


def _mends_all(report: LintReport) -> bool:
    """Rows are only left out where few are bad: a dataset that is half bad wants a person."""
    bad = {(f.subset, f.row) for f in report.findings if f.fixes == "skip" and f.severity is Severity.ERROR}
    rows = sum(census.rows for census in report.census.values())
    return bool(bad) and len(bad) * 10 <= rows


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def rewritten(text: str, values: dict[tuple[str, str], tuple[str, str]]) -> str:
    """
    The spec's text with each value set, everything else as it was, comments too.

    Raises:
        ConfigurationError: the file is written in a way that this cannot follow.
    """
    table = tomllib.loads(text)
    expected = {**table}
    for (section, key), (value, said) in values.items():
        text = _set(text, section, key, value, said)
        parsed = tomllib.loads(f"x = {value}")["x"]
        expected[section] = {**expected.get(section, {}), key: parsed}
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    if after != expected:
        raise ConfigurationError(
            "The spec is written in a way that --fix cannot follow.",
            hint="Set by hand: " + "; ".join(f"[{s}] {k} = {v[0]}" for (s, k), v in values.items()),
        )
    RunSpec.from_table(after)
    return text


def _set(text: str, section: str, key: str, value: str, said: str) -> str:
    line = f"{key} = {value}  # lint --fix: {said}"
    lines = text.splitlines()
    starts = [at for at, each in enumerate(lines) if re.match(rf"\s*\[{section}\]", each)]
    if not starts:
        return "\n".join([*lines, "", f"[{section}]", line]) + "\n"
    start = starts[0]
    end = next((at for at in range(start + 1, len(lines)) if re.match(r"\s*\[", lines[at])), len(lines))
    for at in range(start + 1, end):
        if re.match(rf"\s*{key}\s*=", lines[at]):
            lines[at] = line
            return "\n".join(lines) + "\n"
    lines.insert(start + 1, line)
    return "\n".join(lines) + "\n"
