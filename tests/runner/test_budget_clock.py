"""`max_cost` is a hard stop, and no harder, whatever the clocks of machines show before and since."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.core.run import Phase
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, World

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

HOUR, MINUTE = 3600.0, 60.0
TRAINING = 30 * MINUTE
INTENT = TRAINING + 30
"""Seconds after the start in which the throughput is asked for, about."""


class Wrong(FakeClock):
    """Shows `seconds` too much (too little, if negative) between two moments, counted from the start."""

    def __init__(self, seconds: float, since: float = 0.0, until: float = float("inf")) -> None:
        super().__init__()
        self._seconds, self._since, self._until = seconds, since, until
        self._began = asyncio.get_running_loop().time()

    def now(self) -> datetime:
        wrong = self._since <= self.elapsed() - self._began < self._until
        return super().now() + timedelta(seconds=self._seconds if wrong else 0)


def priced(catalogue: Path) -> World:
    """A throughput that never comes, at $108.15 an hour: the budget is for two hours of it."""
    catalogue.write_text(
        '[models."amazon.nova-lite-v1:0:300k".prices]\ntraining_per_million_tokens = 1.0\n', encoding="utf-8"
    )
    world = World(
        bedrock=FakeBedrock(training_takes=TRAINING, warming_takes=3 * HOUR),
        serving={"mode": "provisioned"},
        budget={"max_cost": 245.0},
    )
    world.settings = world.settings.model_copy(update={"catalogue": catalogue})
    return world


class Stamped(list[Any]):
    """Entries in the order in which they were told; when the first failure was."""

    failed_at = float("inf")

    def append(self, entry: Any) -> None:
        super().append(entry)
        if entry.event.kind == "run_failed":
            self.failed_at = min(self.failed_at, asyncio.get_running_loop().time())


async def rented(world: World, first: FakeClock, second: FakeClock | None = None) -> tuple[float, float]:
    """
    For how long the run rented until it gave up, and for how long it may; with a `second` clock, the process
    with the first one dies while it rents.
    """
    clock = asyncio.get_running_loop().time
    asked_at = float("inf")

    def choose(call: str) -> Fault | None:
        nonlocal asked_at
        if call == "bedrock.create_endpoint":
            asked_at = min(asked_at, clock())
        return Fault.CRASH_BEFORE if second is not None and clock() > asked_at + 30 * MINUTE else None

    world.told = told = Stamped()
    process = Process(Plan(choose=choose), clock=first)
    if second is not None:
        with pytest.raises(Crash):
            await world.live(process)
        process = Process(clock=second)
    run = await world.live(process)

    assert run.phase is Phase.DONE
    assert run.failure is not None
    assert run.failure.error == "BudgetReached"
    budget = run.created.budget
    assert budget is not None
    assert budget.rent_seconds is not None
    return told.failed_at - asked_at, budget.rent_seconds


@pytest.mark.parametrize(
    ("seconds", "since", "until"),
    [
        (0.0, 0.0, 0.0),
        (3 * HOUR, INTENT - 10 * MINUTE, INTENT + 10 * MINUTE),
        (-3 * HOUR, INTENT - 10 * MINUTE, INTENT + 10 * MINUTE),
        (-3 * HOUR, INTENT - 10 * MINUTE, float("inf")),
        (-3 * HOUR, INTENT + 10 * MINUTE, float("inf")),
    ],
    ids=["right", "ahead at the intent", "behind at the intent", "set back before it", "set back after it"],
)
async def test_a_clock_that_is_set_rents_for_as_long_as_max_cost_allows(
    seconds: float, since: float, until: float, tmp_path: Path
) -> None:
    took, may = await rented(priced(tmp_path / "mine.toml"), Wrong(seconds, since, until))

    assert may - 15 * MINUTE < took < may + 5 * MINUTE


@pytest.mark.parametrize(
    ("first", "second"), [(0.0, -3 * HOUR), (3 * HOUR, 0.0)], ids=["behind", "was ahead"]
)
async def test_another_machine_rents_no_longer(first: float, second: float, tmp_path: Path) -> None:
    took, may = await rented(priced(tmp_path / "mine.toml"), Wrong(first), Wrong(second))

    assert may - 15 * MINUTE < took < may + 5 * MINUTE
