"""STAGING and RECORDING: the dataset into S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner import preflight
from vlm_runner.core.decide import StageImages, WriteRecords
from vlm_runner.core.events import ImagesStaged, RecordsWritten, SubsetStaged
from vlm_runner.errors import RowError
from vlm_runner.ingest.images import limits_of
from vlm_runner.ingest.pipeline import RecordLine, SubsetStaging, Transform
from vlm_runner.ingest.records import write_records
from vlm_runner.models import record_line
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.steps.dataset_of_run import reopened_dataset
from vlm_runner.steps.places import hold_places, place_of
from vlm_runner.steps.registry import performs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.conversation import Conversation
    from vlm_runner.core.run import Run
    from vlm_runner.dataset.rows import Row, Subset
    from vlm_runner.models import ModelProfile
    from vlm_runner.steps.ports import Ports


@performs(StageImages)
async def _stage_images(command: StageImages, ports: Ports) -> ImagesStaged:
    return await stage_images(command.run, ports)


async def stage_images(run: Run, ports: Ports) -> ImagesStaged:
    """
    Put every image, and the record lines beside them, where the run has claimed; skip what is there.

    Raises:
        DataError: the data is not what it was when the run was created, or a row cannot be used.
        Conflict, ObjectChanged: what was claimed is being deleted, or holds other content by now.
    """
    opened = await reopened_dataset(run, ports)
    await hold_places(run, opened, ports)
    train = await _stage(run, ports, opened.train)
    validation = None
    if opened.validation is not None:
        validation = await _stage(run, ports, opened.validation)
    return ImagesStaged(train=train, validation=validation)


@performs(WriteRecords)
async def _write_all_records(command: WriteRecords, ports: Ports) -> RecordsWritten:
    return await write_all_records(command.run, ports)


async def write_all_records(run: Run, ports: Ports) -> RecordsWritten:
    """
    Assemble the JSONL files from what staging left behind.

    Raises:
        DataError: without the rows that were skipped they hold more or fewer records than the model takes.
        ObjectChanged: images that were uploaded are not there any more, or not as they were.
    """
    objects, profile = ports.bucket_of(run), ports.catalogue.find(run.spec.model.base)
    subset, some_stay = train_subset(run), bool(run.spec.dataset.images_in_place)
    train = await write_records(
        objects, place_of(run, subset, ports), subset, run.dataset.rows, some_stay=some_stay
    )
    validation = None
    if (rows := run.dataset.validation_rows) is not None:
        subset = validation_subset(run)
        validation = await write_records(
            objects, place_of(run, subset, ports), subset, rows, some_stay=some_stay
        )
    records = 0 if validation is None else validation.records
    # Bedrock counts what it trains on too, but says so only after the job has started.
    if run.created.serves is None:
        preflight.refuse(preflight.count_problems(profile, train.records, records))
    return RecordsWritten(
        train_uri=train.uri,
        train_records=train.records,
        validation_uri=None if validation is None else validation.uri,
        validation_records=records,
        validation_in_job=profile.records.validation,
        train_objects=train.objects,
        validation_objects=None if validation is None else validation.objects,
    )


def train_subset(run: Run) -> str:
    return run.spec.dataset.train_name


def validation_subset(run: Run) -> str:
    return run.spec.dataset.validation_name


async def _stage(run: Run, ports: Ports, subset: Subset) -> SubsetStaged:
    return await SubsetStaging(
        subset,
        ports.bucket_of(run),
        transform_of(run, ports.catalogue.find(run.spec.model.base), subset.name),
        place_of(run, subset.name, ports),
        upload=ports.upload,
        share=ports.share,
        bad_rows=run.spec.dataset.bad_rows,
        clock=ports.clock,
        progress=ports.signal,
    ).run()


def transform_of(run: Run, profile: ModelProfile, subset: str) -> Transform:
    """From rows to images and record lines, as the spec and the model ask."""
    prompt = compile_prompt(run.spec.prompt, run.spec.dataset.columns)

    def line(row: Row, uri: str, image_format: str, more: Sequence[tuple[str, str]] = (), /) -> RecordLine:
        rendered = prompt.render(row.fields, images=1 + len(more), subset=subset, row=row.index)
        _check_reserved(rendered.conversation, profile, subset, row.index)
        line = record_line(
            rendered.conversation,
            [(uri, image_format), *more],
            bucket_owner=run.account,
            image_first=profile.image_first,
        )
        return RecordLine(line, rendered.accepted)

    return Transform(
        limits=limits_of(profile),
        keep_format=run.spec.images.format == "keep",
        fit=run.spec.images.fit,
        line=line,
        verified=run.dataset.images_verified,
    )


def _check_reserved(said: Conversation, profile: ModelProfile, subset: str, row: int) -> None:
    """The job fails on a reserved word (lint's T220), hours later; the row is refused before."""
    parts = [("system", said.system or ""), *((turn.role, turn.text) for turn in said.turns)]
    for name, text in parts:
        for word, place in profile.text.reserved_in(text):
            raise RowError(
                subset,
                row,
                name,
                f"holds '{word}' at character {place}, which {profile.name} reserves",
                hint=f'Set strip = ["{word}"] under [prompt], or on_bad_row = "skip" under [dataset].',
                code="T220",
            )
