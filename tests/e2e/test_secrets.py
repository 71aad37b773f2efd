"""Secrets stay where they are: no log, event, checkpoint, report, answer or error has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-secret-key",
    "AWS_SESSION_TOKEN": "canary-of-the-session-token",
    "HF_TOKEN": "hf_canaryOfTheHubToken",
    "VLM_RUNNER_HF_TOKEN": "hf_canaryOfTheSettings",
    "VLM_RUNNER_EVENTS__WEBHOOK_SECRET": "canary-of-the-webhook",
    "VLM_RUNNER_EVENTS__WEBHOOK": "http://someone:canary-of-the-password@127.0.0.1:9/hook?key=canary-of-the-path",
}


def leaks(text: str) -> list[str]:
    return [
        value
        for value in (*CANARIES.values(), "canary-of-the-password", "canary-of-the-path")
        if value in text
    ]


def everything(laptop: Laptop) -> str:
    """All that a run leaves, on disk and in S3."""
    files = [path.read_bytes() for path in (laptop.home / "store").rglob("*") if path.is_file()]
    s3 = laptop.boto("s3")
    for bucket in (each["Name"] for each in s3.list_buckets()["Buckets"]):
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        files += [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    return b"\n".join(files).decode(errors="replace")


def test_a_whole_run_leaves_no_secret_anywhere(laptop: Laptop, pages: Path) -> None:
    done = laptop.cli(
        "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", "-v", timeout=90, **CANARIES
    )
    page = laptop.home / "report.html"
    reported = laptop.cli("report", "cats", "-o", str(page), timeout=90, **CANARIES)
    looked = [
        laptop.cli(*words, timeout=90, **CANARIES)
        for words in (["status", "cats", "--json"], ["events", "cats"])
    ]

    assert done.returncode == 0, done.stderr
    assert reported.returncode == 0, reported.stderr
    said = "".join(each.stdout + each.stderr for each in (done, reported, *looked))
    assert leaks(said) == []
    assert leaks(everything(laptop)) == []
    assert leaks(page.read_text()) == []
    assert leaks(json.dumps(laptop.ask("ledger"))) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": "AccessDeniedException", "status": 403},
        {"kind": "error", "code": "ExpiredTokenException", "status": 403},
        {"kind": "reset_before"},
    ],
    ids=lambda fault: fault.get("code", fault["kind"]),
)
def test_errors_tell_no_secret(laptop: Laptop, pages: Path, fault: dict[str, object]) -> None:
    laptop.ask("faults", [fault | {"operation": "GetFoundationModel", "times": None}])

    done = laptop.cli(
        "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", "-v", timeout=90, **CANARIES
    )

    assert done.returncode != 0
    assert leaks(done.stdout + done.stderr) == []


def test_settings_that_do_not_fit_are_named_without_their_values(laptop: Laptop, pages: Path) -> None:
    done = laptop.cli(
        "start",
        str(laptop.spec(pages)),
        "--yes",
        VLM_RUNNER_QUEUE_URL="canary-of-the-secret-key",
        timeout=90,
        **CANARIES,
    )

    assert done.returncode == 4
    assert "queue_url" in done.stderr
    assert leaks(done.stdout + done.stderr) == []
