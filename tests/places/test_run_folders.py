"""Two runs of one id in one bucket share no object of their own; older runs keep their folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.core.names import run_folder
from vlm_runner.core.phases import Phase
from vlm_runner.core.run import known
from vlm_runner.core.transitions import fold
from vlm_runner.testing import World, run_virtual

if TYPE_CHECKING:
    from vlm_runner.core.run import Run


async def _two_people() -> tuple[World, list[Run]]:
    """One spec, one run id, one account; each with a store of their own."""
    first, second = World(), World()
    second.aws, second.bedrock = first.aws, first.bedrock
    return first, [await first.live(), await second.live()]


def test_two_people_who_start_one_spec_share_no_answer_report_or_training_output() -> None:
    world, (first, second) = run_virtual(_two_people)
    stored = world.aws.s3.buckets[first.bucket]

    assert first.run_id == second.run_id
    assert run_folder(first) != run_folder(second)
    for run in (first, second):
        own = {key.removeprefix(run_folder(run)) for key in stored if key.startswith(run_folder(run))}
        assert {"answers.jsonl", "report.json", "report.html"} <= own
        assert known(run.model).model_arn in stored[f"{run_folder(run)}report.json"].decode()
        assert (
            known(run.job_intent)
            .request["outputDataConfig"]["s3Uri"]
            .startswith(f"s3://{run.bucket}/{run_folder(run)}")
        )
    ends = [key for key in stored if key.endswith(("answers.jsonl", "report.json", "report.html"))]
    assert [world.aws.s3.writes[key] for key in ends] == [1] * 6


def test_a_run_that_an_earlier_version_created_ends_in_the_folder_where_it_began() -> None:
    world = World()

    async def live() -> Run:
        await world.live(until=Phase.RECORDING)
        # As an earlier version saved it: without the folder.
        found = await world.store.read(world.run_id)
        assert found is not None
        checkpoint = from_bytes(found.body, where="the store")
        created, *rest = checkpoint.history
        without = created.event.model_copy(update={"folder": None})
        history = (created.model_copy(update={"event": without}), *rest)
        older = checkpoint.model_copy(update={"history": history, "run": fold(history)})
        await world.store.write(world.run_id, to_bytes(older), replacing=found.version)
        return await world.live()

    run = run_virtual(live)

    assert run.outcome == "succeeded"
    assert run_folder(run) == "runs/cats/"
    assert known(run.report).uri == f"s3://{run.bucket}/runs/cats/report.json"
    assert {"runs/cats/answers.jsonl", "runs/cats/report.html"} <= set(world.aws.s3.buckets[run.bucket])
