"""The validation phase of a job: read everything that it will train on."""

from collections.abc import Mapping
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel
from vlm_runner.sandbox.nearest_neighbor import memory_of
from vlm_runner.sandbox.objects import Objects, split_uri
from vlm_runner.sandbox.records import Checker, DataRejected, Example, check_counts
from vlm_runner.sandbox.resources import DatasetVerdict

# As AWS's own IDP accelerator met it, and strips the set because of it.
NO_VALIDATION_SET = "Invalid input error: Nova 2.0 doesn't support validation set"
PROBE = ".write_access_check_file.tmp"


def check_dataset(
    request: Mapping[str, Any], model: FoundationModel, region: str, account: str, objects: Objects
) -> DatasetVerdict:
    """Reads every image from S3 and writes a probe object there; has no other effect."""
    try:
        _probe_output(request["outputDataConfig"]["s3Uri"], region, objects)
        training = _examples(request["trainingDataConfig"]["s3Uri"], model, region, account, objects)
        validation = [
            example
            for uri in _validation_uris(request, model)
            for example in _examples(uri, model, region, account, objects)
        ]
        check_counts(model, len(training), len(validation))
    except DataRejected as rejected:
        return DatasetVerdict(failure=str(rejected)[:2048])
    return DatasetVerdict(
        None, sum(example.tokens for example in training), len(training), memory_of(training)
    )


def _validation_uris(request: Mapping[str, Any], model: FoundationModel) -> list[str]:
    validators = request.get("validationDataConfig", {}).get("validators", [])
    if validators and not model.validation_set:
        raise DataRejected(NO_VALIDATION_SET)
    return [validator["s3Uri"] for validator in validators]


def _probe_output(uri: str, region: str, objects: Objects) -> None:
    bucket, prefix = split_uri(uri)
    key = "/".join(part for part in (prefix.rstrip("/"), PROBE) if part)
    if objects.bucket_region(bucket) != region:
        raise DataRejected(f"Amazon S3 perms missing (PutObject): bucket {bucket}, key {key}")
    objects.store(bucket, key, b"")


def _examples(uri: str, model: FoundationModel, region: str, account: str, objects: Objects) -> list[Example]:
    bucket, key = split_uri(uri)

    def fetch(bucket: str, key: str) -> bytes | None:
        # Buckets must be in the job's Region (user guide, fine-tuning troubleshooting).
        return objects.fetch(bucket, key) if objects.bucket_region(bucket) == region else None

    return list(Checker(model, bucket, key, fetch, account).examples())
