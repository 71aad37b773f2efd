"""How often a start opens and lints the dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.lint.test_dataset import NOVA, row, spec_of, write
from vlm_runner.core.run import Phase
from vlm_runner.dataset import open_dataset
from vlm_runner.lint import lint_dataset
from vlm_runner.runner import Runner
from vlm_runner.steps.datasets import KEPT, OpenDatasets
from vlm_runner.testing import Process, TinyDataset, World
from vlm_runner.testing.faults import ProcessAws
from vlm_runner.testing.world import tiny_spec

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.core.run import Run
    from vlm_runner.dataset import Opened
    from vlm_runner.spec import RunSpec


class Counting:
    """Opens a real dataset under any spec, and counts how often."""

    def __init__(self, source: Path, revision: str | None) -> None:
        self.opens, self._source, self._revision = 0, source, revision

    def __call__(self, _: RunSpec, __: str | None) -> Opened:
        self.opens += 1
        return replace(open_dataset(spec_of(self._source).dataset), revision=self._revision)


PROMPT = {"user": "Judge {{ html }}.", "assistant": "{{ output }}"}


async def started(dataset: Counting, catalogue: Path | None = None, **sections: Any) -> Run:
    """What `vlm-runner start` does: prepare, show the plan, create, drive until the images are staged."""
    world, process = World(prompt=PROMPT, **sections), Process()
    async with Runner.open(
        world.settings.model_copy(update={"catalogue": catalogue}),
        clock=process.clock,
        store=world.store,
        connect=lambda _: ProcessAws(process, world.aws),
        open_dataset=dataset,
    ) as runner:
        created = await runner.prepare(world.spec, run_id=world.run_id)
        assert created is not None
        await runner.create((await runner.preview(created)).created)
        handle = await runner.start(world.spec, run_id=world.run_id, until=Phase.STAGING)
        return await handle.result()


@pytest.fixture
def lints(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []

    def counted(*given: Any, **named: Any) -> Any:
        seen.append(given)
        return lint_dataset(*given, **named)

    monkeypatch.setattr("vlm_runner.steps.prepare.lint_dataset", counted)
    return seen


@pytest.mark.parametrize("budget", [{}, {"max_cost": 10_000.0}], ids=["no limit", "with max_cost"])
async def test_a_start_opens_and_lints_a_commit_of_the_hub_once(
    tmp_path: Path, lints: list[object], budget: dict[str, float]
) -> None:
    """
    With max_cost the dataset is linted before the run is prepared; the plan uses that report.
    """
    dataset = Counting(write(tmp_path / "data", [row(number) for number in range(16)]), "0" * 40)

    prices = tmp_path / "prices.toml"
    prices.write_text(f'[models."{NOVA}".prices]\ntraining_per_million_tokens = 2.0\n')

    run = await started(dataset, prices, budget=budget, serving={"mode": "none"})

    assert run.phase is Phase.RECORDING
    assert dataset.opens == 1
    assert len(lints) == 1


async def test_local_files_are_opened_again_before_they_are_staged(
    tmp_path: Path, lints: list[object]
) -> None:
    """
    That is what finds out that they have changed since the plan was shown.
    """
    dataset = Counting(write(tmp_path / "data", [row(number) for number in range(16)]), None)

    run = await started(dataset)

    assert run.phase is Phase.RECORDING
    assert dataset.opens == 2
    assert len(lints) == 1


async def test_local_files_that_changed_after_the_plan_are_not_staged(tmp_path: Path) -> None:
    class Changing(Counting):
        def __call__(self, spec: RunSpec, revision: str | None) -> Opened:
            opened = super().__call__(spec, revision)
            return opened if self.opens == 1 else replace(opened, fingerprint="another")

    run = await started(Changing(write(tmp_path / "data", [row(number) for number in range(16)]), None))

    assert run.outcome == "failed"
    assert run.images is None
    assert "has changed since" in str(run)


async def test_runs_that_are_prepared_and_never_started_do_not_add_up() -> None:
    datasets = OpenDatasets()
    opens: list[str] = []

    async def opened(uid: str) -> None:
        def opening() -> Any:
            opens.append(uid)
            return TinyDataset()(tiny_spec(), None)

        await datasets.opened(uid, opening)

    for uid in map(str, range(KEPT + 1)):
        await opened(uid)
    await opened("1")
    await opened("0")

    assert opens == [*map(str, range(KEPT + 1)), "0"]
