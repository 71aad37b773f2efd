"""A run, its history and what S3 holds of it, as one report: plain facts, and no words of HTML; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.core.names import aws_command, run_folder
from vlm_runner.core.timeline import phase_spans
from vlm_runner.evaluate import Evaluation, Interval, Metric, Verdict, evaluate, verdict
from vlm_runner.report.money import money
from vlm_runner.report.summary import may_bill, summary
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import IntervalJson, PhaseJson, RemainsJson, ReportJson, VerdictJson
    from vlm_runner.models import ModelProfile
    from vlm_runner.report.collect import ReportInputs


@dataclass(frozen=True, slots=True)
class RunReport:
    run: Run
    history: tuple[Entry, ...]
    material: ReportInputs
    evaluation: Evaluation
    facts: ReportJson
    """What `report.json` holds."""
    trains_on: bool = False
    """Whether AWS takes its model as the base of another run."""
    remote: str = ""
    """Bedrock's own words about a job that trains; for the live page."""


def assemble(  # noqa: PLR0917 - a report has so many sides
    run: Run,
    history: Sequence[Entry],
    material: ReportInputs,
    profile: ModelProfile | None,
    now: datetime,
    metrics: Mapping[str, Metric] | None = None,
) -> RunReport:
    """
    Measures all answers, which takes CPU time: call it in a worker thread.

    Loads no metric of the spec's: who only looks has their stored scores in `material`, and runs no code.
    """
    missing = list(material.missing)
    missing += _unscored(run, material, metrics or {})
    costs = {"base": _cost(profile.call_cost if profile is not None else None)}
    if run.spec.serving.mode is ServingMode.ON_DEMAND:
        costs["tuned"] = _cost(profile.custom_call_cost if profile is not None else None)
    evaluation = evaluate(material.rows, metrics, costs, material.scores)
    missing += evaluation.troubles
    if run.tests is not None and run.tests.base_error is not None:
        missing.append(run.tests.base_error)
    facts: ReportJson = {
        **summary(run, history),
        "money": money(run, history, profile, now, evaluation.models),
        "phases": phases(run, history, now),
        "evaluation": {
            "held_out": run.tests.held_out if run.tests is not None else None,
            "verdict": verdict_json(verdict(evaluation)),
            "models": evaluation.models,
        },
        "losses": {
            "training": [list(point) for point in material.output.training.points],
            "validation": [list(point) for point in material.output.validation.points],
        },
        "judged_records": [
            {
                "file": one.name,
                "records": one.records,
                "accepted": one.accepted,
                "partly_accepted": one.partly_accepted,
                "rejected": one.rejected,
            }
            for one in material.output.judged
        ],
        "remains": remains(run, profile),
        "missing": missing,
        "version": run.created.version,
    }
    trains_on = profile is not None and profile.lineage is not None
    return RunReport(run, tuple(history), material, evaluation, facts, trains_on)


def _unscored(run: Run, material: ReportInputs, metrics: Mapping[str, Metric]) -> list[str]:
    own = [path for path in run.spec.test.metrics if path not in metrics]
    if not own or not material.rows or material.scores:
        return []
    return [f"Not measured yet, since a report runs no code of a spec's metrics: {', '.join(own)}."]


def _cost(of: Callable[[int, int], Decimal | None] | None) -> Callable[[int, int], float | None]:
    def cost(tokens_in: int, tokens_out: int) -> float | None:
        found = None if of is None else of(tokens_in, tokens_out)
        return None if found is None else float(found)

    return cost


def verdict_json(found: Verdict | None) -> VerdictJson | None:
    if found is None:
        return None
    return {
        "metric": found.metric,
        "kind": found.kind,
        "tuned": _interval(found.tuned),
        "base": None if found.base is None else _interval(found.base),
        "change": None if found.change is None else _interval(found.change),
        "sentence": found.sentence,
    }


def _interval(found: Interval) -> IntervalJson:
    return {
        "value": round(found.value, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "rows": found.rows,
    }


def phases(run: Run, history: Sequence[Entry], now: datetime) -> list[PhaseJson]:
    """Each phase that the run was in, from when to when, in seconds."""
    return [
        {
            "phase": span.phase.value,
            "since": span.since.isoformat(),
            "until": (span.until or now).isoformat(),
            "seconds": round(span.seconds(now), 3),
            "open": span.until is None,
        }
        for span in phase_spans(((entry.event.kind, entry.at) for entry in history), run.route)
    ]


def remains(run: Run, profile: ModelProfile | None) -> list[RemainsJson]:
    """What is left of the run, and the command that continues, uses or deletes it."""
    found: list[RemainsJson] = []
    region = run.region
    if not run.done:
        found.append(
            {
                "what": f"The run is not done: it is in phase {run.phase}",
                "why": "Resume it from any machine that can reach the checkpoint",
                "command": f"vlm-runner resume {run.run_id}",
            }
        )
    found += [
        {
            "what": f"{str(item['kind']).capitalize()} {item['name']}",
            "why": "It bills until it is deleted",
            "command": str(item["delete_command"]),
        }
        for item in may_bill(run)
    ]
    if run.own_model is not None:
        arn = run.own_model.model_arn
        price = profile.storage_price() if profile is not None else None
        cost = f"${price} a month" if price is not None else "by the month, the price is not in the catalogue"
        found.append(
            {
                "what": "The custom model",
                "why": f"Bedrock stores it: {cost}. Delete it when it is no longer needed",
                "command": aws_command(
                    "bedrock", "delete-custom-model", "--model-identifier", arn, "--region", region
                ),
            }
        )
    if run.model is not None:
        found.append(_serve(run, profile))
    if run.records is not None:
        folder = f"s3://{run.bucket}/{run_folder(run)}"
        found.append(
            {
                "what": "Answers, losses and this report in S3",
                "why": "A few files; the images and records beside them serve later runs on the same data",
                "command": aws_command("s3", "rm", "--recursive", folder, "--region", region),
            }
        )
    return found


def _serve(run: Run, profile: ModelProfile | None) -> RemainsJson:
    on_demand = profile is not None and profile.serving.on_demand
    return {
        "what": "Serving the model again",
        "why": "A deployment costs nothing while it is not called"
        if on_demand
        else "A provisioned throughput bills by the hour until it is deleted",
        "command": shlex.join(["vlm-runner", "serve", run.run_id]),
    }
