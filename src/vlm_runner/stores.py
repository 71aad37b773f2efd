"""From `checkpoint_uri` to a store."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_runner import environment
from vlm_runner.aws.ports import Encryption
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.checkpoint.s3 import S3Store
from vlm_runner.errors import ConfigurationError
from vlm_runner.paths import default_checkpoint_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from vlm_runner.aws.session import AwsSession
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.settings import Settings


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[CheckpointStore]:
    """The store alone, for reading: AWS is imported only if it is there."""
    async with AsyncExitStack() as stack:

        def connect(region: str) -> AwsSession:
            from vlm_runner.aws.session import AwsSession  # noqa: PLC0415

            session = AwsSession(region=region, profile=settings.profile, endpoint_url=settings.endpoint_url)
            stack.push_async_exit(session)
            return session

        yield open_store(settings, connect)


def open_store(settings: Settings, connect: Callable[[str], AwsSession]) -> CheckpointStore:
    """
    The store that the settings name; nothing is read or created yet.

    Raises:
        ConfigurationError: the URI is of no kind that is known, or S3 is named and no region.
    """
    uri = settings.checkpoint_uri
    if uri is None:
        return LocalStore(default_checkpoint_folder())
    if not uri.startswith("s3://"):
        if "://" in uri:
            raise ConfigurationError(
                f"'{uri}' is not a supported checkpoint store: give a folder or s3://bucket/prefix."
            )
        return LocalStore(Path(uri))
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    region = settings.region or environment.aws_region()
    if not bucket or region is None:
        raise ConfigurationError(
            f"The checkpoint store '{uri}' needs a bucket and a region.",
            hint="Give --region, or set AWS_REGION.",
        )
    encryption = store_encryption(settings)
    return S3Store(connect(region).state_objects(bucket, encryption=encryption), prefix)


def store_encryption(settings: Settings) -> Encryption | None:
    """
    What saves in S3 ask for.

    Raises:
        ConfigurationError: a key for an algorithm that takes none.
    """
    algorithm, key = settings.checkpoint_encryption, settings.checkpoint_kms_key
    if key is not None and algorithm == "AES256":
        raise ConfigurationError(
            'checkpoint_kms_key belongs to "aws:kms", and checkpoint_encryption is "AES256".'
        )
    chosen = algorithm or ("aws:kms" if key is not None else None)
    return None if chosen is None else Encryption(chosen, key)


def store_environment(settings: Settings) -> dict[str, str]:
    """Variables by which another process saves with the same encryption; none where none is asked for."""
    asked = store_encryption(settings)
    if asked is None:
        return {}
    key = {} if asked.kms_key is None else {"VLM_RUNNER_CHECKPOINT_KMS_KEY": asked.kms_key}
    return {"VLM_RUNNER_CHECKPOINT_ENCRYPTION": asked.algorithm} | key
