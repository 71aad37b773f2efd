"""Records and images where Bedrock reads them: in S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import boto3
import pytest
from click.testing import CliRunner

from tests.credentials import sandbox_credentials
from vlm_runner.cli import cli
from vlm_runner.sandbox import Sandbox

from .pictures import png
from .records import BUCKET, NOVA, bent, good, line

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def test_a_file_in_s3_is_linted_with_its_images(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_credentials(monkeypatch)
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=sandbox.url)
    s3.create_bucket(Bucket=BUCKET)
    keys = [f"images/train/{number:03d}.png" for number in range(9)]
    for number, key in enumerate(keys[:8]):
        s3.put_object(Bucket=BUCKET, Key=key, Body=png(shade=number * 9) if number != 5 else png()[:-30])
    rows = [good(number, key) for number, key in enumerate(keys)]
    rows.append(bent("messages/0/content/1/image/source/s3Location/bucketOwner", "1" * 12))
    rows.append(bent("messages/0/content/1/image/source/s3Location/uri", "s3://no-such-bucket-here/a.png"))
    s3.put_object(Bucket=BUCKET, Key="data/train.jsonl", Body=b"\n".join(map(line, rows)))
    where = ["--endpoint-url", sandbox.url, "--region", "us-east-1"]

    result = CliRunner().invoke(
        cli, ["lint", f"s3://{BUCKET}/data/train.jsonl", "--model", NOVA, "--json", *where]
    )

    assert result.exit_code == 3, result.output
    errors = {
        (f["row"], f["code"]) for f in json.loads(result.stdout)["findings"] if f["severity"] == "error"
    }
    assert errors == {(5, "I120"), (8, "J335"), (9, "J334"), (10, "J332"), (10, "J335")}
