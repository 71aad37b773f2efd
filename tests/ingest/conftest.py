"""One sandbox for all tests of this folder, emptied before each."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import pytest

from tests.decoders import decoders_kept
from vlm_runner.aws.objects_obstore import Engine
from vlm_runner.aws.ports import Objects
from vlm_runner.aws.session import AwsSession
from vlm_runner.sandbox import Sandbox, SandboxOptions

from .staging import ACCOUNT, BUCKET

__all__ = ["decoders_kept"]

ENGINES: list[Engine] = ["aioboto3", "obstore"]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions()) as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3(sandbox: Sandbox) -> Any:
    """A plain boto3 client, and an empty bucket."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=sandbox.url)
    _post(sandbox, "reset")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def fault(sandbox: Sandbox, s3: Any) -> Any:
    def add(**facts: Any) -> None:
        _post(sandbox, "faults", [facts])

    return add


def _post(sandbox: Sandbox, path: str, body: Any = None) -> None:
    import json
    import urllib.request

    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{sandbox.url}/_sandbox/{path}", data, method="POST")
    ):
        pass


@pytest.fixture(params=ENGINES)
async def aws(request: pytest.FixtureRequest, sandbox: Sandbox, s3: Any) -> AsyncIterator[AwsSession]:
    async with AwsSession(region="us-east-1", endpoint_url=sandbox.url, engine=request.param) as session:
        yield session


@pytest.fixture
def objects(aws: AwsSession) -> Objects:
    return aws.objects(BUCKET, owner=ACCOUNT)
