"""The command, against the sandbox: what it prints, and with what it exits."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner

from vlm_runner.aws.bedrock import BedrockControl
from vlm_runner.cli import cli, reap_endpoints
from vlm_runner.errors import AccessDenied
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.spec import ServingMode
from vlm_runner.steps.custom_models import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Sandbox(SandboxOptions(model_units=2)) as sandbox:
        yield sandbox.url


def rent(url: str) -> str:
    bedrock = boto3.client("bedrock", region_name="us-east-1", endpoint_url=url)
    answer = bedrock.create_provisioned_model_throughput(
        provisionedModelName="vr-cats-0",
        modelId="amazon.nova-lite-v1:0:300k",
        modelUnits=1,
        tags=[
            {"key": "vlm-runner:run-uid", "value": "0" * 32},
            {"key": "vlm-runner:run-id", "value": "cats"},
        ],
    )
    return str(answer["provisionedModelArn"])


def advance(url: str, seconds: float) -> None:
    body = json.dumps({"advance_seconds": seconds}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/clock", body, method="POST")):
        pass


def test_a_forgotten_throughput_is_alarmed_about_and_deleted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_RUNNER_POLL__GONE_AFTER", "0.02")

    def run(*flags: str) -> Any:
        where = ["--region", "us-east-1", "--endpoint-url", url, "--store", str(tmp_path)]
        return CliRunner().invoke(cli, ["reap", *flags, *where])

    nothing = run()
    arn = rent(url)
    unknown, dry, creating = run(), run("--older-than", "0s"), run("--older-than", "0s", "--yes")
    advance(url, 7200)
    deleted = run("--older-than", "0s", "--yes", "--json")
    after = run()

    codes = [result.exit_code for result in (nothing, unknown, dry, creating, deleted, after)]
    assert codes == [0, 104, 104, 104, 0, 0], dry.output
    assert "UNEXPLAINED" in unknown.stdout
    assert (
        f"delete it with: aws bedrock delete-provisioned-model-throughput --provisioned-model-id {arn}"
        in dry.stderr
    )
    assert "OUTLIVED" in dry.stdout
    assert json.loads(deleted.stdout)[0]["deleted"]


def test_what_one_list_shows_is_deleted_though_another_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_RUNNER_POLL__GONE_AFTER", "0.02")
    listed = BedrockControl.list_endpoints

    def denied(self: BedrockControl, mode: ServingMode, name: str) -> Any:
        if mode is ServingMode.ON_DEMAND:
            raise AccessDenied("bedrock:ListCustomModelDeployments: no.")
        return listed(self, mode, name)

    monkeypatch.setattr(BedrockControl, "list_endpoints", denied)
    where = ["--region", "us-east-1", "--endpoint-url", url, "--store", str(tmp_path)]
    rent(url)
    advance(url, 7200)

    result = CliRunner().invoke(cli, ["reap", "--older-than", "0s", "--yes", *where])

    assert (result.exit_code, result.stdout.split()[0]) == (5, "deleted"), result.output
    assert "Not everything could be listed: bedrock:ListCustomModelDeployments" in result.stderr


def test_what_to_do_about_a_run_that_cannot_be_read_is_said_where_models_are_kept_for_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclear = TrainedModel(
        arn="arn:aws:bedrock:us-east-1:123456789012:custom-model/m/abc",
        name="vr-cats",
        run_id="cats",
        created_at=datetime(2020, 1, 1, tzinfo=UTC),
        status="Active",
        kept=False,
        endpoints=(),
        trouble="it may be used by runs that cannot be read: broken",
    )

    async def one_unclear(*_: object) -> list[TrainedModel]:
        return [unclear]

    monkeypatch.setattr(reap_endpoints, "trained_models", one_unclear)
    where = ["--region", "us-east-1", "--endpoint-url", url, "--store", str(tmp_path)]

    result = CliRunner().invoke(cli, ["reap", "--models", "--older-than", "1d", "--yes", *where])

    assert result.exit_code == 0
    assert result.stdout.startswith("unclear")
    assert "runs that cannot be read: broken" in result.stderr
    assert "vlm-runner list" in result.stderr
    assert "delete-custom-model" in result.stderr


def test_without_a_region_it_asks_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "VLM_RUNNER_REGION"):
        monkeypatch.delenv(name, raising=False)

    result = CliRunner().invoke(cli, ["reap", "--store", str(tmp_path)])

    assert "--region" in str(result.exception)
