"""REPORTING: what the run came to, beside its data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vlm_runner.core.events import ReportWritten
from vlm_runner.core.names import run_prefix
from vlm_runner.errors import AwsRefused
from vlm_runner.report.summary import summary

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ports import Ports


async def write_report(run: Run, ports: Ports) -> ReportWritten:
    """
    Put the summary into the run's folder.

    A bucket that refuses it (or was never made) does not keep a run from ending: the checkpoint holds
    the same facts.
    """
    key = f"{run_prefix(run.spec.storage.prefix, run.run_id)}report.json"
    body = json.dumps(summary(run), ensure_ascii=False, indent=2).encode(errors="replace")
    try:
        await ports.bucket_of(run).put(key, body, content_type="application/json")
    except AwsRefused as error:
        ports.trouble("writing the report", error)
        return ReportWritten(uri=None)
    return ReportWritten(uri=f"s3://{run.bucket}/{key}")
