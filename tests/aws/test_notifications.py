"""What is sent to SNS."""

from __future__ import annotations

from typing import Any

from vlm_runner.aws.notifications import AwsNotifier


class Sns:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def call(self, _: str, **parameters: Any) -> Sns:
        self.sent.append(parameters)
        return self

    def name(self, member: str) -> str:
        return member


async def test_a_subject_has_less_than_a_hundred_characters() -> None:
    """
    SNS API reference, Publish: less than 100; a run id may have 96.
    """
    sns: Any = Sns()
    event = {"subject": "c" * 96, "type": "vlm-runner.run.ended", "id": "1"}

    await AwsNotifier(sns, sns).publish("arn:aws:sns:us-east-1:123456789012:cats", event)

    assert len(sns.sent[0]["Subject"]) == 99
