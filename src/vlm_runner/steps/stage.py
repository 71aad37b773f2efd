"""STAGING and RECORDING: the dataset into S3."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner import preflight
from vlm_runner.core.decide import StageImages, WriteRecords
from vlm_runner.core.events import ImagesStaged, RecordsWritten, SubsetStaged
from vlm_runner.core.text import json_object
from vlm_runner.errors import DataError, NotFound, RowError
from vlm_runner.ingest.images import limits_of
from vlm_runner.ingest.pipeline import BadRows, SubsetStaging, Transform
from vlm_runner.ingest.records import write_records
from vlm_runner.models import record_line
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.steps.registry import performs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.aws.ports import Objects, StoredObject
    from vlm_runner.core.conversation import Conversation
    from vlm_runner.core.run import Run
    from vlm_runner.dataset.rows import Opened, Row, Subset
    from vlm_runner.models import ModelProfile
    from vlm_runner.preflight import Problem
    from vlm_runner.prompts.templates import Prompt
    from vlm_runner.steps.ports import Ports


@performs(StageImages)
async def _stage_images(command: StageImages, ports: Ports) -> ImagesStaged:
    return await stage_images(command.run, ports)


async def stage_images(run: Run, ports: Ports) -> ImagesStaged:
    """
    Put every image, and the record lines beside them, into the run's bucket; skip what is there.

    Raises:
        DataError: the data is not what it was when the run was created, or a row cannot be used.
        ConfigurationError: another dataset or prompt occupies the same keys.
    """
    await ports.aws.account.ensure_bucket(run.bucket, account=run.account, region=run.region)
    opened = await reopen(run, ports)
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
    """
    objects, profile = ports.bucket_of(run), ports.catalogue.find(run.spec.model.base)
    train_uri, train_records = await _write(run, ports, objects, train_subset(run), run.dataset.rows)
    uri, records = None, 0
    if run.dataset.validation_rows is not None:
        uri, records = await _write(run, ports, objects, validation_subset(run), run.dataset.validation_rows)
    # Bedrock counts them too, but says so only after the job has started.
    preflight.refuse(preflight.count_problems(profile, train_records, records))
    return RecordsWritten(
        train_uri=train_uri,
        train_records=train_records,
        validation_uri=uri,
        validation_records=records,
        validation_in_job=profile.records.validation,
    )


def train_subset(run: Run) -> str:
    return run.spec.dataset.train_name


def validation_subset(run: Run) -> str:
    return run.spec.dataset.validation_name


async def reopen(run: Run, ports: Ports) -> Opened:
    """
    The dataset of the run, as it was when the run was created.

    Raises:
        DataError: it has changed since.
    """
    opened = ports.datasets.take(run.uid)
    if opened is None:
        opened = await to_thread.run_sync(ports.open_dataset, run.spec, run.dataset.revision)
    if opened.fingerprint != run.dataset.fingerprint:
        raise DataError(
            f"The dataset {run.spec.dataset.source} has changed since run {run.run_id} was created.",
            hint="Restore it and resume, or start a new run on the new data with: --run-id NEW",
        )
    return opened


async def _stage(run: Run, ports: Ports, subset: Subset) -> SubsetStaged:
    profile = ports.catalogue.find(run.spec.model.base)
    objects = ports.bucket_of(run)
    transform = transform_of(run, profile, subset.name)
    await claim_keys(objects, run, subset.name, transform.fingerprint)
    return await SubsetStaging(
        subset,
        objects,
        transform,
        prefix=run.spec.storage.prefix,
        upload=ports.upload,
        share=ports.share,
        bad_rows=BadRows(skip=run.spec.dataset.on_bad_row == "skip", most=run.spec.dataset.max_bad_rows),
        clock=ports.clock,
        progress=ports.signal,
    ).run()


async def _write(run: Run, ports: Ports, objects: Objects, subset: str, rows: int) -> tuple[str, int]:
    profile = ports.catalogue.find(run.spec.model.base)
    return await write_records(
        objects,
        prefix=run.spec.storage.prefix,
        subset=subset,
        fingerprint=transform_of(run, profile, subset).fingerprint,
        rows=rows,
    )


