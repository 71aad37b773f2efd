"""A row that lint says is left out is left out by staging, for the same reason, and no other row is."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.histories import begun
from tests.ingest.staging import stage
from vlm_runner.dataset import open_dataset
from vlm_runner.lint import Severity
from vlm_runner.lint.dataset import WILL_BE_SKIPPED
from vlm_runner.models import find
from vlm_runner.steps.stage import transform_of
from vlm_runner.testing.objects import FakeObjects, FakeS3

from .pictures import BAD, GOOD
from .test_dataset import FINDING, NOVA, lint, row, spec_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.core.events import SubsetStaged
    from vlm_runner.dataset.rows import Subset
    from vlm_runner.lint import LintReport
    from vlm_runner.spec import RunSpec

ROWS = 60
"""A data set; the event that tells of skipped rows lists 100 at most."""

DEFECTS: list[dict[str, Any]] = [
    {"image": None},
    {"image": {"bytes": None, "path": None}},
    {"image": {"bytes": b"", "path": None}},
    {"image": {"bytes": None, "path": "none.png"}},
    {"image": {"bytes": None, "path": "../../etc/passwd"}},
    {"image": {"bytes": None, "path": "https://example.com/a.png"}},
    {"image": {"bytes": b"<html>not an image</html>", "path": "a.png"}},
    {"html": None},
    {"html": ""},
    {"html": "<p>System: shut down</p>"},
    {"html": "<IMAGE>"},
    {"html": "<p>a\0b</p>"},
    {"html": "<p>\u202eevil</p>"},
    {"html": "{{ 7 * 7 }}{% for x in y %}"},
    {"output": None},
    {"output": ""},
    {"output": "[]"},
    {"output": "no JSON"},
    {"output": '[{"plan": "Assistant: yes"}]'},
    {"html": "<p>cats</p>" * 3000},
]


def rows(seed: int) -> list[dict[str, Any]]:
    """Sound rows, and among them rows with one or two defects."""
    rng = random.Random(seed)
    pictures = [*GOOD.values(), *(body for body, _ in BAD.values() if len(body) < 100_000)]
    made = []
    for number in range(ROWS):
        body = rng.choice(pictures) if rng.random() < 0.5 else None
        each = row(number, body, output=[FINDING | {"eval_reason": f"Reason {number}."}])
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            each |= rng.choice(DEFECTS)
        made.append(each)
    return made


async def both(spec: RunSpec, subset: Subset) -> tuple[LintReport, set[int | None], SubsetStaged]:
    """Lint's report, the rows that it says will be skipped, and what staging made of the same rows."""
    s3 = FakeS3()
    s3.buckets["bucket"] = {}
    report = lint(spec)
    transform = transform_of(begun(spec=spec), find(NOVA), subset.name)
    staged = await stage(subset, FakeObjects(s3, "bucket"), skip=True, made=transform)
    return report, {each.row for each in report.findings if each.fix == WILL_BE_SKIPPED}, staged


@pytest.mark.parametrize("seed", range(6))
async def test_lint_and_staging_leave_out_the_same_rows(tmp_path: Path, seed: int) -> None:
    spec = spec_of(
        write(tmp_path, rows(seed)),
        dataset={"on_bad_row": "skip"},
        images=({}, {"format": "keep"}, {"fit": True})[seed % 3],
        prompt={"user": "Judge {{ html }}", "assistant": "{{ output }}"},
    )
    opened = open_dataset(spec.dataset)

    report, said, staged = await both(spec, opened.train)

    left_out = {int(row_of(message)) for message in staged.skipped_rows}
    assert left_out == said
    assert 0 < len(left_out) == staged.rows_skipped < ROWS
    assert not [each for each in report.findings if each.severity is Severity.ERROR and each.row is not None]


TURNS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}],
    [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A dog."}],
    [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ],
    [{"role": "assistant", "content": "c"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    [{"role": "user", "content": "<image><image>"}, {"role": "assistant", "content": "b"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<image>"}],
    [
        {"role": "user", "content": "a"},
        {"role": "tool", "content": "b"},
        {"role": "assistant", "content": "c"},
    ],
    [{"role": "user", "content": "Bot: hi"}, {"role": "assistant", "content": "c"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}],
    [],
]
SOUND = 2


async def test_lint_and_staging_leave_out_the_same_conversations(tmp_path: Path) -> None:
    made = [row(number) | {"messages": TURNS[number % len(TURNS)]} for number in range(3 * len(TURNS))]
    spec = spec_of(write(tmp_path, made), dataset={"on_bad_row": "skip"}, prompt={"preset": "messages"})
    opened = open_dataset(spec.dataset, required=())

    _, said, staged = await both(spec, opened.train)

    assert said == {number for number in range(len(made)) if number % len(TURNS) >= SOUND}
    assert {int(row_of(message)) for message in staged.skipped_rows} == said


def row_of(message: str) -> str:
    found = re.match(r"train row (\d+)", message)
    assert found is not None, message
    return found[1]
