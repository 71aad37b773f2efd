"""
A run as a person reads it: its state, how it ended, and what to do next.

Light to import: `status` needs no models.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.cli.painting import Span
from vlm_runner.core.names import delete_command
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.text import LONGEST_REASON, short_arns
from vlm_runner.core.timeline import phase_states, spelled
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vlm_runner.cli.painting import Line
    from vlm_runner.cli.run_view import CheckpointView, RunView
    from vlm_runner.core.phases import Phase, Route
    from vlm_runner.core.timeline import PhaseSpan

ENDED = {Outcome.SUCCEEDED: "succeeded", Outcome.FAILED: "FAILED", Outcome.CANCELLED: "was cancelled"}


MARKS: Final = {"done": ("✓", "good"), "now": ("▸", "now"), "next": ("·", "quiet")}
"""Of a phase, by its state: the mark, and what its colour means."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a command of the same shell reaches the same run."""

    flags: Sequence[str] = ()

    def command(self, *words: str) -> str:
        return shlex.join(["vlm-runner", *words, *self.flags])


def status_lines(
    seen: CheckpointView,
    location: str,
    state: str,
    now: datetime,
    *,
    reach: Reach,
    usual: Mapping[Phase, str] | None = None,
    bills: str | None = None,
    cost: str | None = None,
) -> list[Line]:
    """
    What `status` prints.

    `usual` says of a phase how long it takes as a rule, `bills` what bills, `cost` what it has cost where
    more is known of that than the run's own record.
    """
    run = seen.run
    lines: list[Line] = [_headline(seen, state, now)]
    why = run.reason or (seen.halted if run.outcome is None else None)
    if why:
        lines.append([Span("Why: ", "head"), one_line(why, LONGEST_REASON)])
    lines += ["", *phase_lines(seen.spans, now, route=run.route, over=run.outcome, usual=usual or {}), ""]
    lines += [f"  {name:<13}{value}" for name, value in _facts(run, location, now, cost) if value]
    lines += call_lines(run)
    if bills:
        lines += [[Span(line, "money")] for line in ("", *bills.strip("\n").splitlines())]
    return [*lines, "", [Span("Next: ", "head"), next_step(run, state, reach)]]


def _headline(seen: CheckpointView, state: str, now: datetime) -> Line:
    run, since = seen.run, seen.run.updated_at
    if run.outcome is not None:
        took = spelled((since - run.created_at).total_seconds())
        ago = spelled(max(0.0, (now - since).total_seconds()))
        meaning = "good" if run.outcome is Outcome.SUCCEEDED else "bad"
        return [
            "Run ",
            Span(run.run_id, "head"),
            " ",
            Span(ENDED[run.outcome], meaning),
            f" in {took}, {ago} ago.",
        ]
    here = seen.spans[-1] if seen.spans else None
    inside = f"for {spelled(here.seconds(now))}" if here is not None else ""
    if state == "RUNNING":
        return ["Run ", Span(run.run_id, "head"), " is ", Span(state, "now"), f": {run.phase} {inside}."]
    last = seen.saved_at or since
    ago = spelled(max(0.0, (now - last).total_seconds()))
    gone = "its process fell silent" if state == "STALE" else "no process drives it"
    return [
        "Run ",
        Span(run.run_id, "head"),
        " is ",
        Span(state, "bad"),
        f" in {run.phase}: {gone}, {ago} ago.",
    ]


def phase_lines(
    spans: Sequence[PhaseSpan],
    now: datetime,
    *,
    route: Route,
    over: Outcome | None,
    usual: Mapping[Phase, str],
    driven: bool = True,
) -> list[Line]:
    """The phases as a list that fills: done, doing, to come."""
    lines: list[Line] = []
    for one in phase_states(spans, now, route, over=over is not None):
        mark, meaning = MARKS[one.state]
        if one.state == "now" and not driven:
            meaning = "bad"
        rest = f"usually {usual[one.phase]}" if one.phase in usual and one.state != "done" else ""
        time = "" if one.seconds is None else spelled(one.seconds)
        lines.append(["  ", Span(f"{mark} {one.phase:<11}", meaning), f"  {time:<12}{rest}".rstrip()])
    return lines


