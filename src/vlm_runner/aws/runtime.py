"""Bedrock Runtime through aioboto3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.aws.errors import translated
from vlm_runner.aws.ports import RuntimeReply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from types_aiobotocore_bedrock_runtime import BedrockRuntimeClient


class BedrockRuntime:
    def __init__(self, client: Callable[[], Awaitable[BedrockRuntimeClient]]) -> None:
        self._client = client

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        client = await self._client()
        with translated("Converse"):
            answer = await client.converse(**request)
        content = answer["output"]["message"]["content"]
        return RuntimeReply(
            text="".join(part["text"] for part in content if "text" in part),
            input_tokens=int(answer["usage"]["inputTokens"]),
            output_tokens=int(answer["usage"]["outputTokens"]),
            stop_reason=str(answer["stopReason"]),
        )

    async def invoke(self, model_id: str, body: bytes) -> bytes:
        client = await self._client()
        with translated("InvokeModel"):
            answer = await client.invoke_model(
                modelId=model_id, body=body, contentType="application/json", accept="application/json"
            )
            async with answer["body"] as stream:
                return bytes(await stream.read())
