"""What a report is made of and the checkpoint does not hold: read from the run's folder in S3."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from vlm_runner.core.names import run_folder
from vlm_runner.core.text import json_object
from vlm_runner.errors import VlmRunnerError
from vlm_runner.evaluate import from_line
from vlm_runner.evaluate.evaluation import LARGEST, WHO, numbers
from vlm_runner.evaluate.thumbnail import budget, thumbnail
from vlm_runner.image_limits import MAX_SOURCE_BYTES
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.run import Run
    from vlm_runner.evaluate import AnsweredRow

TRAINING_CSV: Final = "training_artifacts/step_wise_training_metrics.csv"
VALIDATION_CSV: Final = "validation_metrics.csv"
"""Found by their ends: samples of AWS show three layouts (user guide, model-customization-analyze)."""

MANIFEST: Final = "manifest.report.csv"
"""Seen on live jobs, in `input_status/` or `input_data_report/` (third parties, 2026)."""

RESULTS: Final = "results.jsonl"
"""Rows and their scores, as REPORTING stores them."""

THUMBNAILS: Final = "thumbnails.jsonl"
"""Beside the answers, by row: made by REPORTING, once nothing is rented any more."""

AT_ONCE: Final = 8
DECODED_AT_ONCE: Final = 2
"""Images of a stranger's bucket: the largest that is shown takes 700 MB."""
LARGEST_CSV: Final = 50_000_000
MOST_COLUMNS: Final = 100
"""Of a CSV file; those of Bedrock have four or five."""
LARGEST_LINES: Final = 256 * 1024 * 1024
"""Bytes of a file of JSON lines that are read: whoever looks need not have written it."""
MOST_ROWS: Final = 100_000
"""Answers that are shown and measured."""
MOST_NAMED: Final = 20
"""Lines that are named because they are not answers."""
MAKING_SECONDS: Final = 120.0
"""For thumbnails that nobody saved; the largest image takes some six seconds."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss by step; a step that stands in several lines is their mean."""

    points: tuple[tuple[float, float], ...] = ()
    epochs: tuple[float, ...] = ()
    """The first step of each epoch."""


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """How many records of one file Bedrock took to train on."""

    name: str
    records: int
    accepted: int
    """Whole."""
    partly_accepted: int
    rejected: int


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What Bedrock wrote beside the model; empty where it has not."""

    training: Curve = Curve()
    validation: Curve = Curve()
    judged: tuple[JudgedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportInputs:
    rows: tuple[AnsweredRow, ...] = ()
    thumbnails: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    """WebP in base64, by row; several where a row has several images."""
    output: JobOutput = JobOutput()
    scores: Mapping[int, Mapping[str, Mapping[str, float]]] = field(
        default_factory=dict[int, "Mapping[str, Mapping[str, float]]"]
    )
    """By row and model, as the run that measured them stored them."""
    missing: tuple[str, ...] = ()
    """What could not be read, each in a sentence."""


async def collect(run: Run, objects: Objects) -> ReportInputs:
    """Never fails: what cannot be read is named in `missing`."""
    missing: list[str] = []
    rows: tuple[AnsweredRow, ...] = ()
    small: dict[int, tuple[str, ...]] = {}
    scores: dict[int, dict[str, dict[str, float]]] = {}
    output = JobOutput()
    try:
        rows = await _answers(run, objects, missing)
        scores = await _scores(run, objects, rows, missing)
        small = await _thumbnails(run, objects, rows, missing)
        output = await _job_output(run, objects)
    except VlmRunnerError as error:
        missing.append(f"S3 could not be read to the end: {error.message}")
    return ReportInputs(rows, small, output, scores, tuple(missing))


async def loss_curves(run: Run, objects: Objects) -> tuple[Curve, Curve]:
    """Training and validation loss; empty where Bedrock has not written them."""
    texts = await _job_files(run, objects, (TRAINING_CSV, VALIDATION_CSV))
    return _curves(texts)


async def _job_output(run: Run, objects: Objects) -> JobOutput:
    texts = await _job_files(run, objects, (TRAINING_CSV, VALIDATION_CSV, MANIFEST))
    return JobOutput(*_curves(texts), judged_files(texts.get(MANIFEST, "")))


def _curves(texts: dict[str, str]) -> tuple[Curve, Curve]:
    training = curve(texts.get(TRAINING_CSV, ""), "training_loss")
    return training, curve(texts.get(VALIDATION_CSV, ""), "validation_loss")


async def _job_files(run: Run, objects: Objects, ends: tuple[str, ...]) -> dict[str, str]:
    """What Bedrock wrote beside the model, by the ends of the keys."""
    if run.job_intent is None or run.job is None:
        return {}
    uri = str(run.job_intent.request.get("outputDataConfig", {}).get("s3Uri", ""))
    prefix = uri.removeprefix(f"s3://{objects.bucket}/")
    if prefix == uri:
        return {}
    found = [
        item async for item in objects.list(prefix) if item.size <= LARGEST_CSV and item.key.endswith(ends)
    ]
    mine = run.job.arn.rpartition("/")[2]
    # Another job of the same run may have written beside it.
    found = [item for item in found if mine in item.key] or found
    texts: dict[str, str] = {}
    for end in ends:
        key = next((item.key for item in found if item.key.endswith(end)), None)
        stored = None if key is None else await objects.get(key, most=LARGEST_CSV)
        texts[end] = stored.body.decode(errors="replace") if stored is not None else ""
    return texts


def judged_files(text: str) -> tuple[JudgedFile, ...]:
    """The lines of a manifest; those that do not fit are left out."""
    found = []
    for line in _table(text):
        try:
            found.append(
                JudgedFile(
                    name=line["fileName"],
                    records=int(line["totalProcessedRecordCount"]),
                    accepted=int(line["acceptedRecordCount"]),
                    partly_accepted=int(line["partiallyAcceptedRecordCount"]),
                    rejected=int(line["rejectedRecordCount"]),
                )
            )
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)


def _table(text: str) -> Iterator[dict[str, str]]:
    """The lines of a CSV file, up to one that is none."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        if len(reader.fieldnames or ()) <= MOST_COLUMNS:  # each line takes the time of all columns
            yield from reader
    except csv.Error:  # a field of over 131,072 characters, for one
        return


