"""From a command to the step that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.core.commands import (
    AwaitEndpoint,
    AwaitJob,
    Command,
    HandOver,
    Record,
    Release,
    RequestServing,
    RunTests,
    StageImages,
    SubmitJob,
    WriteRecords,
    WriteReport,
)
from vlm_runner.steps.job import await_job, submit_job
from vlm_runner.steps.release import hand_over, release
from vlm_runner.steps.serving import await_endpoint, request_serving
from vlm_runner.steps.stage import stage_images, write_all_records
from vlm_runner.steps.test_calls import run_tests
from vlm_runner.steps.write_report import write_report

if TYPE_CHECKING:
    from vlm_runner.core.events import Event
    from vlm_runner.steps.ports import Ports


async def perform(command: Command, ports: Ports) -> Event:  # noqa: C901, PLR0911 - one line a command
    """Do it. Doing it again after a crash comes to the same."""
    match command:
        case Record(event=event):
            return event
        case StageImages(run=run):
            return await stage_images(run, ports)
        case WriteRecords(run=run):
            return await write_all_records(run, ports)
        case SubmitJob():
            return await submit_job(command, ports)
        case AwaitJob():
            return await await_job(command, ports)
        case RequestServing():
            return await request_serving(command, ports)
        case AwaitEndpoint():
            return await await_endpoint(command, ports)
        case RunTests():
            return await run_tests(command, ports)
        case Release():
            return await release(command, ports)
        case HandOver():
            return await hand_over(command, ports)
        case WriteReport(run=run):
            return await write_report(run, ports)
        case _:
            raise TypeError(f"no step does {type(command).__name__}")
