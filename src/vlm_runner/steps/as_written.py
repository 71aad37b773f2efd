"""Before anything is bought by them: the run's objects in S3 are what the run wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.core.run import known
from vlm_runner.ingest.verify import refuse_changed
from vlm_runner.steps.places import place_of
from vlm_runner.steps.questions import read_questions

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ports import Ports
    from vlm_runner.steps.questions import Question


async def refuse_changed_objects(run: Run, ports: Ports) -> None:
    """
    Compare JSONL files and images with what they were; of a run of an earlier version nothing is known.

    Raises:
        ObjectChanged: something else replaced or deleted one.
    """
    dataset, written = run.dataset, known(run.records)
    splits = (
        (run.spec.dataset.train_name, dataset.rows, written.train_objects),
        (run.spec.dataset.validation_name, dataset.validation_rows or 0, written.validation_objects),
    )
    for subset, rows, before in splits:
        if before is not None:
            await refuse_changed(ports.bucket_of(run), place_of(run, subset, ports), rows, before)


async def questions_as_written(run: Run, ports: Ports) -> tuple[list[Question], bool]:
    """
    As `read_questions`, of records and images that are still the run's own.

    Raises:
        ObjectChanged: something else replaced or deleted one.
        DataError: as there.
    """
    if run.spec.test.rows:
        await refuse_changed_objects(run, ports)
    return await read_questions(run, ports.bucket_of(run))
