"""Printing: results to stdout, all else to stderr; what could steer a terminal or is secret is taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vlm_runner.core.text import LONGEST_REASON
from vlm_runner.redact import json_text, one_line, printable, redacted

if TYPE_CHECKING:
    from vlm_runner.cli.run_view import RunView


def say(text: str) -> None:
    """Print a message for the user to stderr."""
    click.echo(printable(redacted(text)), err=True)


def result(text: str) -> None:
    """Print the command's result to stdout."""
    click.echo(printable(redacted(text)))


def result_json(value: Any) -> None:
    """Print it as JSON, with escapes for what could steer a terminal."""
    click.echo(json_text(value, indent=2))


def outcome_text(run: RunView, checkpoint: str) -> str:
    """How a run ended, or its phase, and where its results are."""
    headline = {
        None: f"is in phase {run.phase}",
        "succeeded": "succeeded",
        "failed": "FAILED",
        "cancelled": "was cancelled",
    }[run.outcome.value if run.outcome is not None else None]
    rows: list[tuple[str, str | None]] = [
        ("reason", run.reason and one_line(run.reason, LONGEST_REASON)),
        ("base model", run.base_model),
        ("custom model", run.model_arn),
        ("training loss", _number(run.training_loss)),
        ("validation loss", _number(run.validation_loss)),
        ("answers", run.answers_uri),
        ("report", run.report_uri),
        ("checkpoint", checkpoint),
    ]
    lines = [f"Run {run.run_id} {headline}."]
    lines += [f"  {name:<16}{value}" for name, value in rows if value]
    if (first := run.first_answer) is not None:
        kind = "held-out" if first.held_out else "TRAINING (there were no held-out rows)"
        lines += ["", f"Answer to {kind} row {first.row}:", "", _indented(first.answer)]
    return "\n".join(lines)


def status_text(run: RunView, checkpoint: str, state: str) -> str:
    return f"{outcome_text(run, checkpoint)}\n  {'state':<16}{state}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