def _facts(run: RunView, location: str, now: datetime, cost: str | None) -> list[tuple[str, str | None]]:
    age = spelled(max(0.0, (now - run.created_at).total_seconds()))
    return [
        ("base model", run.base_model),
        ("job", short_arns(run.job_arn or "")),
        ("model", short_arns(run.model_arn or "")),
        ("endpoint", short_arns(run.endpoint_arn or "") if run.may_bill else None),
        ("loss", losses(run)),
        ("result", run.verdict),
        ("cost", cost or run.cost),
        ("answers", run.answers_uri),
        ("report", run.report_uri),
        ("account", f"{run.account}, {run.region}"),
        ("created", f"{run.created_at:%Y-%m-%d %H:%M} UTC, {age} ago"),
        ("checkpoint", location),
    ]


def losses(run: RunView) -> str | None:
    named = {"training": run.training_loss, "validation": run.validation_loss}
    return ", ".join(f"{name} {value:.4f}" for name, value in named.items() if value is not None) or None


def next_step(run: RunView, state: str, reach: Reach) -> str:
    """The one command that goes on from here."""
    if run.outcome is None:
        if state == "RUNNING":
            return f"it goes on by itself; follow it with: {reach.command('watch', run.run_id)}"
        return reach.command("resume", run.run_id)
    if run.may_bill:
        return reach.command("release", run.run_id) if run.handed_over else _delete_command(run)
    if run.outcome is Outcome.SUCCEEDED:
        return reach.command("report", run.run_id)
    return f"start again under another id: vlm-runner start SPEC --run-id {run.run_id}-2"


def _delete_command(run: RunView) -> str:
    mode, endpoint = run.serving_mode or "provisioned", run.endpoint_arn or run.endpoint_name or ""
    return delete_command(mode, endpoint, run.region)


def call_lines(run: RunView) -> list[Line]:
    """How to call the model while it is served."""
    if not run.answers_calls or run.endpoint_arn is None:
        return []
    head: list[Line] = ["", [Span("Call the model while it is served:", "head")]]

    def aws(operation: str, *rest: str) -> str:
        which = ["--region", run.region, "--model-id", str(run.endpoint_arn)]
        return f"  {shlex.join(['aws', 'bedrock-runtime', operation, *which, *rest])}"

    if not run.converses:
        return [*head, aws("invoke-model", "--body", "fileb://request.json", "answer.json")]
    python = f"""\
  import boto3
  from pathlib import Path
  runtime = boto3.client("bedrock-runtime", region_name={json.dumps(run.region)})
  image = {{"image": {{"format": "png", "source": {{"bytes": Path("page.png").read_bytes()}}}}}}
  answer = runtime.converse(
      modelId={json.dumps(run.endpoint_arn)},
      messages=[{{"role": "user", "content": [image, {{"text": "What is on this page?"}}]}}],
  )"""
    message = """[{"role": "user", "content": [{"text": "Hello"}]}]"""
    return [*head, aws("converse", "--messages", message), "or in Python:", [Span(python, "code")]]


def end_lines(run: RunView, took: float, *, cost: str, remains: str, reach: Reach) -> list[Line]:
    """The end of a run in five lines: what came out, what it cost, what remains, and the next command."""
    outcome = run.outcome or Outcome.FAILED
    meaning = "good" if outcome is Outcome.SUCCEEDED else "bad"
    head: Line = [
        "Run ",
        Span(run.run_id, "head"),
        " ",
        Span(ENDED[outcome], meaning),
        f" in {spelled(took)}.",
    ]
    if run.reason:
        made: Line = [Span("Why:     ", "head"), one_line(run.reason, LONGEST_REASON)]
    else:
        loss = losses(run)
        parts = [
            run.verdict,
            short_arns(run.model_arn or "no model"),
            f"loss: {loss}" if loss else None,
            _answered(run),
        ]
        made = [Span("Made:    ", "head"), "; ".join(part for part in parts if part)]
    return [
        head,
        made,
        [Span("Cost:    ", "head"), cost],
        [Span("Remains: ", "head"), remains],
        [Span("Next:    ", "head"), next_step(run, "", reach)],
    ]


def _answered(run: RunView) -> str | None:
    return None if run.answers_uri is None else f"answers in {run.answers_uri}"


def already_over(run: RunView, what: str) -> str:
    """What is said where a command finds a run that has ended."""
    ended = ENDED[run.outcome] if run.outcome is not None else "ended"
    text = f"Run {run.run_id} {ended} before, at {run.updated_at:%Y-%m-%d %H:%M} UTC: {what}."
    if run.handed_over and run.may_bill:
        return f"{text} Delete its endpoint with: vlm-runner release {run.run_id}"
    return text
