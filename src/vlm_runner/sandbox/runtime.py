"""Bedrock Runtime: which models can be called, what a request may contain, and the answer."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vlm_runner.sandbox.catalogue import INVALID_MODEL, FoundationModel, find_model, foundation_models
from vlm_runner.sandbox.errors import AwsError, invalid, not_found
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.listing import by_name
from vlm_runner.sandbox.nearest_neighbor import TrainingMemory, base_answer
from vlm_runner.sandbox.payloads import Asked, from_converse, from_llama, from_nova
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.state import SandboxState
from vlm_runner.sandbox.tokens import image_tokens, text_tokens

P = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """The model that answers: a base model, or one with its training records."""

    model: FoundationModel
    memory: TrainingMemory | None
    billed_as: str | None
    """The ARN that on-demand tokens are charged to; None where an hourly throughput answers."""


@dataclass(frozen=True)
class Answer:
    text: str
    input_tokens: int
    output_tokens: int
    stop_reason: str


def converse(state: SandboxState, region_name: str, p: P) -> dict[str, Any]:
    target = _target(state, region_name, p["modelId"])
    asked = from_converse(target.model, p, state.objects)
    answer = _answer(state, region_name, target, asked)
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": answer.stop_reason,
        "usage": _usage(answer),
        "metrics": {"latencyMs": 400 + 10 * answer.output_tokens},
    }


def converse_stream(state: SandboxState, region_name: str, p: P) -> dict[str, Any]:
    """The events of ConverseStreamOutput in the order of the Bedrock API reference, a word at a time."""
    answer = converse(state, region_name, p)
    text = answer["output"]["message"]["content"][0]["text"]
    words = [{"contentBlockIndex": 0, "delta": {"text": word}} for word in re.findall(r"\s*\S+|\s+$", text)]
    return {
        "stream": [
            ("messageStart", {"role": "assistant"}),
            *(("contentBlockDelta", word) for word in words),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": answer["stopReason"]}),
            ("metadata", {"usage": answer["usage"], "metrics": answer["metrics"]}),
        ]
    }


def invoke_model(state: SandboxState, region_name: str, p: P) -> dict[str, Any]:
    target = _target(state, region_name, p["modelId"])
    payload = _payload(p.get("body", b""))
    llama = target.model.family == "llama"
    asked = from_llama(target.model, payload) if llama else from_nova(target.model, payload, state.objects)
    answer = _answer(state, region_name, target, asked)
    body = _llama_body(answer) if llama else _nova_body(answer)
    return {"body": json.dumps(body).encode(), "contentType": "application/json"}


def _payload(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        raise invalid("Malformed input request, please reformat your input and try again.")
    return payload


def _llama_body(answer: Answer) -> dict[str, Any]:
    return {
        "generation": answer.text,
        "prompt_token_count": answer.input_tokens,
        "generation_token_count": answer.output_tokens,
        "stop_reason": "length" if answer.stop_reason == "max_tokens" else "stop",
    }


def _nova_body(answer: Answer) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": answer.stop_reason,
        "usage": _usage(answer),
    }


def _usage(answer: Answer) -> dict[str, int]:
    total = answer.input_tokens + answer.output_tokens
    return {"inputTokens": answer.input_tokens, "outputTokens": answer.output_tokens, "totalTokens": total}


def _target(state: SandboxState, region_name: str, model_id: str) -> Target:
    with state.lock:
        now, region = state.now(), state.region(region_name)
        if ":provisioned-model/" in model_id:
            target = _throughput(region, model_id, now, state.scenario.calls_per_unit_second)
        elif ":custom-model-deployment/" in model_id:
            target = _deployment(region, model_id, now)
        elif ":custom-model/" in model_id or by_name(region.models, model_id):
            raise _not_on_demand(model_id)
        else:
            target = _on_demand(region_name, model_id, now)
    target.model.require_alive(now)
    return target


def _throughput(region: Region, arn: str, now: datetime, per_unit_second: float | None) -> Target:
    one = region.throughputs.get(arn)
    if one is None:
        raise not_found()
    if one.status(now) not in {"InService", "Updating"}:
        raise AwsError(
            "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again."
        )
    if per_unit_second is not None and not one.takes_call(now, per_unit_second):
        raise AwsError("ThrottlingException", "Too many requests, please wait before trying again.")
    return Target(one.base, _memory(region, one.serves(now)), None)


def _deployment(region: Region, arn: str, now: datetime) -> Target:
    one = region.deployments.get(arn)
    if one is None:
        raise not_found()
    if one.status(now) != "Active":
        raise AwsError(
            "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again."
        )
    return Target(one.base, _memory(region, one.model_arn), one.arn)


def _memory(region: Region, model_arn: str) -> TrainingMemory | None:
    custom = region.models.get(model_arn)
    return custom.job.verdict.memory if custom and custom.job.verdict else None


def _on_demand(region_name: str, model_id: str, now: datetime) -> Target:
    wanted = model_id.rpartition("/")[2]
    for model in foundation_models():
        # A us. profile can be called from any Region of its geography.
        if wanted == model.profile_id and region_name.startswith("us-"):
            model.require_active(now)
            return Target(model, None, f"arn:aws:bedrock:{region_name}::foundation-model/{model.id}")
    if wanted.startswith(("us.", "eu.", "apac.", "global.")):
        raise invalid(INVALID_MODEL)
    if any(wanted.startswith(f"{one.id}:") and wanted != one.customizable_id for one in foundation_models()):
        # A variant with another context size, such as nova-lite-v1:0:24k. Both texts are of live accounts.
        raise AwsError("ResourceNotFoundException", "Model not found.")
    model, suffixed = find_model(model_id, region_name)
    if suffixed:
        message = "The provided model doesn\N{RIGHT SINGLE QUOTATION MARK}t support on-demand throughput."
        raise invalid(message)
    if not model.on_demand_base:
        raise _not_on_demand(model_id)
    model.require_active(now)
    return Target(model, None, f"arn:aws:bedrock:{region_name}::foundation-model/{model.id}")


def _not_on_demand(model_id: str) -> AwsError:
    return invalid(
        f"Invocation of model ID {model_id} "
        "with on-demand throughput isn\N{RIGHT SINGLE QUOTATION MARK}t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )


def _answer(state: SandboxState, region_name: str, target: Target, asked: Asked) -> Answer:
    text = (
        target.memory.answer(asked.prompt, asked.images)
        if target.memory
        else base_answer(asked.prompt, asked.images)
    )
    text, reason = _cut(text, asked)
    pictures = sum(image_tokens(target.model.family, image.width, image.height) for image in asked.images)
    answer = Answer(text, text_tokens(asked.system + asked.prompt) + pictures, text_tokens(text), reason)
    if target.billed_as:
        _bill(state, region_name, target, answer)
    return answer


def _cut(text: str, asked: Asked) -> tuple[str, str]:
    stops = [at for stop in asked.stop_sequences if (at := text.find(stop)) >= 0]
    limit = asked.max_tokens * 4
    if stops and min(stops) <= limit:
        return text[: min(stops)], "stop_sequence"
    return (text[:limit], "max_tokens") if len(text) > limit else (text, "end_turn")


def _bill(state: SandboxState, region_name: str, target: Target, answer: Answer) -> None:
    arn = f"{target.billed_as}/invocations"
    with state.lock:
        now = state.now()
        name = str(target.billed_as).rpartition("/")[2]
        fresh = Entry("on_demand_invocations", name, arn, region_name, now, target.model, lambda _: "Metered")
        fresh.custom = ":custom-model-deployment/" in arn
        fresh.tags = dict(state.region(region_name).tags.get(str(target.billed_as), {}))
        entry = state.ledger.open(fresh)
        entry.input_tokens += answer.input_tokens
        entry.output_tokens += answer.output_tokens
        entry.invocations += 1
        entry.ended_at = now
