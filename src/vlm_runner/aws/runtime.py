"""Bedrock Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from vlm_runner.aws.ports import RuntimeReply
from vlm_runner.core.counts import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from vlm_runner.aws.answers import AwsService

T = TypeVar("T")


class BedrockRuntime:
    def __init__(self, calls: AwsService, streams: AwsService) -> None:
        """`calls` are repeated by whoever makes them, streams by their client until they begin."""
        self._calls, self._streams = calls, streams

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        answer = await self._calls.call("Converse", **request)
        content = answer.part("output").part("message").parts("content")
        usage = answer.part("usage")
        return RuntimeReply(
            text="".join(part.optional_text("text") or "" for part in content),
            input_tokens=usage.count("inputTokens", MOST_TOKENS),
            output_tokens=usage.count("outputTokens", MOST_TOKENS),
            stop_reason=answer.name("stopReason"),
        )

    async def converse_stream(self, request: Mapping[str, Any]) -> AsyncIterator[str | RuntimeReply]:
        answer = await self._streams.call("ConverseStream", **request)
        text: list[str] = []
        stop_reason, usage = None, None
        # Each event has one member, which says what it is (Bedrock API reference, ConverseStreamOutput).
        with answer.closing("stream"):
            async for event in answer.events("stream"):
                piece = event.optional_part("contentBlockDelta").optional_part("delta").optional_text("text")
                if piece:
                    text.append(piece)
                    yield piece
                stop_reason = event.optional_part("messageStop").optional_name("stopReason") or stop_reason
                if event.has("metadata"):
                    usage = event.part("metadata").part("usage")
        if usage is None or stop_reason is None:
            raise answer.malformed("the end of an answer", "stream", None)
        yield RuntimeReply(
            text="".join(text),
            input_tokens=usage.count("inputTokens", MOST_TOKENS),
            output_tokens=usage.count("outputTokens", MOST_TOKENS),
            stop_reason=stop_reason,
        )

    async def invoke(self, model_id: str, body: bytes, read: Callable[[dict[str, Any]], T]) -> T:
        answer = await self._calls.call(
            "InvokeModel",
            modelId=model_id,
            body=body,
            contentType="application/json",
            accept="application/json",
        )
        return await answer.json_body("body", read)
