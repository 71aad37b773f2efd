"""Each thing that the original notebook got wrong, and would again be caught at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .laptop import ACCOUNT, Laptop

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = f"vlm-accessibility-{ACCOUNT}-us-east-1"


def records(laptop: Laptop, split: str) -> list[dict[str, Any]]:
    body = laptop.boto("s3").get_object(Bucket=BUCKET, Key=f"data/{split}.jsonl")["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def test_the_html_is_in_the_prompt_and_tags_match(laptop: Laptop, pages: Path) -> None:
    """
    The notebook's prompt never held the HTML, and its answers used other tags than its instructions.
    """
    laptop.here("start", str(laptop.spec(pages, serving='mode = "none"')), "--yes", "--run-id", "cats")

    for number, record in enumerate(records(laptop, "train")):
        system = record["system"][0]["text"]
        user, assistant = record["messages"]
        asked = "".join(part.get("text", "") for part in user["content"])
        answer = assistant["content"][0]["text"]
        assert f"<h1>Page {number}</h1>" in asked
        for tag in ("thought", "solution"):
            assert f"<{tag}>" in str(system)
            assert answer.count(f"<{tag}>") == answer.count(f"</{tag}>") == 1


def test_each_split_is_iterated_by_its_own_rows(laptop: Laptop, pages: Path) -> None:
    """
    The notebook iterated over the dataset's splits where it meant one split's rows.
    """
    laptop.here("start", str(laptop.spec(pages, serving='mode = "none"')), "--yes", "--run-id", "cats")

    assert len(records(laptop, "train")) == 12
    assert len(records(laptop, "validation")) == 4
    listed = laptop.boto("s3").list_objects_v2(Bucket=BUCKET, Prefix="images/")["Contents"]
    assert sum(item["Key"].startswith("images/train/") for item in listed) == 12
    assert sum(item["Key"].startswith("images/validation/") for item in listed) == 4


def test_an_upload_that_fails_ends_the_run_resumably(laptop: Laptop, pages: Path) -> None:
    """
    The notebook printed upload errors and trained on what was left.
    """
    laptop.ask(
        "faults",
        [{"operation": "PutObject", "kind": "error", "code": "AccessDenied", "status": 403,
          "times": 1, "key_contains": "images/train/003"}],
    )  # fmt: skip

    refused = laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    assert refused.returncode == 5, refused.stderr
    assert "images/train/003.png" in refused.stderr
    assert laptop.paid("customization_job") == []
    resumed = laptop.here("resume", "cats")
    assert resumed.returncode == 0, resumed.stderr
    assert len(records(laptop, "train")) == 12


def test_a_failed_job_is_a_failed_run_with_its_reason(laptop: Laptop, pages: Path) -> None:
    """
    The notebook took Failed for done, and went on to rent a throughput.
    """
    laptop.ask("scenario", {"fail_next_job": "Encountered an unexpected error when processing the request"})

    failed = laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    assert failed.returncode == 100, failed.stderr
    assert "Encountered an unexpected error" in failed.stdout
    assert laptop.paid("provisioned_throughput") == []


def test_a_failed_throughput_is_deleted(laptop: Laptop, pages: Path) -> None:
    """
    The notebook took a throughput that is not Creating for one that can be called.
    """
    laptop.ask("scenario", {"fail_next_throughput": "Insufficient capacity"})

    failed = laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    assert failed.returncode == 100, failed.stderr
    assert "Insufficient capacity" in failed.stdout
    laptop.assert_paid_once_and_over()


def test_a_test_call_that_fails_still_releases_the_throughput(laptop: Laptop, pages: Path) -> None:
    """
    The notebook left its throughput running at $23 an hour.
    """
    laptop.ask(
        "faults",
        [
            {
                "operation": "Converse",
                "kind": "error",
                "code": "ValidationException",
                "status": 400,
                "times": 9,
            }
        ],
    )

    failed = laptop.here("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    assert failed.returncode == 5, failed.stderr
    assert "Converse" in failed.stdout
    laptop.assert_paid_once_and_over()