def transform_of(run: Run, profile: ModelProfile, subset: str) -> Transform:
    """From rows to images and record lines, as the spec and the model ask."""
    prompt = compile_prompt(run.spec.prompt, run.spec.dataset.columns)

    def line(row: Row, uri: str, image_format: str, more: Sequence[tuple[str, str]] = (), /) -> bytes:
        rendered = prompt.render(row.fields, images=1 + len(more), subset=subset, row=row.index)
        _check_reserved(rendered.conversation, profile, subset, row.index)
        return record_line(
            rendered.conversation,
            [(uri, image_format), *more],
            bucket_owner=run.account,
            image_first=profile.image_first,
        )

    def accepted(row: Row) -> tuple[str, ...]:
        return prompt.render(row.fields, images=len(row.images), subset=subset, row=row.index).accepted

    return Transform(
        limits=limits_of(profile),
        keep_format=run.spec.images.format == "keep",
        fit=run.spec.images.fit,
        line=line,
        accepted=accepted if prompt.several_answers else None,
        fingerprint=transform_fingerprint(run, profile, prompt, subset),
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


def transform_fingerprint(run: Run, profile: ModelProfile, prompt: Prompt, subset: str) -> str:
    """SHA-256 (hex) over all that decides what the staged objects contain."""
    limits = limits_of(profile)
    parts = {
        "dataset": run.dataset.fingerprint,
        "subset": subset,
        "prompt": prompt.fingerprint,
        "images": run.spec.images.model_dump(mode="json"),
        "limits": [
            limits.max_bytes,
            limits.min_side,
            limits.max_side,
            list(limits.formats),
            limits.per_record,
        ],
        "image_first": profile.image_first,
        "owner": run.account,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_key(run: Run, subset: str) -> str:
    """The object that says whose content the keys of `subset` hold."""
    return f"{run.spec.storage.prefix}data/{subset}/content.json"


async def claim_keys(objects: Objects, run: Run, subset: str, fingerprint: str) -> None:
    """
    Say whose content the keys of `subset` hold, once, or find that it is the same content.

    Raises:
        ConfigurationError: they hold other content, which another run may be training on.
    """
    key = content_key(run, subset)
    body = json.dumps({"fingerprint": fingerprint, "run_id": run.run_id}).encode()
    if await objects.put_if(key, body, replacing=None) is not None:
        return
    problem = _key_problem(objects, key, await objects.get(key), fingerprint)
    preflight.refuse([problem] if problem is not None else [])


async def other_content(run: Run, subset: str, ports: Ports) -> Problem | None:
    """
    What the keys of `subset` hold, if it is not what this run would put there. Reads only.

    Raises:
        NotFound: there is no bucket.
    """
    objects, key = ports.bucket_of(run), content_key(run, subset)
    stored = await objects.get(key)
    if stored is None:
        return None
    fingerprint = transform_of(run, ports.catalogue.find(run.spec.model.base), subset).fingerprint
    return _key_problem(objects, key, stored, fingerprint)


def _key_problem(objects: Objects, key: str, stored: StoredObject | None, fingerprint: str) -> Problem | None:
    """Others may have written to the bucket, or deleted what was there a moment ago."""
    content = {} if stored is None else json_object(stored.body) or {}
    return next(preflight.key_problems(f"s3://{objects.bucket}/{key}", content, fingerprint), None)


async def refuse_other_content(run: Run, ports: Ports) -> None:
    """
    Find out before a run exists what staging would find out after.

    Raises:
        ConfigurationError: the run's keys hold another dataset or prompt.
    """
    subsets = [train_subset(run)]
    if run.dataset.validation_rows is not None:
        subsets.append(validation_subset(run))
    with contextlib.suppress(NotFound):
        for subset in subsets:
            if (problem := await other_content(run, subset, ports)) is not None:
                raise problem.error
