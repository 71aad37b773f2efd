"""The whole job, by the real command line, against the sandbox, checked by plain boto3 and Pillow."""

from __future__ import annotations

import io
import json
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from datasets import load_dataset
from PIL import Image

from .laptop import ACCOUNT, LLAMA, Laptop, notebook_dataset, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def laptop_of_2025(tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop.start(tmp_path, speed=7200, as_of="2025-06-01", region="us-west-2")
    yield laptop
    laptop.stop()


def check_objects(laptop: Laptop, folder: Path, prefix: str = "") -> None:
    """Every image equals its source pixel for pixel; every record obeys the rules and names its image."""
    s3 = laptop.boto("s3")
    bucket = f"vlm-accessibility-{ACCOUNT}-{laptop.region}"
    for split in ("train", "validation"):
        source = load_dataset("parquet", data_files=str(folder / f"{split}.parquet"), split="train")
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}data/{split}.jsonl")["Body"].read()
        lines = body.split(b"\n")
        assert len(lines) == len(source)
        for index, (line, row) in enumerate(zip(lines, source, strict=True)):
            key = f"{prefix}images/{split}/{index:03d}.png"
            check_record(json.loads(line), f"s3://{bucket}/{key}", row)
            stored = Image.open(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
            assert stored.format == "PNG"
            assert stored.size == row["image"].size
            assert stored.convert("RGB").tobytes() == row["image"].convert("RGB").tobytes()


def check_record(record: dict[str, Any], image_uri: str, row: dict[str, Any]) -> None:
    assert set(record) == {"schemaVersion", "system", "messages"}
    assert record["schemaVersion"] == "bedrock-conversation-2024"
    assert len(record["system"]) == 1
    user, assistant = record["messages"]
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    texts = [part["text"] for part in user["content"] if "text" in part]
    images = [part["image"] for part in user["content"] if "image" in part]
    location = {"uri": image_uri, "bucketOwner": ACCOUNT}
    assert images == [{"format": "png", "source": {"s3Location": location}}]
    assert row["html"] in texts[0]
    (answer,) = assistant["content"]
    assert answer["text"].strip()
    for found in row["outputs"]:
        for value in found.values():
            assert value in answer["text"]


def test_the_notebooks_own_settings_succeed_on_its_own_model(laptop_of_2025: Laptop, tmp_path: Path) -> None:
    """
    Llama 3.2 11B in us-west-2, 2 epochs, batch size 1, learning rate 0.00001, as of a day it was alive.
    """
    laptop = laptop_of_2025
    folder = notebook_dataset(tmp_path / "pages", rows=100)
    spec = laptop.spec(
        folder,
        model=f'base = "{LLAMA}"',
        training=f'role_arn = "arn:aws:iam::{ACCOUNT}:role/bedrock-sft"\n'
        "hyperparameters = { epochCount = 2, batchSize = 1, learningRate = 0.00001 }",
        test='rows = 2\napi = "invoke"',
    )

    done = laptop.cli("start", str(spec), "--yes", "--json", "--run-id", "notebook")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["outcome"] == "succeeded"
    assert result["tests"]["held_out"] is True
    assert result["tests"]["first"]["answer"]
    laptop.assert_paid_once_and_over()
    check_objects(laptop, folder)
    job = laptop.boto("bedrock").get_model_customization_job(jobIdentifier=result["job_arn"])
    assert job["hyperParameters"] == {"epochCount": "2", "batchSize": "1", "learningRate": "0.00001"}
    assert job["customizationType"] == "FINE_TUNING"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_nova_lite_succeeds_on_a_parquet_folder(laptop: Laptop, tmp_path: Path, kind: str) -> None:
    folder = notebook_dataset(tmp_path / "pages", rows=12, kind=kind)
    spec = laptop.spec(folder)

    done = laptop.here("start", str(spec), "--yes")

    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    first = laptop.checkpoint(done.stdout.split()[1])["run"]["tests"]["first"]
    assert "<solution>" in first["answer"]
    laptop.assert_paid_once_and_over()
    check_objects(laptop, folder)


def test_on_demand_serving_is_deleted_too(laptop: Laptop, pages: Path) -> None:
    spec = laptop.spec(pages, serving='mode = "on-demand"')

    done = laptop.here("start", str(spec), "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert len(laptop.paid("custom_model_deployment")) == 1
    assert laptop.paid("provisioned_throughput") == []
    assert laptop.boto("bedrock").list_custom_model_deployments()["modelDeploymentSummaries"] == []


def test_training_alone_rents_nothing(laptop: Laptop, pages: Path) -> None:
    spec = laptop.spec(pages, serving='mode = "none"')

    done = laptop.here("start", str(spec), "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_arn"]
    assert laptop.paid("provisioned_throughput") == []


def test_a_kept_endpoint_is_handed_over_loudly_with_how_to_call_it(
    laptop: Laptop, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = laptop.spec(pages, serving='mode = "provisioned"\nkeep = true')

    done = laptop.here("start", str(spec), "--yes", "--run-id", "cats")
    shown = laptop.here("status", "cats")

    assert done.returncode == 0, done.stderr
    (throughput,) = laptop.paid("provisioned_throughput")
    assert throughput["still_billing"]
    assert "THE ENDPOINT IS KEPT, AND BILLS:" in done.stderr
    assert f"delete-provisioned-model-throughput --provisioned-model-id {throughput['arn']}" in done.stderr
    for text in (done.stderr, shown.stdout):
        assert f"aws bedrock-runtime converse --region us-east-1 --model-id {throughput['arn']}" in text
    python = textwrap.dedent(shown.stdout.partition("or in Python:\n")[2].partition("\n\n")[0])
    (laptop.home / "page.png").write_bytes(picture(1))
    for name, value in laptop.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(laptop.home)
    found: dict[str, Any] = {}
    exec(python, found)
    assert found["answer"]["output"]["message"]["content"][0]["text"]


@pytest.mark.parametrize("words", [("start", "run.toml", "--yes"), ("resume", "cats"), ("cancel", "cats")])
def test_a_command_that_finds_its_run_over_says_so(
    laptop: Laptop, pages: Path, words: tuple[str, ...]
) -> None:
    spec = laptop.spec(pages, serving='mode = "none"')
    laptop.here("start", str(spec), "--yes", "--run-id", "cats")
    more = ("--run-id", "cats") if words[0] == "start" else ()

    again = laptop.here(*words, *more)

    assert again.returncode == 0
    assert "Run cats succeeded before, at " in again.stderr
    assert "nothing was done" in again.stderr
    assert laptop.checkpoint("cats")["run"]["cancelled"] is None


def test_a_run_ends_in_five_lines(laptop: Laptop, pages: Path) -> None:
    done = laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Run", "Made:", "Cost:", "Remains:", "Next:"]
    assert "custom-model/" in lines[1]
    assert "nothing bills by the hour" in lines[3]
    assert lines[4].endswith("vlm-runner report cats")


def test_the_same_spec_is_the_same_run(laptop: Laptop, pages: Path) -> None:
    """
    Starting twice pays once, and says so by ending as the first did.
    """
    spec = laptop.spec(pages)

    first = laptop.here("start", str(spec), "--yes", "--json")
    second = laptop.here("start", str(spec), "--yes", "--json")

    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert json.loads(first.stdout)["run_id"] == json.loads(second.stdout)["run_id"]
    laptop.assert_paid_once_and_over()


def test_a_second_run_on_the_same_data_uploads_no_image(laptop: Laptop, pages: Path) -> None:
    laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "first")

    second = laptop.here("start", str(laptop.spec(pages)), "--yes", "--json", "--run-id", "second")

    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["images"]["train"]["images_uploaded"] == 0


def test_other_data_find_keys_of_their_own_and_are_refused_under_a_prefix_that_is_taken(
    laptop: Laptop, pages: Path, tmp_path: Path
) -> None:
    laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "first")
    others = notebook_dataset(tmp_path / "others", rows=13)

    beside = laptop.here("start", str(laptop.spec(others)), "--yes", "--run-id", "second")
    prefixed = laptop.here(
        "start", str(laptop.spec(others, storage='prefix = "others"')), "--yes", "--run-id", "third"
    )
    refused = laptop.here(
        "start", str(laptop.spec(pages, storage='prefix = "others"')), "--yes", "--run-id", "fourth"
    )

    assert (beside.returncode, prefixed.returncode) == (0, 0), (beside.stderr, prefixed.stderr)
    assert refused.returncode == 4
    assert "under [storage]" in refused.stderr
    check_objects(laptop, pages)
    check_objects(laptop, others, prefix="others/")