def curve(text: str, column: str) -> Curve:
    """The loss column of a metrics file; lines that do not fit are left out."""
    sums: dict[float, tuple[float, int]] = {}
    first: dict[float, float] = {}
    for line in _table(text):
        try:
            step, loss = float(line["step_number"]), float(line[column])
            epoch = float(line.get("epoch_number") or 0)
        except (KeyError, TypeError, ValueError):
            continue
        if abs(step) < LARGEST and abs(loss) < LARGEST and math.isfinite(epoch):
            total, count = sums.get(step, (0.0, 0))
            sums[step] = (total + loss, count + 1)
            first[epoch] = min(step, first.get(epoch, step))
    points = tuple((step, total / count) for step, (total, count) in sorted(sums.items()))
    return Curve(points, tuple(sorted(first.values())))


async def _answers(run: Run, objects: Objects, missing: list[str]) -> tuple[AnsweredRow, ...]:
    if run.tests is None or run.tests.uri is None:
        return ()
    uri = run.tests.uri
    lines = await _lines(objects, uri.removeprefix(f"s3://{objects.bucket}/"), missing)
    if lines is None:
        missing.append(f"{uri} is gone: the answers cannot be shown.")
        return ()
    rows: list[AnsweredRow] = []
    unfit = 0
    for number, line in enumerate(lines, 1):
        if len(rows) == MOST_ROWS:
            missing.append(f"{uri} has more than {MOST_ROWS:,} answers: the first are shown.")
            break
        try:
            rows.append(from_line(line))
        except ValueError:
            unfit += 1
            if unfit <= MOST_NAMED:
                missing.append(f"Line {number} of {uri} is not an answer.")
    if unfit > MOST_NAMED:
        missing.append(f"{unfit - MOST_NAMED:,} more lines of {uri} are not answers.")
    return tuple(rows)


