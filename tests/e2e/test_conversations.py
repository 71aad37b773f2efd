"""Each shape of docs/your-data.md, from `init` to a run that succeeded: nothing is edited in between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.test_your_data import FOUND, written

from .laptop import ROLE, Laptop

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "vlm-accessibility-123456789012-us-east-1"


def read(laptop: Laptop, uri: str) -> list[dict[str, Any]]:
    key = uri.removeprefix(f"s3://{BUCKET}/")
    body = laptop.boto("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def kinds(record: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(turn["role"], [next(iter(block)) for block in turn["content"]]) for turn in record["messages"]]


def in_s3(laptop: Laptop, folder: Path) -> str:
    """The same in a bucket, each image named by its address."""
    s3 = laptop.boto("s3")
    s3.create_bucket(Bucket="data-of-mine")
    for file in folder.iterdir():
        body = file.read_bytes()
        if file.suffix == ".jsonl":
            body = body.replace(b'"uri": "', b'"uri": "s3://data-of-mine/in/')
        s3.put_object(Bucket="data-of-mine", Key=f"in/{file.name}", Body=body)
    return "s3://data-of-mine/in/train.jsonl"


@pytest.mark.parametrize("name", FOUND)
def test_a_dataset_of_each_shape_is_trained_on_and_asked_about(
    name: str, laptop: Laptop, tmp_path: Path
) -> None:
    source = str(written(tmp_path / "data", name))
    if name == "bedrock":
        source = in_s3(laptop, tmp_path / "data")
    spec = laptop.home / "run.toml"
    assert laptop.here("init", str(spec), "--source", source, "--role-arn", ROLE).returncode == 0

    done = laptop.here("start", str(spec), "--yes", "--json", "--run-id", "shape")

    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["outcome"] == "succeeded"
    records = read(laptop, laptop.checkpoint("shape")["run"]["records"]["train_uri"])
    assert len(records) == 10
    assert [each["messages"][-1]["role"] for each in records] == ["assistant"] * 10
    assert "<image>" not in json.dumps(records)
    own = laptop.checkpoint("shape")["run"]["created"]["folder"]
    answers = read(laptop, f"s3://{BUCKET}/{own}answers.jsonl")
    assert all(row["answer"] == row["reference"] for row in answers)
    if name == "messages":
        assert kinds(records[0]) == [
            ("user", ["image", "text"]), ("assistant", ["text"]),
            ("user", ["text", "image"]), ("assistant", ["text"]),
        ]  # fmt: skip
        uris = [
            block["image"]["source"]["s3Location"]["uri"]
            for turn in records[3]["messages"]
            for block in turn["content"]
            if "image" in block
        ]
        assert [uri.rpartition("/")[2] for uri in uris] == ["003.png", "003-1.png"]
        assert [(turn["role"], turn["text"]) for turn in answers[0]["turns"]] == [
            ("user", "[image 1]\nWhat is it?"), ("assistant", "A cat."), ("user", "And here?\n[image 2]"),
        ]  # fmt: skip
        assert answers[0]["reference"] == "A dog."
        page = laptop.boto("s3").get_object(Bucket=BUCKET, Key=f"{own}report.html")["Body"].read()
        assert b"And here?\n[image 2]" in page
    if name == "qa":
        assert answers[0]["accepted"] == ["2"]
