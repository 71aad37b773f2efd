"""Driving a sweep in a virtual world: what is uploaded, begun and left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.sweep.drive import SweepDriver
from vlm_runner.sweep.plan import Sweep, SweepSpec, plan
from vlm_runner.testing import TinyDataset, World, run_virtual

if TYPE_CHECKING:
    from vlm_runner.spec import RunSpec
    from vlm_runner.sweep.compare import Result

EPOCHS = "training.hyperparameters.epochCount"
PROMPTS = ["Judge {{ page }}.", "What is wrong with {{ page }}?"]


def opened(spec: RunSpec, revision: str | None) -> Any:
    rows = spec.dataset.max_rows or 20
    return TinyDataset(rows=rows, fingerprint=f"first {rows}")(spec, revision)


def swept(**sweep: Any) -> tuple[World, list[Result]]:
    """Everything that a sweep does, from its file to its results in the file's order."""

    async def drive() -> tuple[World, list[Result]]:
        world = World()
        world.dataset = opened  # type: ignore[assignment]
        world.bedrock.model_units = 10
        base = world.spec.model_dump(mode="json", exclude_defaults=True)
        spec = SweepSpec(**sweep)
        async with world.runner() as runner:
            driver = SweepDriver(Sweep(spec, plan(spec, base)), runner)
            results = await driver.drive(await driver.prepare(), lambda _: None)
        return world, results

    return run_virtual(drive)


def test_prompts_and_numbers_of_rows_upload_each_image_once() -> None:
    world, results = swept(grid={"prompt.user": PROMPTS, "dataset.max_rows": [12, 14]})

    assert [result.succeeded for result in results] == [True] * 4
    assert {result.run.created.sweep for result in results if result.run} == {"sweep"}
    images = {key: count for key, count in world.aws.s3.writes.items() if key.startswith("images/")}
    assert images == {f"images/train/{row:03d}.png": 1 for row in range(14)}
    uris = {result.run.records.train_uri for result in results if result.run and result.run.records}
    assert len(uris) == 4


def test_the_scores_of_the_answers_come_with_the_results() -> None:
    _, results = swept(grid={EPOCHS: [1, 2]}, metric="similarity")

    assert [set(result.scores) for result in results] == [{0}, {0}]
    assert all(0 <= table["similarity"] <= 1 for result in results for table in result.scores.values())


def test_a_sweep_ends_once_so_many_runs_were_no_better_and_leaves_nothing_of_the_rest() -> None:
    world, results = swept(grid={EPOCHS: [1, 2, 3, 4, 5]}, stop_after=2, jobs=1)

    assert [result.skipped for result in results] == [False] * 3 + [True] * 2
    assert world.bedrock.jobs_created == 3
    begun = {result.planned.run_id for result in results if not result.skipped}
    stored = run_virtual(lambda: _ids(world))
    assert set(stored) == begun


async def _ids(world: World) -> list[str]:
    return await world.store.run_ids()
