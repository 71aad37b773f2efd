"""A tracker beside a run: what it gets and when, and that its troubles are its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from structlog.testing import capture_logs

from tests.report.runs import history, report
from vlm_runner import runner as front
from vlm_runner.core.transitions import fold
from vlm_runner.errors import ConfigurationError, TrackerFailed
from vlm_runner.settings import TrackingSettings
from vlm_runner.testing import World
from vlm_runner.track import Trackers, open_trackers, trackers

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.report.assemble import RunReport
    from vlm_runner.track import TrackedRun


class Remembering:
    name = "memory"

    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self.logged: list[TrackedRun] = []
        self.closed = False
        self._does = does

    def log_run(self, run: TrackedRun) -> None:
        self._does()
        self.logged.append(run)

    def close(self) -> None:
        self.closed = True


def lose() -> None:
    raise ConnectionError("http://me:hunter2@tracker refused")


async def live_beside(tracker: Remembering, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(front, "open_trackers", lambda _: [tracker])
    world = World()
    await world.live()
    return world


async def test_a_tracker_hears_of_the_run_from_its_beginning_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = Remembering()

    await live_beside(tracker, monkeypatch)

    assert [run.outcome for run in tracker.logged][-1] == "succeeded"
    assert {run.run_id for run in tracker.logged} == {"cats"}
    assert "model_arn" in tracker.logged[-1].tags
    assert tracker.closed


async def test_a_tracker_that_fails_harms_no_run_and_is_named_with_the_command_that_tells_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with capture_logs() as logged:
        world = await live_beside(Remembering(lose), monkeypatch)
    said = [line for line in logged if line["event"] == "tracker.failed"]

    assert (await world.outcome()).run.outcome == "succeeded"
    assert said
    assert "vlm-runner track cats" in said[-1]["hint"]
    assert "hunter2" not in str(said)


def test_a_tracker_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loop of real time: a virtual one waits for threads that are at work."""
    monkeypatch.setattr(trackers, "DRAIN_SECONDS", 0.05)
    answer = threading.Event()
    entries = history(run_id="cats")

    async def report_of(_: str) -> RunReport:
        return report(0)

    async def watched() -> None:
        async with anyio.create_task_group() as group:
            watcher = Trackers([Remembering(answer.wait)], group)
            watcher.report_of = report_of
            watcher.on_entry(fold(entries), entries[-1])
            await watcher.close()
            group.cancel_scope.cancel()

    with capture_logs() as logged:
        anyio.run(watched)
    threads = [thread for thread in threading.enumerate() if thread.name == "vlm-runner memory"]
    answer.set()

    assert [(line["run_id"], line["reason"]) for line in logged] == [("cats", "it did not answer in time")]
    assert [thread.daemon for thread in threads] == [True]


async def test_a_run_that_a_tracker_missed_is_told_of_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world, tracker, broken = World(), Remembering(), Remembering(lose)
    await world.live()

    async with world.runner() as runner:
        with pytest.raises(ConfigurationError, match="VLM_RUNNER_TRACKING__MLFLOW"):
            await runner.track("cats")
        monkeypatch.setattr(front, "open_trackers", lambda _: [broken, tracker])
        with pytest.raises(TrackerFailed, match="memory: ConnectionError"):
            await runner.track("cats")

    assert [run.outcome for run in tracker.logged] == ["succeeded"]


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)

    with pytest.raises(ConfigurationError, match=r"vlm-runner\[mlflow\]"):
        open_trackers(TrackingSettings(mlflow="http://localhost:5000"))
