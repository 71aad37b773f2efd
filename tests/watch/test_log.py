"""The log of a run on a machine: a line a change, and a sign of life in between."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from vlm_runner.testing import FakeBedrock, World
from vlm_runner.watch.log import SUMMARY_SECONDS, LogWatcher, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    yield stream
    structlog.reset_defaults()


async def logged(world: World, log: io.StringIO) -> list[dict[str, Any]]:
    watcher = LogWatcher()
    world.on_entry = watcher.on_entry  # type: ignore[method-assign]
    world.on_signal = watcher.on_signal  # type: ignore[method-assign]
    await world.live()
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_a_long_wait_is_told_of_every_half_minute(log: io.StringIO) -> None:
    lines = await logged(World(bedrock=FakeBedrock(training_takes=3600)), log)
    waits = [line for line in lines if line["event"] == "run.waiting" and line["phase"] == "training"]

    assert 3600 / SUMMARY_SECONDS - 2 <= len(waits) <= 3600 / SUMMARY_SECONDS + 4
    assert waits[-1]["status"] == "InProgress"
    assert [line["seconds"] for line in waits] == [30 * (number + 1) for number in range(len(waits))]


async def test_every_entry_is_a_line_and_a_run_that_is_done_is_silent(log: io.StringIO) -> None:
    lines = await logged(World(), log)
    told = [line["sequence"] for line in lines if line["event"] == "run.advanced"]

    assert told == list(range(1, 14))
    assert lines[-1]["event_kind"] == "report_written"
