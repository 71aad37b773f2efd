"""TESTING: one call to the tuned or the base model, retried while its endpoint warms up or throttles."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from vlm_runner.aws import ports as aws
from vlm_runner.core.counts import MOST_TOKENS, counted
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    Conflict,
    NotFound,
    QuotaExceeded,
    Throttled,
)
from vlm_runner.evaluate import ModelAnswer
from vlm_runner.models import converse_request, family_of
from vlm_runner.retry import attempts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import anyio

    from vlm_runner.core.retry import RetryPolicy
    from vlm_runner.models import ModelProfile
    from vlm_runner.models.answer import Answer
    from vlm_runner.spec import TestSpec
    from vlm_runner.steps.call_images import CallImage
    from vlm_runner.steps.call_pace import CallPace
    from vlm_runner.steps.ports import Ports
    from vlm_runner.steps.questions import Question

LONGEST_TEXT = 4000
"""Characters of an answer, a reference or a refusal that are kept in the checkpoint."""

REFUSES_EVERY_ROW = (AccessDenied, NotFound, QuotaExceeded, Conflict)
"""Refusals that are about the model or the caller, not about a row."""

PROFILE_WANTED = "inference profile"
"""Bedrock's words for a model that answers on demand only through a profile of its geography."""

Role = Literal["tuned", "base"]


