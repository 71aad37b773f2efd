"""
What a job writes to its output folder.

The metric files are those of the user guide, model-customization-analyze. That a job whose data were accepted
leaves a manifest and a copy of the data was seen on live jobs only (third parties, 2026): the names of the
files and the columns are known, the folders between are not.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from random import Random

from vlm_runner.sandbox.objects import Objects, split_uri
from vlm_runner.sandbox.resources import AcceptedFile, Job

_ROWS = 1000
_MANIFEST = (
    "fileName",
    "totalProcessedRecordCount",
    "acceptedRecordCount",
    "partiallyAcceptedRecordCount",
    "rejectedRecordCount",
)


def training_loss(progress: float) -> float:
    """Falls from 2.1 to about 0.4 as the trained fraction goes from 0 to 1."""
    return round(0.35 + 1.75 * math.exp(-3.5 * progress), 4)


def validation_loss(progress: float) -> float:
    return round(training_loss(progress) * 1.12 + 0.04, 4)


def write_accepted_data(job: Job, files: Sequence[AcceptedFile], objects: Objects) -> None:
    """Write the manifest that counts the records, and the copies of the data: the files are not changed."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(_MANIFEST)
    written: dict[str, bytes] = {}
    for number, file in enumerate(files):
        lines.writerow((file.name, file.records, file.records, 0, 0))
        folder = "training" if number == 0 else f"validation-{number}"
        written[f"validated_data/{folder}/validated_prompts.jsonl"] = file.data
    written["input_status/manifest.report.csv"] = table.getvalue().encode()
    _write(job, written, objects)


def write_metrics(job: Job, objects: Objects, random: Random) -> None:
    files = {"training_artifacts/step_wise_training_metrics.csv": _training_csv(job, random).encode()}
    if job.request.get("validationDataConfig", {}).get("validators"):
        path = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
        files[path] = _validation_csv(job).encode()
    _write(job, files, objects)


def _write(job: Job, files: Mapping[str, bytes], objects: Objects) -> None:
    """If the bucket was deleted meanwhile, they are lost; the model is not."""
    bucket, prefix = split_uri(job.request["outputDataConfig"]["s3Uri"])
    folder = f"model-customization-job-{job.arn.rpartition('/')[2]}"
    root = "/".join(part for part in (prefix.rstrip("/"), folder) if part)
    if objects.bucket_region(bucket):
        for path, body in files.items():
            objects.store(bucket, f"{root}/{path}", body)


def _training_csv(job: Job, random: Random) -> str:
    steps = max(1, int((job.verdict.records if job.verdict else 1) * job.epochs))
    stride = max(1, steps // _ROWS)
    lines = ["step_number,epoch_number,training_loss,perplexity"]
    for step in range(0, steps, stride):
        loss = training_loss(step / steps) * random.uniform(0.96, 1.04)
        lines.append(f"{step},{int(step * job.epochs / steps)},{loss:.4f},{math.exp(loss):.4f}")
    return "\n".join(lines) + "\n"


def _validation_csv(job: Job) -> str:
    lines = ["step_number,epoch_number,validation_loss,perplexity"]
    records = job.verdict.records if job.verdict else 1
    for epoch in range(int(job.epochs)):
        loss = validation_loss((epoch + 1) / job.epochs)
        lines.append(f"{(epoch + 1) * records - 1},{epoch},{loss:.4f},{math.exp(loss):.4f}")
    return "\n".join(lines) + "\n"
