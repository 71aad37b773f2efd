"""The sandbox as its own process, and its own endpoints."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import aioboto3
import pytest

from vlm_runner.sandbox import Sandbox, SandboxOptions

from .desk import Desk


def test_starts_answers_and_stops_on_sigterm(tmp_path: Path) -> None:
    ready, breath = tmp_path / "url", threading.Event()
    command = [sys.executable, "-m", "vlm_runner.sandbox", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen([*command, "--as-of", "2025-11-01"], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            breath.wait(0.02)
        url = ready.read_text().strip()
        with urllib.request.urlopen(f"{url}/_sandbox/clock") as reply:
            clock = json.load(reply)
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)

        assert url.startswith("http://127.0.0.1:")
        assert clock["now"].startswith("2025-11-01")
        assert process.returncode == 0
        assert errors == b""
        assert time.monotonic() - stopped < 3
    finally:
        process.kill()
        process.wait()


def test_the_clock_runs_as_fast_as_told(desk: Desk) -> None:
    before = datetime.fromisoformat(desk.call("GET", "clock")["now"])
    desk.call("POST", "clock", {"advance_seconds": 3600, "speed": 100_000})
    after = datetime.fromisoformat(desk.call("POST", "clock", {"speed": 1})["now"])

    assert (after - before).total_seconds() > 3600


def test_jobs_move_on_without_being_asked(desk: Desk) -> None:
    """The ticker alone brings files, model and event; nothing asks over HTTP."""
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.call("POST", "clock", {"speed": 100_000})
    try:
        deadline = time.monotonic() + 20
        region = desk.sandbox.state.region("us-east-1")
        while not region.models:
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
    finally:
        desk.call("POST", "clock", {"speed": 1})


async def test_aioboto3_speaks_to_it(desk: Desk) -> None:
    session = aioboto3.Session("AKIDEXAMPLE", "secret", region_name="us-east-1")
    async with session.client("s3", endpoint_url=desk.sandbox.url) as s3:
        await s3.create_bucket(Bucket="from-aio")
        await s3.put_object(Bucket="from-aio", Key="k", Body=b"x")
        body = await (await s3.get_object(Bucket="from-aio", Key="k"))["Body"].read()
    async with session.client("bedrock", endpoint_url=desk.sandbox.url) as bedrock:
        models = await bedrock.list_foundation_models()

    assert body == b"x"
    assert len(models["modelSummaries"]) == 6


@pytest.mark.parametrize(
    ("path", "body"),
    [("scenario", {"typo": 1}), ("faults", [{"kind": "error"}]), ("clock", {"advance": 1})],
)
def test_misspelt_orders_are_refused(desk: Desk, path: str, body: object) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        desk.call("POST", path, body)

    assert caught.value.code == 400
    assert "error" in json.load(caught.value)


def test_calls_are_counted_and_told_apart(desk: Desk) -> None:
    desk.bedrock.list_foundation_models()
    desk.s3.list_buckets()
    calls = desk.call("GET", "calls")

    assert calls["counts"] == {"ListFoundationModels": 1, "ListBuckets": 1}
    assert [(call["service"], call["region"], call["access_key"]) for call in calls["recent"]] == [
        ("bedrock", "us-east-1", "AKIDEXAMPLE"),
        ("s3", "us-east-1", "AKIDEXAMPLE"),
    ]


def test_another_account_is_another_account() -> None:
    with Sandbox(SandboxOptions(account="210987654321")) as running:
        desk = Desk(running)
        desk.make_bucket("of-another")
        owned = desk.s3.head_bucket(Bucket="of-another", ExpectedBucketOwner="210987654321")

        assert owned["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert desk.client("sts").get_caller_identity()["Account"] == "210987654321"
