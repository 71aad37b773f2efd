"""The validation phase of a job: read everything that it will train on."""

from collections.abc import Mapping
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel
from vlm_runner.sandbox.nearest_neighbor import memory_of
from vlm_runner.sandbox.objects import split_uri
from vlm_runner.sandbox.records import Checker, DataFile, DataRejected, check_counts
from vlm_runner.sandbox.resources import AcceptedFile, DatasetVerdict
from vlm_runner.sandbox.role_files import RoleFiles

# As AWS's own IDP accelerator met it, and strips the set because of it.
NO_VALIDATION_SET = "Invalid input error: Nova 2.0 doesn't support validation set"
PROBE = ".write_access_check_file.temp"  # as it lies in the output of live jobs


def check_dataset(
    request: Mapping[str, Any], model: FoundationModel, account: str, files: RoleFiles
) -> DatasetVerdict:
    """Reads every image with the rights of the job's role, and writes a probe; has no other effect."""
    try:
        _probe_output(request["outputDataConfig"]["s3Uri"], files)
        training = _read(request["trainingDataConfig"]["s3Uri"], model, account, files)
        validation = [_read(uri, model, account, files) for uri in _validation_uris(request, model)]
        records = len(training.examples)
        check_counts(model, records, sum(len(file.examples) for file in validation))
    except DataRejected as rejected:
        return DatasetVerdict(failure=str(rejected)[:2048])
    tokens, memory = sum(example.tokens for example in training.examples), memory_of(training.examples)
    return DatasetVerdict(None, tokens, records, memory, tuple(map(_accepted, (training, *validation))))


def _accepted(file: DataFile) -> AcceptedFile:
    return AcceptedFile(file.key.rpartition("/")[2], file.data, len(file.examples))


def _validation_uris(request: Mapping[str, Any], model: FoundationModel) -> list[str]:
    validators = request.get("validationDataConfig", {}).get("validators", [])
    if validators and not model.validation_set:
        raise DataRejected(NO_VALIDATION_SET)
    return [validator["s3Uri"] for validator in validators]


def _probe_output(uri: str, files: RoleFiles) -> None:
    bucket, prefix = split_uri(uri)
    key = "/".join(part for part in (prefix.rstrip("/"), PROBE) if part)
    if not files.write(bucket, key, b""):
        raise DataRejected(f"Amazon S3 perms missing (PutObject): bucket {bucket}, key {key}")


def _read(uri: str, model: FoundationModel, account: str, files: RoleFiles) -> DataFile:
    bucket, key = split_uri(uri)
    return Checker(model, bucket, key, files.read, account).read()
