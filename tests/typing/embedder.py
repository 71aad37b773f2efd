"""
A program that embeds vlm-runner, as a user would write it: checked by mypy and by pyright, both strict.

`test_front.py` runs it, so what it says about types is also what happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_type

from vlm_runner import (
    AwsRefused,
    CheckpointStore,
    ConfigurationError,
    DataError,
    Entry,
    Event,
    Metric,
    Outcome,
    Phase,
    Run,
    RunExists,
    RunHandle,
    Runner,
    RunNotFound,
    RunSpec,
    RunTaken,
    Settings,
    Signal,
    Stopped,
    VlmRunnerError,
    Watcher,
)
from vlm_runner.events import JobCompleted, ReportWritten, RunFailed, StagingProgress, TestsAnswered
from vlm_runner.json_output import MoneyJson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vlm_runner.json_output import ReportJson, RunJson
    from vlm_runner.ports import Aws, Clock, Opened


def length_ratio(reference: str, answer: str) -> float:
    return min(1.0, len(answer) / max(1, len(reference)))


def two_numbers(reference: str, answer: str) -> Mapping[str, float]:
    return {"shorter": float(len(answer) < len(reference)), "empty": float(not answer)}


METRICS: Mapping[str, Metric] = {"length": length_ratio, "two": two_numbers}


class Loss:
    """A watcher needs no base class."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.staged = 0

    def on_entry(self, run: Run, entry: Entry) -> None:
        assert_type(run.phase, Phase)
        match entry.event:
            case JobCompleted(training_loss=loss):
                assert_type(loss, float | None)
                self.value = loss
            case _:
                pass

    def on_signal(self, run_id: str, signal: Signal) -> None:
        if isinstance(signal, StagingProgress):
            self.staged = signal.rows_done


def sentence(event: Event) -> str | None:
    match event:
        case TestsAnswered(asked=asked):
            assert_type(asked, int)
            return f"{asked} rows answered"
        case RunFailed(reason=reason):
            assert_type(reason, str)
            return reason
        case ReportWritten(uri=uri):
            return uri
        case _:
            return None


async def fine_tune(
    spec: RunSpec,
    settings: Settings,
    *,
    store: CheckpointStore,
    clock: Clock,
    connect: Callable[[str], Aws],
    open_dataset: Callable[[RunSpec, str | None], Opened],
) -> tuple[Run, list[str], Loss]:
    loss = Loss()
    watcher: Watcher = loss
    told: list[str] = []
    async with Runner.open(
        settings,
        store=store,
        clock=clock,
        connect=connect,
        open_dataset=open_dataset,
        watchers=[watcher],
        metrics=METRICS,
    ) as runner:
        assert_type(runner, Runner)
        handle = await runner.start(spec, run_id="typed", until=Phase.DONE)
        assert_type(handle, RunHandle)
        async for entry in handle.events(after=0):
            assert_type(entry, Entry)
            told.extend(filter(None, [sentence(entry.event)]))
        run = await handle.result()
        assert_type(run, Run)
        assert_type(run.outcome, Outcome | None)
        assert_type(await runner.get("typed"), Run)
    return run, told, loss


def exit_code(error: VlmRunnerError) -> int:
    match error:
        case RunNotFound() | RunExists() | ConfigurationError() | DataError():
            return 2
        case Stopped() | RunTaken():
            return 75
        case AwsRefused(code=code):
            assert_type(code, str | None)
            return 5
        case _:
            return 1


def spent(report: ReportJson) -> float:
    """`report.json`, as `json.load` gives it."""
    money = report["money"]
    assert_type(money, MoneyJson)
    assert_type(report["phase"], str)
    assert_type(report["evaluation"]["held_out"], bool | None)
    return money["known_usd"]


def bills(run: RunJson) -> list[str]:
    return [item["delete_command"] for item in run["may_bill"]]


MODE: Literal["on_demand"] = "on_demand"
SETTINGS = Settings(checkpoint_uri="/tmp/checkpoints", region="us-east-1")