class EndpointGone(Exception):
    """Bedrock no longer knows the tuned model's endpoint."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    question: Question
    images: tuple[CallImage, ...]
    test: TestSpec
    profile: ModelProfile


@dataclass(slots=True)
class AskedModel:
    """One of the two models under test, and its answers so far."""

    role: Role
    ids: list[str]
    """The first is used; a refusal that asks for an inference profile moves on to the next."""
    retry: RetryPolicy
    limit: anyio.Semaphore
    """Calls at once."""
    pace: CallPace
    answers: dict[int, ModelAnswer] = field(default_factory=dict[int, ModelAnswer])
    input_tokens: int = 0
    output_tokens: int = 0
    """Of all answers so far."""
    refusal: AwsRefused | None = None
    given_up: str | None = None

    def keep(self, row: int, answer: ModelAnswer) -> None:
        self.answers[row] = answer
        self.input_tokens += answer.input_tokens
        self.output_tokens += answer.output_tokens


GEOGRAPHIES: Final[Mapping[str, str]] = {
    "us": "us",
    "eu": "eu",
    "ap": "apac",
    "ap-northeast-1": "jp",
    "ap-northeast-3": "jp",
    "ap-southeast-2": "au",
    "ap-southeast-4": "au",
}
"""Prefixes of inference profiles, by Region or its first word (user guide, inference-profiles-support)."""


def base_ids(profile: ModelProfile, region: str) -> list[str]:
    """
    The ids under which the base model may answer on demand, the likelier first.

    Some models answer only through an inference profile, whose id begins with its geography.
    """
    plain = profile.inference_id
    if plain.split(".", 1)[0] in {*GEOGRAPHIES.values(), "global"}:
        return [plain]
    wide = (GEOGRAPHIES[part] for part in (region, region.split("-", 1)[0]) if part in GEOGRAPHIES)
    return [plain, *(f"{geography}.{plain}" for geography in wide)]


async def ask(model: AskedModel, call: ModelCall, ports: Ports) -> ModelAnswer | None:
    """
    The model's answer, or why it refused this row; None where the base model is given up.

    Raises:
        EndpointGone: the tuned model's endpoint was deleted.
        AwsRefused, AwsUnavailable: the tuned model cannot be asked at all.
    """
    started = ports.clock.elapsed()
    try:
        reply = await _retried(model, call, ports)
    except AwsRefused as error:
        if model.role == "tuned" and isinstance(error, NotFound):
            raise EndpointGone(f"{model.ids[0]} was deleted while it was tested: {error.message}") from error
        if isinstance(error, REFUSES_EVERY_ROW) or PROFILE_WANTED in error.message:
            _give_up(model, error, ports)
            return None
        model.refusal = error
        return ModelAnswer(error=error.message[:LONGEST_TEXT])
    except AwsUnavailable as error:
        _give_up(model, error, ports)
        return None
    return ModelAnswer(
        answer=reply.text,
        stop_reason=reply.stop_reason,
        input_tokens=reply.input_tokens or 0,
        output_tokens=reply.output_tokens or 0,
        seconds=round(ports.clock.elapsed() - started, 3),
    )


def _give_up(model: AskedModel, error: AwsRefused | AwsUnavailable, ports: Ports) -> None:
    """The base model is only compared with: its failure must not fail the run."""
    if model.role == "tuned":
        raise error
    if model.given_up is None:
        model.given_up = f"The base model {model.ids[0]} could not be asked: {error.message}"
        ports.trouble("asking the base model", error)


async def _retried(model: AskedModel, call: ModelCall, ports: Ports) -> aws.RuntimeReply:
    poll = ports.poll
    policy = replace(model.retry, base=poll.first / 2, longest=min(model.retry.longest, poll.longest))

    def on_retry(error: Exception) -> None:
        ports.trouble(f"asking the {model.role} model", error)

    async for attempt in attempts(ports.clock, policy, AwsUnavailable, on_retry=on_retry):
        with attempt:
            return await _in_turn(model, call, ports, until=ports.clock.elapsed() + policy.patience)
    raise AssertionError("attempts ends only by an error")


async def _in_turn(model: AskedModel, call: ModelCall, ports: Ports, *, until: float) -> aws.RuntimeReply:
    """A throttled call waits for its turn again: the pace knows better than a growing pause."""
    told = False
    while True:
        sent = await model.pace.take()
        try:
            return await _by_an_accepted_id(model, call, ports)
        except Throttled as error:
            model.pace.refused(sent)
            if ports.clock.elapsed() >= until:
                raise
            if not told:
                ports.trouble(f"asking the {model.role} model", error)
            told = True


async def _by_an_accepted_id(model: AskedModel, call: ModelCall, ports: Ports) -> aws.RuntimeReply:
    while True:
        model_id = model.ids[0]
        try:
            return await send(call, model_id, ports)
        except AwsRefused as error:
            if PROFILE_WANTED not in error.message or len(model.ids) == 1:
                raise
            # Another task may have moved on to the next id already.
            if model.ids[0] == model_id:
                model.ids.pop(0)


async def send(call: ModelCall, model_id: str, ports: Ports) -> aws.RuntimeReply:
    """One request, as the run's spec asks: by Converse or by InvokeModel."""
    if call.test.api == "converse":
        return await ports.aws.runtime.converse(converse_of(call, model_id))
    family = family_of(call.profile)
    payload = json.dumps(family.invoke_body(call.question.asked, _images(call), **_settings(call))).encode()

    def read(body: dict[str, Any]) -> aws.RuntimeReply:
        return reply_of(family.invoke_text(body))

    return await ports.aws.runtime.invoke(model_id, payload, read)


def reply_of(answer: Answer) -> aws.RuntimeReply:
    """
    What a family read in an answer of InvokeModel, whose members nobody has looked at.

    Raises:
        ValueError: a count is none.
    """
    return aws.RuntimeReply(
        text=str(answer.text),
        input_tokens=counted(answer.input_tokens or 0, MOST_TOKENS),
        output_tokens=counted(answer.output_tokens or 0, MOST_TOKENS),
        stop_reason=str(answer.stop_reason or ""),
    )


def converse_of(call: ModelCall, model_id: str) -> dict[str, Any]:
    """The request of Converse, and of ConverseStream."""
    return converse_request(model_id, call.question.asked, _images(call), **_settings(call))


def _images(call: ModelCall) -> list[tuple[bytes, str]]:
    return [(image.body, image.format) for image in call.images]


def _settings(call: ModelCall) -> dict[str, Any]:
    return {
        "max_tokens": min(call.test.max_tokens, call.profile.inference.max_output_tokens),
        "temperature": call.test.temperature,
        "image_first": call.profile.image_first,
    }
