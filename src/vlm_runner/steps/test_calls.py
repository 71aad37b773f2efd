"""
TESTING: ask the tuned model about held-out rows as it was trained to be asked, and the base model too.

Questions come from the JSONL files in S3, not from the dataset: they are exactly the trained prompts, on any
machine, even if the dataset has changed since.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from vlm_runner.core.decide import RunTests
from vlm_runner.core.events import EndpointFailed, TestAnswer, TestsAnswered
from vlm_runner.core.names import run_folder
from vlm_runner.core.retry import BASE_CALL, TUNED_CALL
from vlm_runner.core.signals import TestAnswered
from vlm_runner.errors import AwsRefused
from vlm_runner.evaluate import AnsweredRow, AskedTurn
from vlm_runner.steps.accepted import with_accepted
from vlm_runner.steps.answers import Answers
from vlm_runner.steps.as_written import questions_as_written
from vlm_runner.steps.ask import LONGEST_TEXT, AskedModel, EndpointGone, ModelCall, ask, base_ids
from vlm_runner.steps.call_images import fitted
from vlm_runner.steps.call_pace import CallPace
from vlm_runner.steps.questions import read_questions
from vlm_runner.steps.registry import performs
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.conversation import Turn
    from vlm_runner.core.retry import RetryPolicy
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ask import Role
    from vlm_runner.steps.ports import Ports
    from vlm_runner.steps.questions import Question


@performs(RunTests)
async def run_tests(command: RunTests, ports: Ports) -> TestsAnswered | EndpointFailed:
    """
    Ask, save every answer under `answers/` in the run's folder, and collect them in its `answers.jsonl`.

    A row that Bedrock refuses is recorded with its reason. So is a base model that cannot be called: it does
    not fail the run.

    Raises:
        AwsRefused: no row was answered, or every call is refused.
        AwsUnavailable: the endpoint was not ready for as long as TUNED_CALL says.
    """
    base_calls = ports.base_calls
    tests = base_calls.tests if base_calls is not None else None
    try:
        return await (tests or _Tests(command, ports)).run()
    finally:
        if base_calls is not None:
            base_calls.cancel()


class BaseCalls:
    """
    The base model is asked from the time on in which the tuned model's endpoint is not ready yet.

    It outlives the step that began it, in a task group of the run's driver: a call that is under way when the
    endpoint is ready is billed whether or not it is given up. `run_tests` goes on with what was begun.
    """

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._scope = anyio.CancelScope()
        self.tests: _Tests | None = None

    def begin(self, command: RunTests, ports: Ports) -> None:
        """Ask, and save the answers; what fails is told, and asked again by `run_tests`."""
        self.cancel()
        self._scope = scope = anyio.CancelScope()
        self.tests = tests = _Tests(command, ports)
        tests.base_ended = ended = anyio.Event()
        self._group.start_soon(self._ask, tests, scope, ended, ports, name="base model")

    def cancel(self) -> None:
        self._scope.cancel()
        self.tests = None

    @staticmethod
    async def _ask(tests: _Tests, scope: anyio.CancelScope, ended: anyio.Event, ports: Ports) -> None:
        with scope:
            try:
                await tests.ask_base()
            except Exception as error:  # noqa: BLE001 - the tests meet it again, in a step that may fail
                ports.trouble("asking the base model", error)
        ended.set()


class _Tests:
    def __init__(self, command: RunTests, ports: Ports) -> None:
        self._run: Run = command.run
        self._ports = ports
        self._objects: Objects = ports.bucket_of(command.run)
        self._profile = ports.catalogue.find(command.run.spec.model.base)
        folder = run_folder(command.run)
        self._answers = Answers(self._objects, folder)
        self._tuned = self._model("tuned", [command.endpoint_arn], TUNED_CALL)
        self._base = self._model("base", base_ids(self._profile, command.run.region), BASE_CALL)
        self._endpoint_arn = command.endpoint_arn
        self._asked = 0
        self.base_ended: anyio.Event | None = None
        """Set where the base model is asked already: when that has ended."""

    def _model(self, role: Role, ids: list[str], retry: RetryPolicy) -> AskedModel:
        limit = anyio.Semaphore(self._run.spec.test.concurrency)
        return AskedModel(role, ids, retry, limit, CallPace(self._ports.clock))

    async def run(self) -> TestsAnswered | EndpointFailed:
        questions, held_out = await questions_as_written(self._run, self._ports)
        questions = await with_accepted(questions, self._run, self._objects, self._ports, held_out=held_out)
        if not questions:
            return TestsAnswered(uri=None, asked=0, held_out=held_out)
        compares = self._run.spec.test.compare_base
        self._asked = len(questions) * (2 if compares else 1)
        await self._answers.look()
        try:
            async with task_group() as group:
                group.start_soon(self._ask_all, self._tuned, questions)
                if compares:
                    group.start_soon(self._ask_rest_of_base, questions)
        except EndpointGone as error:
            return EndpointFailed(reason=str(error))
        if self._tuned.refusal is not None and all(each.error for each in self._tuned.answers.values()):
            raise self._tuned.refusal
        return await self._result(questions, held_out=held_out)

    async def ask_base(self) -> None:
        """Ask the base model alone, before `run`, which waits until it has ended."""
        questions, _ = await read_questions(self._run, self._objects)
        self._asked = self._asked or len(questions)
        await self._answers.look()
        await self._ask_all(self._base, questions)

    async def _ask_rest_of_base(self, questions: list[Question]) -> None:
        if self.base_ended is not None:
            await self.base_ended.wait()
            self._base.given_up = None
        answered = self._base.answers
        await self._ask_all(self._base, [each for each in questions if each.row not in answered])

    async def _ask_all(self, model: AskedModel, questions: list[Question]) -> None:
        async with task_group() as group:
            for question in questions:
                await model.limit.acquire()
                group.start_soon(self._ask_one, model, question)

    async def _ask_one(self, model: AskedModel, question: Question) -> None:
        try:
            if model.given_up is None:
                await self._answer(model, question)
        finally:
            model.limit.release()
        done = len(self._tuned.answers) + len(self._base.answers)
        self._ports.signal(TestAnswered(done=done, asked=self._asked, **self._tokens()))

    async def _answer(self, model: AskedModel, question: Question) -> None:
        row, digest = question.row, self._digest(model, question)
        if (saved := await self._answers.find(model.role, row, digest)) is not None:
            model.keep(row, saved)
            return
        originals = [await self._original(key) for key, _ in question.images]
        images = await to_thread.run_sync(fitted, question, originals, self._profile)
        call = ModelCall(question, images, self._run.spec.test, self._profile)
        answer = await ask(model, call, self._ports)
        if answer is None:
            return
        if answer.error is None:
            await self._answers.save(model.role, row, digest, answer)
        model.keep(row, answer)

    def _tokens(self) -> dict[str, int]:
        """As both the event and its signals name them."""
        return {
            "input_tokens": self._tuned.input_tokens,
            "output_tokens": self._tuned.output_tokens,
            "base_input_tokens": self._base.input_tokens,
            "base_output_tokens": self._base.output_tokens,
        }

    def _digest(self, model: AskedModel, question: Question) -> str:
        """Of everything an answer depends on, so that the answer of an older run is never reused."""
        test = self._run.spec.test
        tuned = self._run.model.model_arn if self._run.model is not None else self._endpoint_arn
        facts: list[Any] = [
            self._run.uid,
            tuned if model.role == "tuned" else self._profile.inference_id,
            question.asked.system,
            question.asked.turns[-1].text,
            [key for key, _ in question.images],
            [test.api, test.max_tokens, test.temperature],
        ]
        if not question.is_plain:
            facts.append([[turn.role, *map(str, turn.blocks)] for turn in question.asked.turns])
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    async def _original(self, key: str) -> bytes:
        stored = await self._objects.get(key)
        if stored is None:
            raise AwsRefused(f"s3://{self._objects.bucket}/{key} was deleted; the test needs it.")
        return stored.body

    async def _result(self, questions: list[Question], *, held_out: bool) -> TestsAnswered:
        bucket, tuned = self._objects.bucket, self._tuned.answers
        rows = [
            AnsweredRow(
                row=question.row,
                image=uris[0] if uris else "",
                more_images=tuple(uris[1:]),
                system=question.asked.system,
                prompt=question.asked.turns[-1].text,
                turns=() if question.is_plain else tuple(map(_shown, question.asked.turns)),
                reference=question.reference,
                accepted=question.accepted,
                tuned=tuned.get(question.row),
                base=self._base.answers.get(question.row),
            )
            for question in questions
            for uris in [[f"s3://{bucket}/{key}" for key, _ in question.images]]
        ]
        first = next(row for row in rows if row.tuned is not None and not row.tuned.error)
        return TestsAnswered(
            uri=await self._answers.put_together(rows),
            asked=len(rows),
            held_out=held_out,
            **self._tokens(),
            first=TestAnswer(
                row=first.row,
                answer=first.tuned.answer[:LONGEST_TEXT] if first.tuned else "",
                reference=first.reference[:LONGEST_TEXT],
            ),
            refused=sum(answer.error is not None for answer in tuned.values()),
            base_error=self._base.given_up,
        )


def _shown(turn: Turn) -> AskedTurn:
    """A turn as a person reads it."""
    return AskedTurn(role=turn.role, text=turn.shown)
