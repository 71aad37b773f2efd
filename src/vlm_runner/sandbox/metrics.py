"""Loss curves, and the files that Bedrock leaves in S3 (user guide, model-customization-analyze)."""

import math
from random import Random

from vlm_runner.sandbox.objects import Objects, split_uri
from vlm_runner.sandbox.resources import Job

_ROWS = 1000


def training_loss(progress: float) -> float:
    """Falls from 2.1 to about 0.4 as the trained fraction goes from 0 to 1."""
    return round(0.35 + 1.75 * math.exp(-3.5 * progress), 4)


def validation_loss(progress: float) -> float:
    return round(training_loss(progress) * 1.12 + 0.04, 4)


def write_metrics(job: Job, objects: Objects, random: Random) -> None:
    """
    Write the metric files. If the bucket was deleted meanwhile, they are lost; the model is not.
    """
    bucket, prefix = split_uri(job.request["outputDataConfig"]["s3Uri"])
    folder = f"model-customization-job-{job.arn.rpartition('/')[2]}"
    root = "/".join(part for part in (prefix.rstrip("/"), folder) if part)
    files = {f"{root}/training_artifacts/step_wise_training_metrics.csv": _training_csv(job, random)}
    if job.request.get("validationDataConfig", {}).get("validators"):
        path = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
        files[f"{root}/{path}"] = _validation_csv(job)
    if objects.bucket_region(bucket):
        for key, text in files.items():
            objects.store(bucket, key, text.encode())


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
