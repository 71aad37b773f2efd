"""One contract, four stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.checkpoint.s3 import S3Store
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.testing import FakeObjects, FakeS3, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from vlm_runner.checkpoint.base import CheckpointStore


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with Sandbox(SandboxOptions()) as sandbox:
        yield sandbox.url


@pytest.fixture(params=["memory", "local", "s3", "s3 by moto"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CheckpointStore]:
    match request.param:
        case "memory":
            yield MemoryStore()
        case "local":
            yield LocalStore(tmp_path)
        case "s3":
            s3 = FakeS3()
            s3.make_bucket("bucket", "123456789012")
            yield S3Store(FakeObjects(s3, "bucket", "123456789012"), "some/prefix")
        case _:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            url = request.getfixturevalue("sandbox_url")
            async with AwsSession(region="us-east-1", endpoint_url=url) as session:
                bucket = f"b-{abs(hash(tmp_path))}"
                await session.account.ensure_bucket(bucket, account="123456789012", region="us-east-1")
                yield S3Store(session.state_objects(bucket), "some/prefix")