async def _lines(objects: Objects, key: str, missing: list[str]) -> Iterator[bytes] | None:
    """The lines of an object; none of one that is too large, which is named; None if there is no object."""
    stored = await objects.get(key, most=LARGEST_LINES)
    if stored is None:
        return None
    if len(stored.body) > LARGEST_LINES:
        missing.append(f"s3://{objects.bucket}/{key} has more than {LARGEST_LINES:,} bytes, and is not read.")
        return iter(())
    return (line.rstrip(b"\r\n") for line in io.BytesIO(stored.body))


async def _scores(
    run: Run, objects: Objects, rows: tuple[AnsweredRow, ...], missing: list[str]
) -> dict[int, dict[str, dict[str, float]]]:
    if not rows or not run.spec.test.metrics:
        return {}  # the others are measured anew, by this version
    return await stored_scores(run, objects, missing)


async def stored_scores(
    run: Run, objects: Objects, missing: list[str] | None = None
) -> dict[int, dict[str, dict[str, float]]]:
    """By row and model ("tuned", "base"), as REPORTING measured them; empty where it has not."""
    lines = await _lines(objects, f"{run_folder(run)}{RESULTS}", [] if missing is None else missing)
    found: dict[int, dict[str, dict[str, float]]] = {}
    for line in lines or ():
        table = json_object(line) or {}
        if isinstance(row := table.get("row"), int):
            found[row] = {who: numbers(table[who]) for who in WHO if isinstance(table.get(who), dict)}
    return found


async def _thumbnails(
    run: Run, objects: Objects, rows: tuple[AnsweredRow, ...], missing: list[str]
) -> dict[int, tuple[str, ...]]:
    if not rows:
        return {}
    lines = await _lines(objects, f"{run_folder(run)}{THUMBNAILS}", missing)
    small = saved_thumbnails(lines or ())
    slots, decoding = anyio.Semaphore(AT_ONCE), anyio.CapacityLimiter(DECODED_AT_ONCE)
    most = budget(sum(1 + len(row.more_images) for row in rows))

    async def make(row: AnsweredRow) -> None:
        async with slots:
            made = [await _made_small(objects, uri, most, decoding) for uri in (row.image, *row.more_images)]
            if shown := tuple(one for one in made if one is not None):
                small[row.row] = shown

    with anyio.move_on_after(MAKING_SECONDS) as limit:
        async with task_group() as group:
            for row in rows:
                if row.row not in small:
                    group.start_soon(make, row)
    if limit.cancelled_caught:
        missing.append(f"Images were made small for {MAKING_SECONDS:.0f} s; the others are not shown.")
    return small


async def _made_small(objects: Objects, uri: str, most: int, decoding: anyio.CapacityLimiter) -> str | None:
    """The thumbnail of an image of the run's bucket, in base64; None where there is none to show."""
    ours = f"s3://{objects.bucket}/"
    if not uri.startswith(ours):
        return None
    stored = await objects.get(uri.removeprefix(ours), most=MAX_SOURCE_BYTES)
    if stored is None:
        return None
    made = await to_thread.run_sync(thumbnail, stored.body, most, limiter=decoding)
    return None if made is None else base64.b64encode(made).decode()


def saved_thumbnails(lines: Iterable[bytes]) -> dict[int, tuple[str, ...]]:
    """As `thumbnail_lines` wrote them; lines that do not fit are left out."""
    small: dict[int, tuple[str, ...]] = {}
    for line in lines:
        try:
            table = json_object(line) or {}
            shown = [table["webp"], *table.get("more", ())]
            small[int(table["row"])] = tuple(_base64(str(text)) for text in shown)
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return small


def thumbnail_lines(thumbnails: Mapping[int, tuple[str, ...]]) -> bytes:
    """What `collect` reads back."""
    tables = ({"row": row, "webp": first, "more": more} for row, (first, *more) in sorted(thumbnails.items()))
    return "".join(f"{json.dumps(table)}\n" for table in tables).encode()


def _base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text
