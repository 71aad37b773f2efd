"""The runs of a sweep, side by side; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.json_output import PlannedRunJson, SweepRowJson
    from vlm_runner.sweep.drive import Result
    from vlm_runner.sweep.plan import Sweep


def values_text(values: Mapping[str, Any]) -> str:
    """As the sweep's file has them: `training.hyperparameters.epochCount = 2, test.rows = 5`."""
    return ", ".join(
        f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in values.items()
    )


def planned_text(sweep: Sweep) -> str:
    """A line for each run that the file describes."""
    wide = max(len(planned.run_id) for planned in sweep.runs)
    return "\n".join(
        f"{planned.run_id:<{wide}}  {values_text(planned.values)}".rstrip() for planned in sweep.runs
    )


def planned_json(sweep: Sweep) -> list[PlannedRunJson]:
    return [
        {"run_id": planned.run_id, "values": planned.values, "group": planned.group} for planned in sweep.runs
    ]


def rows(results: Sequence[Result]) -> list[SweepRowJson]:
    """The best validation loss first, then the best training loss; what has none comes last."""
    made = [_row(result) for result in results]
    return sorted(made, key=lambda row: (_last(row["validation_loss"]), _last(row["training_loss"])))


def table_text(table: Sequence[SweepRowJson]) -> str:
    varied = sorted({key for row in table for key in row["values"]})
    heads = ["RUN", *(key.rpartition(".")[2] for key in varied), "OUTCOME", "TRAIN", "VALIDATION"]
    body = [
        [
            row["run_id"],
            *(str(row["values"].get(key, "")) for key in varied),
            row["outcome"],
            _number(row["training_loss"]),
            _number(row["validation_loss"]),
        ]
        for row in table
    ]
    widths = [max(len(line[column]) for line in [heads, *body]) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [heads, *body]
    )


def _row(result: Result) -> SweepRowJson:
    run = result.run
    model = run.model if run is not None else None
    outcome = run.outcome.value if run is not None and run.outcome is not None else "not finished"
    reason = run.reason if run is not None else None
    return {
        "run_id": result.planned.run_id,
        "values": result.planned.values,
        "outcome": outcome,
        "phase": run.phase.value if run is not None else None,
        "training_loss": model.training_loss if model is not None else None,
        "validation_loss": model.validation_loss if model is not None else None,
        "model_arn": model.model_arn if model is not None else None,
        "answers": run.tests.uri if run is not None and run.tests is not None else None,
        "report": run.report.uri if run is not None and run.report is not None else None,
        "reason": str(result.error) if result.error is not None else reason,
    }


def _last(loss: float | None) -> float:
    return float("inf") if loss is None else loss


def _number(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
