"""Bedrock Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from vlm_runner.aws.ports import RuntimeReply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vlm_runner.aws.answers import AwsService

T = TypeVar("T")


class BedrockRuntime:
    def __init__(self, service: AwsService) -> None:
        self._service = service

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        answer = await self._service.call("Converse", **request)
        content = answer.part("output").part("message").parts("content")
        usage = answer.part("usage")
        return RuntimeReply(
            text="".join(part.optional_text("text") or "" for part in content),
            input_tokens=usage.count("inputTokens"),
            output_tokens=usage.count("outputTokens"),
            stop_reason=answer.name("stopReason"),
        )

    async def invoke(self, model_id: str, body: bytes, read: Callable[[dict[str, Any]], T]) -> T:
        answer = await self._service.call(
            "InvokeModel",
            modelId=model_id,
            body=body,
            contentType="application/json",
            accept="application/json",
        )
        return await answer.json_body("body", read)
