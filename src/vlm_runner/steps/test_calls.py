"""
TESTING: ask the tuned model about held-out rows, as it was trained to be asked, and the base model beside it.

Questions come from the JSONL files in S3 and not from the dataset, so they are the trained prompts to the
letter, on any machine, whatever became of the dataset. Each answer is saved as soon as it is there, so that
no row is paid for twice.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from anyio import to_thread

from vlm_runner.aws import ports as aws
from vlm_runner.core.events import EndpointFailed, TestAnswer, TestsAnswered
from vlm_runner.core.names import run_prefix
from vlm_runner.core.retry import BASE_CALL, TUNED_CALL
from vlm_runner.core.signals import TestAnswered
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    Conflict,
    NotFound,
    QuotaExceeded,
    Throttled,
)
from vlm_runner.evaluate import AnsweredRow, ModelAnswer, to_line
from vlm_runner.evaluate.thumbnail import budget, thumbnail
from vlm_runner.ingest.images import downscaled
from vlm_runner.ingest.limits import AdaptiveLimit
from vlm_runner.models import converse_request, family_of
from vlm_runner.retry import attempts
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.commands import RunTests
    from vlm_runner.core.retry import RetryPolicy
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile
    from vlm_runner.spec import TestSpec
    from vlm_runner.steps.ports import Ports

FIRST_ANSWER_CHARACTERS = 4000

ENVELOPE = 16_384
"""Bytes of a call that are neither text nor image, generously."""

WRONG_FOR_ALL = (AccessDenied, NotFound, QuotaExceeded, Conflict)
"""Refusals that are about the model or the caller, and would meet every row alike."""

PROFILE_WANTED = "inference profile"
"""Bedrock's words for a model that answers on demand only through a profile of its geography."""

Who = Literal["tuned", "base"]


class _EndpointGone(Exception):
    """Bedrock does not know the tuned model's endpoint any more."""


@dataclass(frozen=True, slots=True)
class Picture:
    body: bytes
    format: str


@dataclass(frozen=True, slots=True)
class Question:
    row: int
    system: str | None
    user: str
    images: tuple[tuple[str, str], ...]
    """Keys and formats, in the order of the record."""
    reference: str


@dataclass(frozen=True, slots=True)
class Asked:
    question: Question
    pictures: tuple[Picture, ...]
    test: TestSpec
    profile: ModelProfile


@dataclass(slots=True)
class _Model:
    """One of the two that are asked, and what it has answered."""

    who: Who
    ids: list[str]
    """The first is used; a refusal that wants another kind of id goes on to the next."""
    retry: RetryPolicy
    limit: AdaptiveLimit
    replies: dict[int, ModelAnswer] = field(default_factory=dict[int, ModelAnswer])
    refusal: AwsRefused | None = None
    given_up: str | None = None


async def run_tests(command: RunTests, ports: Ports) -> TestsAnswered | EndpointFailed:
    """
    Ask, save every answer under `runs/RUN/answers/`, and put them together in `runs/RUN/answers.jsonl`.

    A row that Bedrock refuses is noted with its reason. A base model that cannot be called is noted too,
    and harms nothing.

    Raises:
        AwsRefused: no row was answered, or the call is refused for a reason that is no row's.
        AwsUnavailable: the endpoint was not ready for as long as TUNED_CALL says.
    """
    return await _Tests(command, ports).run()


