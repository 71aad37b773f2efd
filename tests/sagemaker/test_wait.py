"""How `vlm-runner sagemaker wait` ends, for every status that SageMaker knows."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from vlm_runner.aws.sagemaker import Execution, StepState
from vlm_runner.aws.session import AwsSession
from vlm_runner.cli.sagemaker import sagemaker
from vlm_runner.errors import AwsUnavailable

ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/vlm-runner/execution/abcdefabcdef"


class FakeService:
    """One execution that goes through `statuses`, one a look, and stays at the last."""

    def __init__(self, *statuses: str | Exception) -> None:
        self.statuses = list(statuses)

    async def executions(self, name: str, *, label: str) -> list[Execution]:
        return [Execution(ARN, "Executing", name=label)]

    async def describe(self, arn: str) -> Execution:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        steps = (
            StepState("UploadImages", "Succeeded"),
            StepState("Train", "Failed", "ClientError", said="No."),
        )
        return Execution(arn, status, steps=steps if "Fail" in status else steps[:1])


def wait(monkeypatch: pytest.MonkeyPatch, *statuses: str | Exception, timeout: str = "1h") -> Any:
    service = FakeService(*statuses)
    monkeypatch.setattr(AwsSession, "sagemaker", lambda _: service)
    words = ["wait", "cats", "--poll", "0", "--timeout", timeout, "--region", "us-east-1"]
    return CliRunner().invoke(sagemaker, words)


@pytest.mark.parametrize(
    ("status", "code"),
    [("Succeeded", 0), ("Failed", 100), ("CompletedWithFailures", 100), ("Stopped", 103)],
)
def test_every_end_is_an_end(monkeypatch: pytest.MonkeyPatch, status: str, code: int) -> None:
    done = wait(monkeypatch, "Executing", status)

    assert done.exit_code == code
    assert f"{ARN}: {status}" in done.stdout


@pytest.mark.parametrize("status", ["Executing", "Stopping", "SomethingNew"])
def test_nothing_else_is_an_end(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    assert wait(monkeypatch, *[status] * 20, "Succeeded").exit_code == 0
    assert wait(monkeypatch, status, timeout="0s").exit_code == 101


@pytest.mark.parametrize("status", ["Failed", "CompletedWithFailures"])
def test_the_failed_step_is_named_with_its_last_word(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    done = wait(monkeypatch, "Executing", status)

    assert "step Train failed: No. ClientError" in done.stderr


def test_an_answer_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done = wait(monkeypatch, AwsUnavailable("Timed out."), "Succeeded")

    assert done.exit_code == 0
    assert "Timed out. Looking again." in done.stderr
