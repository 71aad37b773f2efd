"""REPORTING: what the run came to, beside its data: numbers, page, rows, and small pictures of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner.core.decide import WriteReport
from vlm_runner.core.events import ReportWritten, RunCost
from vlm_runner.core.names import run_folder
from vlm_runner.core.run import Phase
from vlm_runner.errors import AwsRefused, ConfigurationError
from vlm_runner.evaluate import load_metrics
from vlm_runner.report.assemble import RunReport, assemble
from vlm_runner.report.collect import RESULTS, THUMBNAILS, ReportInputs, collect, thumbnail_lines
from vlm_runner.report.render import page
from vlm_runner.steps.registry import performs

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile
    from vlm_runner.steps.ports import Ports


@performs(WriteReport)
async def _write_report(command: WriteReport, ports: Ports) -> ReportWritten:
    return await write_report(command.run, ports)


async def write_report(run: Run, ports: Ports) -> ReportWritten:
    """
    Measure the answers, and put numbers and page into the run's folder.

    A bucket that refuses them (or was never made) does not keep a run from ending: the checkpoint holds
    the same facts, and `vlm-runner report` writes the page again.
    """
    folder = run_folder(run)
    objects = ports.bucket_of(run)
    material = await collect(run, objects)
    for missing in material.missing:
        ports.trouble("writing the report", missing)
    report, html = await to_thread.run_sync(_made, run, material, ports)
    files = {
        RESULTS: (_lines(report), "application/jsonl"),
        THUMBNAILS: (thumbnail_lines(material.thumbnails), "application/jsonl"),
        "report.html": (html.encode(errors="replace"), "text/html; charset=utf-8"),
        "report.json": (_json(report), "application/json"),
    }
    if not report.evaluation.rows:
        del files[RESULTS], files[THUMBNAILS]
    said = report.facts["evaluation"]["verdict"]
    written = ReportWritten(
        scores=report.evaluation.headline(),
        verdict=None if said is None else said["sentence"],
        cost=_cost(report),
    )
    try:
        for name, (body, content_type) in files.items():
            await objects.put(f"{folder}{name}", body, content_type=content_type)
    except AwsRefused as error:
        ports.trouble("writing the report", error)
        return written
    where = f"s3://{run.bucket}/{folder}"
    return written.model_copy(update={"uri": f"{where}report.json", "html_uri": f"{where}report.html"})


def _cost(report: RunReport) -> RunCost:
    money = report.facts["money"]
    return RunCost(
        known=money["known_usd"],
        complete=money["complete"],
        about=money["about"],
        per_month=money["per_month_usd"],
    )


def _made(run: Run, material: ReportInputs, ports: Ports) -> tuple[RunReport, str]:
    # Nothing comes after this phase: what is told here is how the run ended.
    ended = run.model_copy(update={"phase": Phase.DONE})
    metrics, missing = dict(ports.metrics), list(material.missing)
    for path in run.spec.test.metrics:
        try:
            metrics |= load_metrics([path], ports.metric_modules)
        except ConfigurationError as error:
            missing.append(str(error))
    material = replace(material, missing=tuple(missing))
    report = assemble(ended, ports.history, material, _profile(run, ports), ports.clock.now(), metrics)
    return report, page([report])


def _profile(run: Run, ports: Ports) -> ModelProfile | None:
    try:
        return ports.catalogue.find(run.spec.model.base)
    except ConfigurationError:
        return None


def _json(report: RunReport) -> bytes:
    return json.dumps(report.facts, ensure_ascii=False, indent=2, default=str).encode(errors="replace")


def _lines(report: RunReport) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in report.evaluation.rows).encode()
