"""A run as trackers get it: all that is known each time, so that a later log makes up for a lost one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vlm_runner.redact import printable, redacted, redacted_value
from vlm_runner.report.render import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from vlm_runner.report.assemble import RunReport

LONGEST_VALUE: Final = 500
"""Characters of a parameter: MLflow takes 6,000, and W&B shows a column of them."""
LONGEST_ANSWER: Final = 4000
MOST_ANSWERS: Final = 200
"""Rows in a table of answers; the report has them all."""
PLAIN_NAME: Final = re.compile(r"[^\w\-. /]", re.ASCII)
"""What MLflow does not take in a name."""


class Answer(NamedTuple):
    """One row of the table of answers; its fields are the columns."""

    row: int
    prompt: str
    reference: str
    tuned: str
    base: str
    similarity: float | None
    """Of the tuned model's answer to the reference."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    uid: str
    """By which a tracker finds the run again."""
    run_id: str
    group: str | None
    """The name of the sweep that the run belongs to."""
    outcome: str | None
    """None: it is not done."""
    began: datetime
    updated: datetime
    params: Mapping[str, str]
    tags: Mapping[str, str]
    scores: Mapping[str, float]
    training: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    answers: tuple[Answer, ...]
    thumbnails: Mapping[int, str]
    """WebP in base64, by row: the first image of each."""
    note: str
    """A few lines of Markdown for people."""
    report: RunReport


def tracked_run(report: RunReport) -> TrackedRun:
    """Secrets, and addresses of webhooks, are left out as in the report."""
    run, facts = report.run, report.facts
    tags = {
        "run_id": run.run_id,
        "phase": run.phase.value,
        "outcome": run.outcome.value if run.outcome is not None else "",
        "reason": run.reason or "",
        "base_model": run.spec.model.base,
        "model_arn": facts["model_arn"] or "",
        "job_arn": facts["job_arn"] or "",
        "report_uri": facts["report_uri"] or "",
    }
    return TrackedRun(
        uid=re.sub(r"\W", "", run.uid),
        run_id=run.run_id,
        group=run.created.sweep,
        outcome=run.outcome.value if run.outcome is not None else None,
        began=run.created_at,
        updated=run.updated_at,
        params=dict(_params(report)),
        tags={name: _clean(text, LONGEST_VALUE) for name, text in tags.items() if text},
        scores=dict(_scores(report)),
        training=_points(report.material.output.training.points),
        validation=_points(report.material.output.validation.points),
        answers=tuple(_answers(report)),
        thumbnails={row: webps[0] for row, webps in report.material.thumbnails.items() if webps},
        note=_clean(_note(report), LONGEST_ANSWER),
        report=report,
    )


def _params(report: RunReport) -> Iterator[tuple[str, str]]:
    run = report.run
    spec = redacted_value(report.facts["spec"])
    yield "dataset.fingerprint", run.dataset.fingerprint
    yield "dataset.rows", str(run.dataset.rows)
    yield "dataset.validation_rows", str(run.dataset.validation_rows or 0)
    yield "spec_fingerprint", run.created.spec_fingerprint
    yield "vlm_runner", run.created.version
    for name, value in _flat({name: section for name, section in spec.items() if name != "events"}):
        yield _name(name), _clean(value, LONGEST_VALUE)


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        path = f"{before}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, str):
            yield path, value
        elif value is not None and value != []:
            yield path, json.dumps(value)


def _scores(report: RunReport) -> Iterator[tuple[str, float]]:
    facts = report.facts
    for who, table in facts["evaluation"]["models"].items():
        for name, value in table["scores"].items():
            yield _name(f"{who}/{name}"), value
        yield f"{who}/input_tokens", float(table["input_tokens"])
        yield f"{who}/output_tokens", float(table["output_tokens"])
    verdict = facts["evaluation"]["verdict"]
    if verdict is not None and verdict["change"] is not None:
        for end in ("value", "low", "high"):
            yield _name(f"change/{verdict['metric']}.{end}"), float(verdict["change"][end])
    finals = {"training": facts["training_loss"], "validation": facts["validation_loss"]}
    yield from ((f"final_loss/{name}", loss) for name, loss in finals.items() if loss is not None)
    if facts["money"]["lines"]:
        yield "cost/known_usd", facts["money"]["known_usd"]


def _answers(report: RunReport) -> Iterator[Answer]:
    scores = {table["row"]: table.get("tuned") or {} for table in report.evaluation.rows}
    for row in report.material.rows[:MOST_ANSWERS]:
        tuned, base = (
            "" if reply is None else reply.answer or f"No answer: {reply.error}"
            for reply in (row.tuned, row.base)
        )
        prompt, reference = row.prompt, row.reference
        cut = [_clean(text, LONGEST_ANSWER) for text in (prompt, reference, tuned, base)]
        yield Answer(row.row, cut[0], cut[1], cut[2], cut[3], scores.get(row.row, {}).get("similarity"))


def _note(report: RunReport) -> str:
    run, verdict = report.run, report.facts["evaluation"]["verdict"]
    lines = [f"vlm-runner run `{run.run_id}`, {run.spec.model.base}, {run.region}."]
    if run.reason:
        lines.append(f"**Why it failed.** {run.reason}")
    if verdict is not None:
        lines.append(f"**{VERDICTS[verdict['kind']]}.** {verdict['sentence']}.")
    if run.done and run.model is not None:
        lines.append(f"Serve it with `vlm-runner serve {run.run_id}`.")
    return "\n\n".join(lines)


def _points(points: tuple[tuple[float, float], ...]) -> tuple[tuple[int, float], ...]:
    return tuple((int(step), loss) for step, loss in points)


def _name(text: str) -> str:
    return PLAIN_NAME.sub("_", text)[:250]


def _clean(text: str, most: int) -> str:
    shown = printable(redacted(text))
    return shown if len(shown) <= most else f"{shown[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
