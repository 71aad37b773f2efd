"""A rented endpoint is paid by the hour: from when it is ready, only its own calls are waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vlm_runner.aws.ports import RuntimeReply
from vlm_runner.core.pace import RENTED_LOOK
from vlm_runner.errors import Throttled
from vlm_runner.evaluate.thumbnail import thumbnail

from .world import lines_of, world_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.testing import World

LATENCY = 4.0
"""Seconds of one call."""

RATE = 10.0
"""Calls a second that the unit takes; a burst of one second, and what comes above is throttled."""


class Unit:
    """A model unit with a rate limit, and a base model without; in the loop's own time."""

    def __init__(self) -> None:
        self._left, self._at = RATE, 0.0
        self.base_asked: list[float] = []
        self.tuned_asked: list[float] = []
        self.base_takes = LATENCY
        self.throttled = 0

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        now = anyio.current_time()
        if not str(request["modelId"]).startswith("arn:"):
            self.base_asked.append(now)
            await anyio.sleep(self.base_takes - LATENCY)
        else:
            self._left, self._at = min(RATE, self._left + (now - self._at) * RATE), now
            if self._left < 1:
                self.throttled += 1
                raise Throttled("Too many requests, please wait before trying again.")
            self._left -= 1
            self.tuned_asked.append(now)
        await anyio.sleep(LATENCY)
        return RuntimeReply(text="Fine.", input_tokens=10, output_tokens=3, stop_reason="end_turn")

    async def invoke(self, model_id: str, body: bytes, read: Any) -> Any:
        raise NotImplementedError


def rented(world: World) -> float:
    """Seconds from when the endpoint was ready to the last answer."""
    at = {entry.event.kind: entry.at for entry in world.told}
    return (at["tests_answered"] - at["endpoint_ready"]).total_seconds()


@pytest.mark.parametrize(("rows", "most"), [(50, 1.15), (1000, 1.15)])
async def test_the_calls_take_little_longer_than_the_unit_needs(rows: int, most: float) -> None:
    world, _ = world_of(rows, lambda _, prompt: prompt, compare_base=False)
    unit: Any = Unit()
    world.aws.runtime = unit

    run = await world.live()

    assert run.outcome == "succeeded"
    assert len(lines_of(world, "answers.jsonl")) == rows
    pure = rows / RATE + LATENCY
    assert rented(world) <= most * pure


async def test_the_base_model_is_asked_while_the_endpoint_warms_up() -> None:
    world, _ = world_of(50, lambda _, prompt: prompt)
    unit: Any = Unit()
    world.aws.runtime = unit
    ready: list[float] = []

    def on_entry(_: Any, entry: Any) -> None:
        world.told.append(entry)
        if entry.event.kind == "endpoint_ready":
            ready.append(anyio.current_time())

    world.on_entry = on_entry  # type: ignore[method-assign, assignment]
    run = await world.live()

    assert run.outcome == "succeeded"
    assert len(unit.base_asked) == 50
    assert max(unit.base_asked) < ready[0]
    assert run.tests is not None
    assert (run.tests.input_tokens, run.tests.base_input_tokens, run.tests.base_output_tokens) == (
        500,
        500,
        150,
    )
    assert all(line["base"]["answer"] == "Fine." for line in lines_of(world, "answers.jsonl"))


async def test_base_calls_under_way_when_the_endpoint_is_ready_are_not_made_again() -> None:
    """They were sent and are billed; the tuned model does not wait for them."""
    world, _ = world_of(50, lambda _, prompt: prompt)
    unit: Any = Unit()
    unit.base_takes = 1.5 * world.bedrock.warming_takes
    world.aws.runtime = unit
    told: dict[str, float] = {}

    def on_entry(_: Any, entry: Any) -> None:
        told[entry.event.kind] = anyio.current_time()

    world.on_entry = on_entry  # type: ignore[method-assign, assignment]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.tests is not None
    assert run.tests.base_error is None
    under_way = [at for at in unit.base_asked if at < told["endpoint_ready"] < at + unit.base_takes]
    assert len(under_way) == 50
    assert len(unit.base_asked) == 50
    assert min(unit.tuned_asked) < told["endpoint_ready"] + 1
    assert all(line["base"]["answer"] == "Fine." for line in lines_of(world, "answers.jsonl"))


async def test_a_run_that_is_cancelled_asks_the_base_model_no_more() -> None:
    world, _ = world_of(50, lambda _, prompt: prompt, concurrency=10)
    unit: Any = Unit()
    unit.base_takes = 2 * world.bedrock.warming_takes
    world.aws.runtime = unit
    ready = anyio.Event()

    def on_entry(_: Any, entry: Any) -> None:
        if entry.event.kind == "endpoint_ready":
            ready.set()

    async def cancel_when_ready() -> None:
        await ready.wait()
        await world.cancel()

    world.on_entry = on_entry  # type: ignore[method-assign, assignment]
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when_ready)
        run = await world.live()

    assert run.outcome == "cancelled"
    assert len(unit.base_asked) == 10


async def test_thumbnails_are_made_once_nothing_is_rented(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = world_of(6, lambda _, prompt: prompt)
    after: list[str] = []

    def made(body: bytes, most_bytes: int) -> bytes | None:
        after.append(world.told[-1].event.kind)
        return thumbnail(body, most_bytes)

    monkeypatch.setattr("vlm_runner.report.collect.thumbnail", made)
    run = await world.live()

    assert run.outcome == "succeeded"
    assert after == ["released"] * 6
    assert [line["row"] for line in lines_of(world, "thumbnails.jsonl")] == [*range(6)]


async def test_a_throughput_is_seen_to_be_ready_within_seconds() -> None:
    """In the time in which throughputs get ready; before it, and for deployments, looks are rarer."""
    world, _ = world_of(1, lambda _, prompt: prompt)
    world.bedrock.warming_takes = 1221

    await world.live()

    at = {entry.event.kind: entry.at for entry in world.told}
    waited = (at["endpoint_ready"] - at["serving_requested"]).total_seconds()
    assert 1221 <= waited <= 1221 + 1.1 * RENTED_LOOK
