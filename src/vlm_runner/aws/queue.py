"""EventBridge's messages over SQS: read, and deleted only by the process that handled them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vlm_runner.aws.errors import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    def __init__(self, client: Callable[[], Awaitable[Any]], url: str) -> None:
        self._client, self._url = client, url

    async def receive(self, seconds: int) -> list[Message]:
        client = await self._client()
        with translated(f"ReceiveMessage {self._url}"):
            answer = await client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MOST,
                WaitTimeSeconds=seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return [
            Message(
                body=str(item.get("Body", "")),
                receipt=str(item["ReceiptHandle"]),
                received=int(item.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            )
            for item in answer.get("Messages", ())
        ]

    async def delete(self, message: Message) -> None:
        client = await self._client()
        with translated(f"DeleteMessage {self._url}"):
            await client.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)

    async def put_back(self, message: Message, seconds: int) -> None:
        client = await self._client()
        with translated(f"ChangeMessageVisibility {self._url}"):
            await client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
            )


def region_of(url: str) -> str | None:
    """The region that a queue's URL names; None where it names none, as a sandbox's."""
    match = _REGION.match(url)
    return (match[1] or match[2]) if match is not None else None
