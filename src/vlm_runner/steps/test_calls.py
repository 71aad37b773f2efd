"""
TESTING: ask the tuned model about rows, as it was trained to be asked.

Questions come from the JSONL files in S3 and not from the dataset, so they are the trained prompts to the
letter, on any machine, whatever became of the dataset.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from vlm_runner.aws.ports import Reply
from vlm_runner.core.events import EndpointFailed, TestAnswer, TestsAnswered
from vlm_runner.core.names import run_prefix
from vlm_runner.core.signals import TestAnswered
from vlm_runner.errors import AwsRefused, AwsUnavailable, NotFound
from vlm_runner.groups import task_group
from vlm_runner.ingest.images import downscaled
from vlm_runner.models import converse_request, family_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.commands import RunTests
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile
    from vlm_runner.spec import TestSpec
    from vlm_runner.steps.ports import Ports

WARM_UP_PATIENCE = 600.0
"""
Seconds that an endpoint may say that it is not ready, or too busy, for one call.

The SDK's own retries of ModelNotReadyException end within ten seconds.
"""

FIRST_ANSWER_CHARACTERS = 4000
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Picture:
    body: bytes
    format: str


@dataclass(frozen=True, slots=True)
class Question:
    row: int
    system: str | None
    user: str
    image_key: str
    image_format: str
    reference: str


@dataclass(frozen=True, slots=True)
class Asked:
    question: Question
    picture: Picture
    test: TestSpec
    profile: ModelProfile


async def run_tests(command: RunTests, ports: Ports) -> TestsAnswered | EndpointFailed:
    """
    Ask, and keep every answer in `runs/RUN/answers.jsonl`.

    Raises:
        AwsRefused: a call was refused for a reason that waiting does not change.
        AwsUnavailable: an endpoint was not ready within WARM_UP_PATIENCE.
    """
    run = command.run
    objects = ports.bucket_of(run)
    questions, held_out = await _questions(run, objects)
    answers: dict[int, dict[str, Any]] = {}
    slots = anyio.Semaphore(AT_ONCE)

    async def ask(question: Question) -> None:
        async with slots:
            answers[question.row] = await _answer(question, command, objects, ports)
        ports.signal(TestAnswered(done=len(answers), asked=len(questions)))

    try:
        async with task_group() as group:
            for question in questions:
                group.start_soon(ask, question)
    except NotFound as error:
        return EndpointFailed(reason=f"{command.endpoint_arn} went away while it was tested: {error.message}")
    return await _keep(run, objects, [answers[row] for row in sorted(answers)], held_out=held_out)


async def _keep(
    run: Run, objects: Objects, answers: list[dict[str, Any]], *, held_out: bool
) -> TestsAnswered:
    if not answers:
        return TestsAnswered(uri=None, asked=0, held_out=held_out)
    key = f"{run_prefix(run.spec.storage.prefix, run.run_id)}answers.jsonl"
    body = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    await objects.put(key, body.encode(errors="replace"), content_type="application/jsonl")
    first = answers[0]
    return TestsAnswered(
        uri=f"s3://{objects.bucket}/{key}",
        asked=len(answers),
        held_out=held_out,
        input_tokens=sum(answer["input_tokens"] or 0 for answer in answers),
        output_tokens=sum(answer["output_tokens"] or 0 for answer in answers),
        first=TestAnswer(
            row=first["row"],
            answer=first["answer"][:FIRST_ANSWER_CHARACTERS],
            reference=first["reference"][:FIRST_ANSWER_CHARACTERS],
        ),
    )


async def _questions(run: Run, objects: Objects) -> tuple[list[Question], bool]:
    """The first rows of the validation file; of the training file where there is none."""
    if run.records is None:
        raise ValueError("no records were written")
    held_out = run.records.validation_uri is not None
    uri = run.records.validation_uri or run.records.train_uri
    questions: list[Question] = []
    if run.spec.test.rows == 0:
        return questions, held_out
    async for line in _lines(objects, key_of(uri, objects.bucket)):
        questions.append(question_of(json.loads(line), len(questions), objects.bucket))
        if len(questions) == run.spec.test.rows:
            break
    return questions, held_out


async def _lines(objects: Objects, key: str) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in objects.read(key):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def key_of(uri: str, bucket: str) -> str:
    return uri.removeprefix(f"s3://{bucket}/")


def question_of(record: dict[str, Any], row: int, bucket: str) -> Question:
    """A training record, taken apart."""
    asked, answered = record["messages"]
    image = next(part["image"] for part in asked["content"] if "image" in part)
    return Question(
        row=row,
        system=record["system"][0]["text"] if record.get("system") else None,
        user="".join(part["text"] for part in asked["content"] if "text" in part),
        image_key=key_of(image["source"]["s3Location"]["uri"], bucket),
        image_format=image["format"],
        reference="".join(part["text"] for part in answered["content"] if "text" in part),
    )


async def _answer(question: Question, command: RunTests, objects: Objects, ports: Ports) -> dict[str, Any]:
    profile = ports.catalogue.find(command.run.spec.model.base)
    stored = await objects.get(question.image_key)
    if stored is None:
        raise AwsRefused(f"s3://{objects.bucket}/{question.image_key} is gone; the test needs it.")
    limits = profile.inference
    picture = Picture(
        *await to_thread.run_sync(
            downscaled, stored.body, question.image_format, limits.max_image_bytes, limits.max_image_side
        )
    )
    asked = Asked(question, picture, command.run.spec.test, profile)
    started = ports.clock.elapsed()
    reply = await _ask(asked, command.endpoint_arn, ports)
    answer: dict[str, Any] = {
        "row": question.row,
        "image": f"s3://{objects.bucket}/{question.image_key}",
        "reference": question.reference,
        "answer": reply.text,
        "stop_reason": reply.stop_reason,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "seconds": round(ports.clock.elapsed() - started, 3),
    }
    if command.run.spec.test.compare_base:
        base = await _ask(asked, profile.inference_id, ports)
        answer["base_answer"] = base.text
    return answer


async def _ask(asked: Asked, model_id: str, ports: Ports) -> Reply:
    """One call, with patience for an endpoint that warms up or throttles."""
    began = ports.clock.elapsed()
    looks = 0
    while True:
        try:
            return await _call(asked, model_id, ports)
        except AwsUnavailable as error:
            if ports.clock.elapsed() - began >= WARM_UP_PATIENCE:
                raise
            ports.trouble("asking the model", error)
        await ports.clock.sleep(min(30.0, ports.poll.delay(looks, ports.clock.chance())))
        looks += 1


async def _call(asked: Asked, model_id: str, ports: Ports) -> Reply:
    question, picture, profile = asked.question, asked.picture, asked.profile
    settings: dict[str, Any] = {
        "max_tokens": min(asked.test.max_tokens, profile.inference.max_output_tokens),
        "temperature": asked.test.temperature,
        "image_first": profile.image_first,
    }
    content = (question.system, question.user, picture.body, picture.format)
    if asked.test.api == "converse":
        return await ports.aws.runtime.converse(converse_request(model_id, *content, **settings))
    family = family_of(profile)
    body = json.dumps(family.invoke_body(*content, **settings)).encode()
    answer = family.invoke_text(json.loads(await ports.aws.runtime.invoke(model_id, body)))
    return Reply(
        text=answer.text,
        input_tokens=answer.input_tokens or 0,
        output_tokens=answer.output_tokens or 0,
        stop_reason=answer.stop_reason or "",
    )
