"""Publish run events to EventBridge and SNS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import AwsRefused

if TYPE_CHECKING:
    from vlm_runner.aws.answers import AwsService


class AwsNotifier:
    """Both take a CloudEvent whole: rules and filters look into it."""

    def __init__(self, events: AwsService, sns: AwsService) -> None:
        self._events, self._sns = events, sns

    async def put_event(self, bus: str, event: dict[str, Any]) -> None:
        """
        Raises:
            AwsRefused: EventBridge takes the request and still refuses the event.
        """
        answer = await self._events.call(
            "PutEvents",
            Entries=[
                {
                    "EventBusName": bus,
                    "Source": "vlm-runner",
                    "DetailType": event["type"],
                    "Detail": json.dumps(event),
                }
            ],
        )
        entry = answer.only("Entries")
        if (code := entry.optional_name("ErrorCode")) is not None:
            raise AwsRefused(f"EventBridge refused the event: {code}.", code=code)
        entry.name("EventId")

    async def publish(self, topic_arn: str, event: dict[str, Any]) -> None:
        ordered = {}
        if topic_arn.endswith(".fifo"):
            ordered = {
                "MessageGroupId": event["subject"],
                "MessageDeduplicationId": event["id"].replace("/", "-"),
            }
        answer = await self._sns.call(
            "Publish",
            TopicArn=topic_arn,
            Subject=f"vlm-runner {event['subject']}"[:99],  # less than 100 (SNS API reference, Publish)
            Message=json.dumps(event),
            MessageAttributes={
                "type": {"DataType": "String", "StringValue": event["type"]},
                "runId": {"DataType": "String", "StringValue": event["subject"]},
            },
            **ordered,
        )
        answer.name("MessageId")
