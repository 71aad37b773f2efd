"""What a queue's messages do to a wait, on virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from vlm_runner.aws.queue import Message, region_of
from vlm_runner.errors import AwsRefused
from vlm_runner.steps.job_wakeups import JobWakeups, subject
from vlm_runner.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OURS = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/nova/aaaaaaaaaaaa"
THEIRS = OURS.replace("aaaa", "bbbb")


def event(arn: str, status: str = "Completed") -> str:
    detail = {"jobArn": arn, "jobStatus": status}
    return json.dumps({"detail-type": "Model Customization Job State Change", "detail": detail})


class FakeQueue:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.hidden: list[tuple[float, Message]] = []
        self.deleted: list[str] = []
        self.put_back_for: list[int] = []
        self.receives = 0
        self.error: Exception | None = None

    def send(self, body: str) -> None:
        self.messages.append(Message(body, receipt=f"r{len(self.messages)}", received=0))

    async def receive(self, seconds: int) -> list[Message]:
        self.receives += 1
        if self.error is not None:
            raise self.error
        until = _now() + seconds
        while _now() < until and not self._visible():  # noqa: ASYNC110 - SQS, too, looks again and again
            await asyncio.sleep(0.25)
        taken = [replace(message, received=message.received + 1) for message in self._visible()]
        self.messages = []
        return taken

    def _visible(self) -> list[Message]:
        self.messages += [message for at, message in self.hidden if at <= _now()]
        self.hidden = [(at, message) for at, message in self.hidden if at > _now()]
        return self.messages

    async def delete(self, message: Message) -> None:
        self.deleted.append(message.body)

    async def put_back(self, message: Message, seconds: int) -> None:
        self.put_back_for.append(seconds)
        self.hidden.append((_now() + seconds, message))


def _now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
async def bell(queue: FakeQueue, told: list[str]) -> AsyncIterator[JobWakeups]:
    bell = JobWakeups(queue, FakeClock(), told.append)
    listening = asyncio.create_task(bell.listen())
    yield bell
    listening.cancel()


async def test_a_message_ends_the_rest_and_is_deleted(bell: JobWakeups, queue: FakeQueue) -> None:
    began = _now()
    asyncio.get_running_loop().call_later(7, queue.send, event(OURS))

    woken = await bell.rest(60, OURS)

    assert woken
    assert 7 <= _now() - began < 8
    await asyncio.sleep(1)
    assert queue.deleted == [event(OURS)]


async def test_without_a_message_the_timer_ends_it(bell: JobWakeups) -> None:
    began = _now()

    assert not await bell.rest(60, OURS)

    assert _now() - began == 60


async def test_a_message_that_was_there_before_wakes_at_once(bell: JobWakeups, queue: FakeQueue) -> None:
    queue.send(event(OURS))
    began = _now()

    assert await bell.rest(60, OURS)

    assert _now() - began < 1


@pytest.mark.parametrize(
    "body",
    [
        event(THEIRS),
        "",
        "no json",
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        "{}",
        '{"detail-type": "Model Customization Job State Change"}',
        '{"detail-type": "Model Customization Job State Change", "detail": {"jobArn": 7}}',
        '{"detail-type": "Model Customization Job State Change", "detail": "x"}',
        event(OURS).replace("Model Customization", "Batch Inference"),
    ],
    ids=range(12),
)
async def test_what_is_not_ours_is_left_to_others_and_asked_for_ever_more_rarely(
    bell: JobWakeups, queue: FakeQueue, body: str
) -> None:
    queue.send(body)

    assert not await bell.rest(120, OURS)

    assert queue.deleted == []
    assert queue.put_back_for[:4] == [1, 2, 3, 4]
    assert queue.receives < 30


async def test_a_second_copy_is_deleted_and_costs_one_look(bell: JobWakeups, queue: FakeQueue) -> None:
    queue.send(event(OURS))
    queue.send(event(OURS))

    assert await bell.rest(60, OURS)
    await asyncio.sleep(1)

    assert queue.deleted == [event(OURS)] * 2


async def test_what_comes_between_two_rests_is_not_lost(bell: JobWakeups, queue: FakeQueue) -> None:
    await bell.rest(1, OURS)
    queue.send(event(OURS))
    await bell.rest(5, THEIRS)
    began = _now()

    assert await bell.rest(60, OURS)

    assert _now() - began < 1


async def test_a_missing_queue_is_told_once_and_the_timer_goes_on(
    bell: JobWakeups, queue: FakeQueue, told: list[str]
) -> None:
    queue.error = AwsRefused("ReceiveMessage: the queue does not exist.")
    began = _now()

    for _ in range(20):
        assert not await bell.rest(60, OURS)

    assert _now() - began == 1200
    assert told == [
        "ReceiveMessage: the queue does not exist. Job states are asked for by the timer instead."
    ]
    assert queue.receives < 15


async def test_a_queue_that_comes_back_is_listened_to_again(
    bell: JobWakeups, queue: FakeQueue, told: list[str]
) -> None:
    queue.error = AwsRefused("no")
    await bell.rest(60, OURS)
    queue.error = None
    queue.send(event(OURS))

    assert await bell.rest(400, OURS)
    assert len(told) == 1


async def test_nobody_waits_so_nothing_is_received(bell: JobWakeups, queue: FakeQueue) -> None:
    await asyncio.sleep(3600)
    assert queue.receives == 0

    await bell.rest(1, OURS)
    await asyncio.sleep(3600)

    assert queue.receives <= 2


async def test_many_waits_share_one_queue_and_each_hears_its_own(bell: JobWakeups, queue: FakeQueue) -> None:
    woken_at: dict[str, float] = {}
    began = _now()

    async def wait(arn: str) -> None:
        await bell.rest(60, arn)
        woken_at[arn] = _now() - began

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(wait, f"{OURS}{number}")
            asyncio.get_running_loop().call_later(number / 10, queue.send, event(f"{OURS}{number}"))

    assert all(woken_at[f"{OURS}{number}"] <= number / 10 + 1 for number in range(100))
    assert len(queue.deleted) == 100


def test_the_region_of_a_queue_is_read_off_its_url() -> None:
    assert region_of("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs") == "eu-west-1"
    assert region_of("https://us-east-1.queue.amazonaws.com/123456789012/jobs") == "us-east-1"
    assert region_of("http://127.0.0.1:4599/123456789012/jobs") is None


def test_only_events_about_customization_jobs_have_a_subject() -> None:
    assert subject(event(OURS, "Failed")) == OURS
    assert subject(event(OURS).replace("detail-type", "type")) is None
