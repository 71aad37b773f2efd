"""Publish run events to EventBridge and SNS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vlm_runner.aws.errors import translated
from vlm_runner.errors import AwsRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class AwsNotifier:
    """Both take a CloudEvent whole: rules and filters look into it."""

    def __init__(self, events: Callable[[], Awaitable[Any]], sns: Callable[[], Awaitable[Any]]) -> None:
        self._events, self._sns = events, sns

    async def put_event(self, bus: str, event: dict[str, Any]) -> None:
        """
        Raises:
            AwsRefused: EventBridge takes the request and still refuses the event.
        """
        client = await self._events()
        with translated("PutEvents"):
            answer = await client.put_events(
                Entries=[
                    {
                        "EventBusName": bus,
                        "Source": "vlm-runner",
                        "DetailType": event["type"],
                        "Detail": json.dumps(event),
                    }
                ]
            )
        if answer.get("FailedEntryCount"):
            entry = answer["Entries"][0]
            raise AwsRefused(
                f"EventBridge refused the event: {entry.get('ErrorCode')}.", code=entry.get("ErrorCode")
            )

    async def publish(self, topic_arn: str, event: dict[str, Any]) -> None:
        client = await self._sns()
        ordered = {}
        if topic_arn.endswith(".fifo"):
            ordered = {
                "MessageGroupId": event["subject"],
                "MessageDeduplicationId": event["id"].replace("/", "-"),
            }
        with translated("Publish"):
            await client.publish(
                TopicArn=topic_arn,
                Subject=f"vlm-runner {event['subject']}"[:100],
                Message=json.dumps(event),
                MessageAttributes={
                    "type": {"DataType": "String", "StringValue": event["type"]},
                    "runId": {"DataType": "String", "StringValue": event["subject"]},
                },
                **ordered,
            )
