"""The second experiment, over real HTTP: what is uploaded again, and what happens to what is there."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_runner.core.phases import Phase
from vlm_runner.core.run import Run, known
from vlm_runner.runner import Runner
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.settings import Settings
from vlm_runner.spec import RunSpec
from vlm_runner.testing.dataset import tiny_png
from vlm_runner.testing.objects import etag_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BUCKET = "vlm-accessibility-123456789012-us-east-1"
PROMPT_A = {"user": "Judge {{ html }}", "assistant": "{{ output }}"}
PROMPT_B = {"user": "What is wrong with {{ html }}?", "assistant": "{{ output }}"}


def page(row: int) -> bytes:
    """Different for each of a few thousand rows."""
    return tiny_png(row, 32 + row // 256)


def write(folder: Path, rows: range) -> Path:
    """A dataset of as many different images, in one Parquet file."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "image": [{"bytes": page(row), "path": None} for row in rows],
        "html": [f"<p>{row}</p>" for row in rows],
        "output": [f"finding {row}" for row in rows],
    }
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return folder


@dataclass
class Account:
    """An empty account, and what every run's JSONL is when its job comes to be created."""

    sandbox: Sandbox
    runner: Runner
    runs: list[Run] = field(default_factory=list[Run])
    jsonl: dict[str, bytes] = field(default_factory=dict[str, bytes])
    shown: dict[str, range] = field(default_factory=dict[str, range])

    def __post_init__(self) -> None:
        self.s3: Any = boto3.client("s3", region_name="us-east-1", endpoint_url=self.sandbox.url)

    async def start(self, source: Path, rows: range, prompt: dict[str, str], **dataset: Any) -> None:
        """Start a run with nothing set for its keys, as far as what its job trains on: `rows`."""
        self.sandbox.calls.clear()
        spec = RunSpec.from_table(
            {
                "dataset": {"source": str(source)} | dataset,
                "prompt": prompt,
                "model": {"base": "amazon.nova-lite-v1:0:300k"},
                "training": {"role_arn": "arn:aws:iam::123456789012:role/bedrock-sft"},
                "test": {"rows": 0},
            }
        )
        runner = self.runner
        created = await runner.prepare(spec, run_id=f"run-{len(self.runs)}")
        assert created is not None
        planned = (await runner.preview(created)).uploads[0] if len(rows) < 100 else None
        await runner.create(created)
        run = await (await runner.resume(created.run_id, until=Phase.RECORDING)).result()
        place = known(run.places).train
        if planned is not None:
            assert (planned.images, planned.records) == (place.images, place.records)
            assert planned.objects == self.image_puts
        self.runs.append(run)
        uri = known(run.records).train_uri
        self.jsonl[uri], self.shown[uri] = self.body(uri), rows

    @property
    def image_puts(self) -> int:
        """In the sandbox's log, since the last start."""
        calls = self.sandbox.calls.as_json()
        assert sum(calls["counts"].values()) == len(calls["recent"])
        return sum(
            call["operation"] == "PutObject" and call["path"].endswith(".png") for call in calls["recent"]
        )

    def body(self, uri: str) -> bytes:
        key = uri.removeprefix(f"s3://{BUCKET}/")
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def assert_untouched(self) -> None:
        """Each run's JSONL is what its job was given, and shows the images of its rows."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="images/")
        etags = {f"s3://{BUCKET}/{item['Key']}": item["ETag"] for page in pages for item in page["Contents"]}
        for uri, before in self.jsonl.items():
            assert self.body(uri) == before
            uris = [
                part["image"]["source"]["s3Location"]["uri"]
                for line in before.split(b"\n")
                for part in json.loads(line)["messages"][0]["content"]
                if "image" in part
            ]
            assert [etags[image] for image in uris] == [etag_of(page(row)) for row in self.shown[uri]]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@asynccontextmanager
async def empty_account(folder: Path) -> AsyncIterator[Account]:
    with Sandbox(SandboxOptions()) as sandbox:
        settings = Settings(checkpoint_uri=str(folder / "runs"), endpoint_url=sandbox.url, region="us-east-1")
        async with Runner.open(settings) as runner:
            yield Account(sandbox, runner)


async def test_an_experiment_uploads_only_images_that_are_new(tmp_path: Path) -> None:
    """Prompt A, prompt B, a hundred rows more, another dataset: nothing set, and nothing touched."""
    pages = write(tmp_path / "pages", range(300))
    others = write(tmp_path / "others", range(1000, 1020))
    puts = []
    async with empty_account(tmp_path) as account:
        for source, rows, prompt in (
            (pages, range(200), PROMPT_A),
            (pages, range(200), PROMPT_B),
            (pages, range(300), PROMPT_B),
            (others, range(1000, 1020), PROMPT_A),
        ):
            await account.start(source, rows, prompt, max_rows=len(rows))
            puts.append(account.image_puts)

        assert puts == [200, 0, 100, 20]
        assert len(account.jsonl) == 4
        account.assert_untouched()
    first, *_, last = [known(run.places).train for run in account.runs]
    assert (first.images, first.records) == ("images/train/", "data/train.jsonl")
    assert last.images.startswith("images/content-")


async def test_a_dataset_that_grows_where_it_lies_uploads_its_new_rows(tmp_path: Path) -> None:
    """Also one that did not get the notebook's keys; and one whose rows have changed is another dataset."""
    puts = []
    async with empty_account(tmp_path) as account:
        await account.start(write(tmp_path / "first", range(8)), range(8), PROMPT_A)
        for rows in (range(20, 30), range(20, 34), range(20, 30), range(21, 33)):
            await account.start(write(tmp_path / "pages", rows), rows, PROMPT_A)
            puts.append(account.image_puts)

        assert puts == [10, 4, 0, 12]
        account.assert_untouched()
