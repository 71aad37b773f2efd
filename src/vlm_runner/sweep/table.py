"""The runs of a sweep, side by side; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vlm_runner.dollars import cell
from vlm_runner.sweep.plan import LOSSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.json_output import PlannedRunJson, SweepRowJson
    from vlm_runner.sweep.compare import Standing
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


def rows(found: Sequence[Standing], metric: str) -> list[SweepRowJson]:
    """In the order of the comparison."""
    return [_row(one, metric) for one in found]


def table_text(table: Sequence[SweepRowJson]) -> str:
    varied = sorted({key for row in table for key in row["values"]})
    scored = bool(table) and table[0]["metric"] not in LOSSES
    heads = ["RUN", *(key.rpartition(".")[2] for key in varied), "OUTCOME", "COST", "TRAIN", "VALIDATION"]
    if scored:
        heads += [table[0]["metric"].upper(), "95 %", "ROWS", "VERDICT"]
    body = [
        [
            row["run_id"],
            *(_cell(row["values"].get(key, "")) for key in varied),
            row["outcome"],
            cell(row["cost_usd"], complete=row["cost_complete"], estimated=row["cost_about"]),
            _number(row["training_loss"]),
            _number(row["validation_loss"]),
            *(_score(row) if scored else ()),
        ]
        for row in table
    ]
    widths = [max(len(line[column]) for line in [heads, *body]) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [heads, *body]
    )


def _cell(value: Any) -> str:
    """A template's file by its name."""
    return str(value["file"] if isinstance(value, dict) and value.keys() == {"file"} else value)


def _score(row: SweepRowJson) -> list[str]:
    if row["value"] is None or row["low"] is None or row["high"] is None:
        return ["", "", "", ""]
    noise = {True: "within noise", False: "worse", None: ""}[row["within_noise"]]
    return [
        _number(row["value"]),
        f"{row['low']:.3f} to {row['high']:.3f}",
        str(row["rows"] or ""),
        "best" if row["best"] else noise,
    ]


def _row(one: Standing, metric: str) -> SweepRowJson:
    result, interval, money = one.result, one.interval, one.result.money
    run = result.run
    model = run.model if run is not None else None
    outcome = run.outcome.value if run is not None and run.outcome is not None else "not finished"
    reason = run.reason if run is not None else None
    return {
        "run_id": result.planned.run_id,
        "values": result.planned.values,
        "outcome": "not begun" if result.skipped else outcome,
        "phase": run.phase.value if run is not None else None,
        "training_loss": model.training_loss if model is not None else None,
        "validation_loss": model.validation_loss if model is not None else None,
        "model_arn": model.model_arn if model is not None else None,
        "metric": metric,
        "value": one.value,
        "low": interval.low if interval is not None else None,
        "high": interval.high if interval is not None else None,
        "rows": interval.rows if interval is not None else None,
        "best": one.best,
        "within_noise": one.behind.within_noise if one.behind is not None else None,
        "cost_usd": money["known_usd"] if money is not None else None,
        "cost_complete": money is not None and money["complete"],
        "cost_about": money is not None and money["about"],
        "per_month_usd": money["per_month_usd"] if money is not None else None,
        "answers": run.tests.uri if run is not None and run.tests is not None else None,
        "report": run.report.uri if run is not None and run.report is not None else None,
        "reason": str(result.error) if result.error is not None else reason,
    }


def _number(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
