"""What answers need not be AWS: it may trickle, have no end, or send us elsewhere."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from vlm_runner.aws import answers, session, transport
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import AwsUnavailable, NotFound, UncertainCreate
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PAGE = b"<html><body>Sign in<br></html>"
JSON = "application/json"
REQUEST = {
    "jobName": "cats",
    "customModelName": "cats",
    "roleArn": "arn:aws:iam::123456789012:role/bedrock-sft",
    "baseModelIdentifier": "amazon.nova-lite-v1:0:300k",
    "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
    "outputDataConfig": {"s3Uri": "s3://bucket/out/"},
    "hyperParameters": {},
}


def head(status: int, kind: str = "text/html", length: int | None = None, more: str = "") -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} So\r\nContent-Type: {kind}\r\n{size}{more}\r\n".encode()


@asynccontextmanager
async def answering(say: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[AwsSession]:
    """A session whose every request is answered by `say`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await say(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AwsSession(region="us-east-1", endpoint_url=f"http://127.0.0.1:{port}") as aws:
        yield aws


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "USES", dict.fromkeys(session.USES, (1, 0.5, 0.5)))
    monkeypatch.setattr(answers, "BODY_SECONDS", 0.5)


async def trickle(writer: asyncio.StreamWriter) -> None:
    for _ in range(200):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("begun", [b"HTTP/1.1 ", head(200, JSON, 1000)])
async def test_what_trickles_is_no_answer(begun: bytes) -> None:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await trickle(writer)

    async with answering(say) as aws, asyncio.timeout(8):
        with pytest.raises(AwsUnavailable):
            await aws.bedrock.find_job("cats")
        with pytest.raises(UncertainCreate):
            await aws.bedrock.create_job(REQUEST)


@pytest.mark.usefixtures("hurried")
async def test_a_stored_object_that_trickles_is_no_answer() -> None:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, JSON, 1000, 'ETag: "0"\r\n'))
        await trickle(writer)

    async with answering(say) as aws, asyncio.timeout(8):
        with pytest.raises(AwsUnavailable):
            await aws.state_objects("bucket").get("cats/state.json")
        with pytest.raises(AwsUnavailable):
            _ = [piece async for piece in aws.objects("bucket", owner=None).read("data/train.jsonl")]


@pytest.mark.usefixtures("hurried")
async def test_an_answer_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 1024)

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, JSON, 4096) + b" " * 4096)
        await writer.drain()

    async with answering(say) as aws:
        with pytest.raises(AwsUnavailable, match="more than 1,024 bytes"):
            await aws.bedrock.find_job("cats")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_nothing_that_is_signed_for_aws_is_sent_to_where_a_redirect_leads(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "USES", dict.fromkeys(session.USES, (1, 5, 5)))
    asked: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    location = f"Location: http://127.0.0.1:{other.sockets[0].getsockname()[1]}/\r\n"

    answers_given: list[int] = []

    async def say(writer: asyncio.StreamWriter) -> None:
        answers_given.append(status)
        writer.write(head(status, length=len(PAGE), more=location) + PAGE)
        await writer.drain()

    async with other, answering(say) as aws:
        with pytest.raises(AwsUnavailable):
            await aws.bedrock.find_job("cats")
        with pytest.raises(UncertainCreate):
            await aws.bedrock.create_job(REQUEST)
        with pytest.raises(AwsUnavailable):
            await aws.account.caller()
        for objects in (aws.state_objects("bucket"), aws.objects("bucket", owner=None)):
            for put in (objects.put, objects.put_once):
                with pytest.raises(AwsUnavailable):
                    await put("images/0.png", b"pixels", content_type="image/png")
    assert asked == []
    assert len(answers_given) < 20


@pytest.mark.parametrize("page", [PAGE, b"<html></html>", b"", b"Not here."])
@pytest.mark.parametrize("status", [400, 403, 404, 407, 410])
async def test_a_refusal_that_is_not_of_aws_says_nothing(status: int, page: bytes) -> None:
    """A portal's 404 to whatever it is asked would end the run of a job that trains."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, length=len(page)) + page)
        await writer.drain()

    async with answering(say) as aws:
        for ask in (
            aws.bedrock.find_job("cats"),
            aws.bedrock.delete_endpoint(ServingMode.PROVISIONED, "cats"),
            aws.scheduler.delete("cats"),
            aws.account.caller(),
            aws.state_objects("bucket").put_if("cats/state.json", b"{}", replacing=None),
            aws.objects("bucket", owner=None).put_once("images/0.png", b"pixels", content_type="image/png"),
        ):
            with pytest.raises(AwsUnavailable):
                await ask
        with pytest.raises(UncertainCreate):
            await aws.bedrock.create_job(REQUEST)


async def test_a_refusal_with_an_id_of_a_request_is_of_aws() -> None:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head(404, JSON, 2, "x-amzn-RequestId: 0\r\n") + b"{}")
        await writer.drain()

    async with answering(say) as aws:
        assert await aws.bedrock.find_job("cats") is None
        with pytest.raises(NotFound):
            await aws.bedrock.tags("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl")


async def test_one_endpoint_that_cannot_be_read_keeps_none_beside_it_from_view() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl"
    sound = {"provisionedModelArn": arn, "provisionedModelName": "vr-cats", "status": "InService"}
    page = json.dumps({"provisionedModelSummaries": [sound | {"status": None}, sound]}).encode()

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, JSON, len(page)) + page)
        await writer.drain()

    async with answering(say) as aws:
        listed = aws.bedrock.list_endpoints(ServingMode.PROVISIONED, "vr-")
        assert (await anext(listed)).arn == arn
        with pytest.raises(AwsUnavailable):
            await anext(listed)
