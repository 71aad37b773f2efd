"""What a spec can do about findings, written into the spec's file; the dataset itself is never changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import tomlkit
from tomlkit.items import Array, InlineTable, Item

from vlm_runner.lint.finding import Severity
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.lint.finding import LintReport
    from vlm_runner.models import ModelProfile


_BARE_LF: Final = re.compile(r"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Fix:
    """One setting of the spec that resolves findings."""

    section: str
    key: str
    value: bool | str | tuple[str, ...]
    """A tuple is added to the list that is there already."""
    effect: str
    """One line: it becomes a comment."""

    def __str__(self) -> str:
        return f"[{self.section}] {self.key} = {tomlkit.item(self.value).as_string()}: {self.effect}"


def fixes(report: LintReport, profile: ModelProfile) -> Iterator[Fix]:
    """The settings that resolve findings of `report`."""
    found = {name: [each for each in report.findings if each.fixes == name] for name in _transforms(report)}
    if "fit" in found:
        longest = profile.images.max_side or profile.inference.max_image_side
        effect = f"images are downscaled to {longest} pixels a side (findings: {len(found['fit'])})"
        yield Fix("images", "fit", value=True, effect=effect)
    if "strip" in found:
        words = tuple(sorted({each.value for each in found["strip"] if each.value}))
        yield Fix("prompt", "strip", words, "removed from the rendered texts")
    if "drop_duplicates" in found:
        effect = f"exact duplicates are left out: {len(found['drop_duplicates'])}"
        yield Fix("dataset", "drop_duplicates", value=True, effect=effect)
    if "skip" in found:
        rows = len({(each.subset, each.row) for each in found["skip"]})
        yield Fix(
            "dataset", "on_bad_row", "skip", f"rows that cannot be used are left out, and listed: {rows}"
        )


def _transforms(report: LintReport) -> set[str]:
    wanted = {finding.fixes for finding in report.findings if finding.fixes}
    return wanted if _few_are_bad(report) else wanted - {"skip"}


def _few_are_bad(report: LintReport) -> bool:
    """Rows are only left out where at most a tenth is bad: a dataset that is half bad needs a person."""
    bad = {(f.subset, f.row) for f in report.findings if f.fixes == "skip" and f.severity is Severity.ERROR}
    rows = sum(census.rows for census in report.census.values())
    return bool(bad) and len(bad) * 10 <= rows


def rewritten(text: str, found: list[Fix]) -> str:
    """The spec's text with each setting written; its comments and its order stay as they are."""
    document = tomlkit.parse(text)
    for fix in found:
        _set(document, fix)
    after = tomlkit.dumps(document)
    if "\r\n" in text and not _BARE_LF.search(text):
        after = _BARE_LF.sub("\r\n", after)
    RunSpec.from_table(tomlkit.parse(after).unwrap())  # a file that cannot be read again is never written
    return after


def _set(document: tomlkit.TOMLDocument, fix: Fix) -> None:
    if fix.section not in document:
        document[fix.section] = section = tomlkit.table()
        # A section that is left out has defaults, which one that is there must name: a prompt its preset.
        section.update(RunSpec.model_fields[fix.section].default.model_dump(exclude_unset=True))
    target: Any = document[fix.section]
    before = target.get(fix.key)
    if isinstance(fix.value, tuple) and isinstance(before, Array):
        # In its place, so that the comments between its words stay.
        known = {str(word).lower() for word in before}
        for word in fix.value:
            if word.lower() not in known:
                before.append(word)
        item: Any = before
    else:
        item = tomlkit.item(list(fix.value) if isinstance(fix.value, tuple) else fix.value)
    if not isinstance(target, InlineTable):  # which has no room for a comment
        said = before.trivia.comment.lstrip("# ") if isinstance(before, Item) else ""
        item.comment("; ".join(filter(None, [said, f"lint --fix: {fix.effect}"])))
    target[fix.key] = item
