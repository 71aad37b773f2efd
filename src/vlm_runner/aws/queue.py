"""EventBridge's messages over SQS: read, and deleted only by the process that handled them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vlm_runner.aws.answers import AwsService

MOST = 10
"""Messages that one ReceiveMessage may return (SQS API reference)."""

_REGION = re.compile(r"https://(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.")


@dataclass(frozen=True, slots=True)
class Message:
    body: str
    receipt: str
    received: int = 1
    """How often it was handed out, this time included."""


class Queue(Protocol):
    async def receive(self, seconds: int) -> list[Message]:
        """What is there, or comes within `seconds`. Until it is deleted, each returns after a while."""

    async def delete(self, message: Message) -> None: ...

    async def put_back(self, message: Message, seconds: int) -> None:
        """Let others see it, after `seconds`."""


class SqsQueue:
    def __init__(self, service: AwsService, url: str) -> None:
        self._service, self._url = service, url

    async def receive(self, seconds: int) -> list[Message]:
        answer = await self._service.call(
            "ReceiveMessage",
            about=self._url,
            QueueUrl=self._url,
            MaxNumberOfMessages=MOST,
            WaitTimeSeconds=seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        # SQS leaves the list out where there are no messages.
        return [
            Message(
                body=item.optional_text("Body") or "",
                receipt=item.name("ReceiptHandle"),
                received=item.part("Attributes").parsed("ApproximateReceiveCount", int),
            )
            for item in answer.optional_parts("Messages")
        ]

    async def delete(self, message: Message) -> None:
        await self._service.call(
            "DeleteMessage", about=self._url, QueueUrl=self._url, ReceiptHandle=message.receipt
        )

    async def put_back(self, message: Message, seconds: int) -> None:
        await self._service.call(
            "ChangeMessageVisibility",
            about=self._url,
            QueueUrl=self._url,
            ReceiptHandle=message.receipt,
            VisibilityTimeout=seconds,
        )


def region_of(url: str) -> str | None:
    """The region that a queue's URL names; None where it names none, as a sandbox's."""
    match = _REGION.match(url)
    return (match[1] or match[2]) if match is not None else None