class _Tests:
    def __init__(self, command: RunTests, ports: Ports) -> None:
        self._run: Run = command.run
        self._ports = ports
        self._objects: Objects = ports.bucket_of(command.run)
        self._profile = ports.catalogue.find(command.run.spec.model.base)
        self._folder = run_prefix(command.run.spec.storage.prefix, command.run.run_id)
        self._tuned = self._model("tuned", [command.endpoint_arn], TUNED_CALL)
        self._base = self._model("base", base_ids(self._profile, command.run.region), BASE_CALL)
        self._endpoint_arn = command.endpoint_arn
        self._thumbnails: dict[int, list[str]] = {}
        self._most_bytes = 0

    def _model(self, who: Who, ids: list[str], retry: RetryPolicy) -> _Model:
        limit = AdaptiveLimit(self._run.spec.test.concurrency, self._ports.clock)
        return _Model(who, ids, retry, limit)

    async def run(self) -> TestsAnswered | EndpointFailed:
        questions, held_out = await _questions(self._run, self._objects)
        self._most_bytes = budget(sum(len(question.images) for question in questions))
        if questions:
            try:
                await self._ask_all(questions)
            except _EndpointGone as error:
                return EndpointFailed(reason=str(error))
        if self._tuned.refusal is not None and all(reply.error for reply in self._tuned.replies.values()):
            raise self._tuned.refusal
        return await self._keep(questions, held_out=held_out)

    async def _ask_all(self, questions: list[Question]) -> None:
        saved = {item.key async for item in self._objects.list(f"{self._folder}answers/")}
        models = [self._tuned, self._base] if self._run.spec.test.compare_base else [self._tuned]
        asked = len(questions) * len(models)

        async def one(model: _Model, question: Question) -> None:
            try:
                if model.given_up is None:
                    await self._answer(model, question, saved)
            finally:
                model.limit.release()
            done = sum(len(each.replies) for each in models)
            self._ports.signal(TestAnswered(done=done, asked=asked))

        async def all_of(model: _Model) -> None:
            async with task_group() as group:
                for question in questions:
                    await model.limit.acquire()
                    group.start_soon(one, model, question)

        async with task_group() as group:
            for model in models:
                group.start_soon(all_of, model)

    async def _answer(self, model: _Model, question: Question, saved: set[str]) -> None:
        key = f"{self._folder}answers/{model.who}/{question.row:06d}.json"
        digest = self._digest(model, question)
        if key in saved and (known := await self._saved(key, digest)) is not None:
            model.replies[question.row] = ModelAnswer.model_validate(known["reply"])
            self._remember(question, known.get("thumbnails"))
            return
        shown = None
        originals = [await self._original(key) for key, _ in question.images]
        if model.who == "tuned":
            shown = await to_thread.run_sync(_small, originals, self._most_bytes)
        pictures = await to_thread.run_sync(self._fitting, question, originals)
        reply = await self._reply(model, Asked(question, pictures, self._run.spec.test, self._profile))
        if reply is None:
            return
        if reply.error is None:
            table = {"digest": digest, "reply": reply.model_dump(mode="json"), "thumbnails": shown}
            body = json.dumps(table, ensure_ascii=False).encode(errors="replace")
            await self._objects.put(key, body, content_type="application/json")
        model.replies[question.row] = reply
        self._remember(question, shown)

    def _digest(self, model: _Model, question: Question) -> str:
        """Of all that makes the answer what it is, so that an older run's answer is never taken for ours."""
        test = self._run.spec.test
        tuned = self._run.model.model_arn if self._run.model is not None else self._endpoint_arn
        facts = [
            self._run.uid,
            tuned if model.who == "tuned" else self._profile.inference_id,
            question.system,
            question.user,
            [key for key, _ in question.images],
            [test.api, test.max_tokens, test.temperature],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    async def _saved(self, key: str, digest: str) -> dict[str, Any] | None:
        stored = await self._objects.get(key)
        if stored is None:
            return None
        try:
            table: dict[str, Any] = json.loads(stored.body)
        except ValueError:
            return None
        return table if table.get("digest") == digest else None

    def _remember(self, question: Question, small: list[str] | None) -> None:
        if small:
            self._thumbnails[question.row] = small

    async def _original(self, key: str) -> bytes:
        stored = await self._objects.get(key)
        if stored is None:
            raise AwsRefused(f"s3://{self._objects.bucket}/{key} is gone; the test needs it.")
        return stored.body

    def _fitting(self, question: Question, originals: list[bytes]) -> tuple[Picture, ...]:
        """In a worker thread: the images, small enough for one call, each alone and all together."""
        limits = self._profile.inference
        texts = len((question.user + (question.system or "")).encode())
        most = min(limits.max_image_bytes, _room(limits.max_body_bytes, texts) // len(originals))
        return tuple(
            Picture(*downscaled(body, form, most, limits.max_image_side))
            for body, (_, form) in zip(originals, question.images, strict=True)
        )

    async def _reply(self, model: _Model, asked: Asked) -> ModelAnswer | None:
        """None where the base model is given up."""
        started = self._ports.clock.elapsed()
        try:
            said = await self._ask(model, asked)
        except AwsRefused as error:
            if model.who == "tuned" and isinstance(error, NotFound):
                raise _EndpointGone(
                    f"{model.ids[0]} went away while it was tested: {error.message}"
                ) from error
            if isinstance(error, WRONG_FOR_ALL) or PROFILE_WANTED in error.message:
                self._give_up(model, error)
                return None
            model.refusal = error
            return ModelAnswer(error=error.message[:FIRST_ANSWER_CHARACTERS])
        except AwsUnavailable as error:
            self._give_up(model, error)
            return None
        return ModelAnswer(
            answer=said.text,
            stop_reason=said.stop_reason,
            input_tokens=said.input_tokens or 0,
            output_tokens=said.output_tokens or 0,
            seconds=round(self._ports.clock.elapsed() - started, 3),
        )

    def _give_up(self, model: _Model, error: AwsRefused | AwsUnavailable) -> None:
        if model.who == "tuned":
            raise error
        if model.given_up is None:
            model.given_up = f"The base model {model.ids[0]} could not be asked: {error.message}"
            self._ports.trouble("asking the base model", error)

    async def _ask(self, model: _Model, asked: Asked) -> aws.RuntimeReply:
        """One call, retried while the endpoint warms up or throttles."""
        poll = self._ports.poll
        policy = replace(model.retry, base=poll.first / 2, longest=min(model.retry.longest, poll.longest))

        def on_retry(error: Exception) -> None:
            if isinstance(error, Throttled):
                model.limit.refused()
            self._ports.trouble(f"asking the {model.who} model", error)

        async for attempt in attempts(self._ports.clock, policy, AwsUnavailable, on_retry=on_retry):
            with attempt:
                reply = await self._ask_by_an_id_that_fits(model, asked)
                model.limit.succeeded()
                return reply
        raise AssertionError("attempts ends only by an error")

    async def _ask_by_an_id_that_fits(self, model: _Model, asked: Asked) -> aws.RuntimeReply:
        while True:
            model_id = model.ids[0]
            try:
                return await _call(asked, model_id, self._ports)
            except AwsRefused as error:
                if PROFILE_WANTED not in error.message or len(model.ids) == 1:
                    raise
                # Another task may have gone on to the next id already.
                if model.ids[0] == model_id:
                    model.ids.pop(0)

    async def _keep(self, questions: list[Question], *, held_out: bool) -> TestsAnswered:
        base_error = self._base.given_up
        if not questions:
            return TestsAnswered(uri=None, asked=0, held_out=held_out)
        bucket, tuned = self._objects.bucket, self._tuned.replies
        rows = [
            AnsweredRow(
                row=question.row,
                image=uris[0],
                more_images=tuple(uris[1:]),
                system=question.system,
                prompt=question.user,
                reference=question.reference,
                tuned=tuned.get(question.row),
                base=self._base.replies.get(question.row),
            )
            for question in questions
            for uris in [[f"s3://{bucket}/{key}" for key, _ in question.images]]
        ]
        small = [
            json.dumps({"row": row, "webp": first, "more": more})
            for row, (first, *more) in sorted(self._thumbnails.items())
        ]
        await self._put_lines("thumbnails.jsonl", small)
        key = await self._put_lines("answers.jsonl", [to_line(row) for row in rows])
        first = next(row for row in rows if row.tuned is not None and not row.tuned.error)
        return TestsAnswered(
            uri=f"s3://{bucket}/{key}",
            asked=len(rows),
            held_out=held_out,
            input_tokens=sum(reply.input_tokens for reply in tuned.values()),
            output_tokens=sum(reply.output_tokens for reply in tuned.values()),
            first=TestAnswer(
                row=first.row,
                answer=first.tuned.answer[:FIRST_ANSWER_CHARACTERS] if first.tuned else "",
                reference=first.reference[:FIRST_ANSWER_CHARACTERS],
            ),
            refused=sum(reply.error is not None for reply in tuned.values()),
            base_error=base_error,
        )

    async def _put_lines(self, name: str, lines: list[str]) -> str:
        key = f"{self._folder}{name}"
        body = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        await self._objects.put(key, body, content_type="application/jsonl")
        return key


def _room(body_bytes: int, texts: int) -> int:
    """Bytes for all images of a call: base64 makes them a third larger, and JSON at most six of one byte."""
    return max(1, (body_bytes - ENVELOPE - 6 * texts) * 3 // 4)


def _small(originals: list[bytes], most_bytes: int) -> list[str]:
    made = [thumbnail(body, most_bytes) for body in originals]
    return [base64.b64encode(small).decode() for small in made if small is not None]


def base_ids(profile: ModelProfile, region: str) -> list[str]:
    """
    The ids under which the base model may answer on demand, the likelier first.

    Some models answer only through an inference profile, whose id begins with its geography.
    """
    plain = profile.inference_id
    if plain.split(".", 1)[0] in {"us", "eu", "apac", "global"}:
        return [plain]
    geography = {"us": "us", "eu": "eu", "ap": "apac"}.get(region.split("-", 1)[0])
    return [plain] if geography is None else [plain, f"{geography}.{plain}"]


def chosen(records: int, rows: int) -> list[int]:
    """`rows` of `records`, spread evenly: a file may be sorted by something."""
    count = min(records, rows)
    return [index * records // count for index in range(count)]


async def _questions(run: Run, objects: Objects) -> tuple[list[Question], bool]:
    """Rows of the validation file; of the training file where there is none, which the result then says."""
    if run.records is None:
        raise ValueError("no records were written")
    held_out = run.records.validation_uri is not None
    uri = run.records.validation_uri or run.records.train_uri
    records = run.records.validation_records if held_out else run.records.train_records
    wanted = set(chosen(records, run.spec.test.rows))
    questions: list[Question] = []
    if not wanted:
        return questions, held_out
    row = 0
    async for line in _lines(objects, key_of(uri, objects.bucket)):
        if row in wanted:
            questions.append(question_of(json.loads(line), row, objects.bucket))
        row += 1
        if len(questions) == len(wanted):
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
    images = [part["image"] for part in asked["content"] if "image" in part]
    return Question(
        row=row,
        system=record["system"][0]["text"] if record.get("system") else None,
        user="".join(part["text"] for part in asked["content"] if "text" in part),
        images=tuple(
            (key_of(image["source"]["s3Location"]["uri"], bucket), image["format"]) for image in images
        ),
        reference="".join(part["text"] for part in answered["content"] if "text" in part),
    )


async def _call(asked: Asked, model_id: str, ports: Ports) -> aws.RuntimeReply:
    question, profile = asked.question, asked.profile
    (body, form), *more = ((picture.body, picture.format) for picture in asked.pictures)
    settings: dict[str, Any] = {
        "max_tokens": min(asked.test.max_tokens, profile.inference.max_output_tokens),
        "temperature": asked.test.temperature,
        "image_first": profile.image_first,
        "more": more,
    }
    content = (question.system, question.user, body, form)
    if asked.test.api == "converse":
        return await ports.aws.runtime.converse(converse_request(model_id, *content, **settings))
    family = family_of(profile)
    payload = json.dumps(family.invoke_body(*content, **settings)).encode()
    answer = family.invoke_text(json.loads(await ports.aws.runtime.invoke(model_id, payload)))
    return aws.RuntimeReply(
        text=answer.text,
        input_tokens=answer.input_tokens or 0,
        output_tokens=answer.output_tokens or 0,
        stop_reason=answer.stop_reason or "",
    )
