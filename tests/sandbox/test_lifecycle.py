"""A model's life, by the simulated calendar."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from vlm_runner.sandbox import Sandbox, SandboxOptions

from .desk import LLAMA, Desk
from .test_refusals import refusal

DAY = 86400


@pytest.fixture
def desk_before_legacy() -> Iterator[Desk]:
    with Sandbox(SandboxOptions(as_of=datetime(2026, 1, 6, tzinfo=UTC), model_units=2)) as running:
        yield Desk(running, "us-west-2")


def test_llama_is_active_then_legacy_then_gone(desk_before_legacy: Desk) -> None:
    desk = desk_before_legacy
    desk.stage(100)
    first = desk.job(baseModelIdentifier=LLAMA)
    second = desk.job(
        baseModelIdentifier=LLAMA, jobName="two", customModelName="two", clientRequestToken="two"
    )
    desk.bedrock.create_model_customization_job(**first)
    desk.advance(6 * 3600)
    throughput = desk.bedrock.create_provisioned_model_throughput(
        modelUnits=1, provisionedModelName="kept", modelId="cats-model"
    )["provisionedModelArn"]
    ask = {"modelId": throughput, "messages": [{"role": "user", "content": [{"text": "Judge page 1."}]}]}

    desk.advance(2 * DAY)
    code, message, status = refusal(desk.bedrock.create_model_customization_job, **second)
    assert (code, status) == ("ResourceNotFoundException", 404)
    assert "marked by provider as Legacy" in message
    legacy = refusal(
        desk.bedrock.create_provisioned_model_throughput,
        modelUnits=1,
        provisionedModelName="new",
        modelId="cats-model",
    )
    assert "Legacy" in legacy[1]
    assert desk.bedrock.get_foundation_model(modelIdentifier=LLAMA)["modelDetails"]["modelLifecycle"] == {
        "status": "LEGACY"
    }
    assert desk.runtime.converse(**ask)["stopReason"] == "end_turn", "what runs already goes on"

    desk.advance(200 * DAY)
    gone = refusal(desk.bedrock.create_model_customization_job, **second)
    assert gone[1].startswith("This model version has reached the end of its life.")
    assert refusal(desk.runtime.converse, **ask)[0] == "ResourceNotFoundException"
    assert desk.bedrock.list_foundation_models()["modelSummaries"] == []
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId=throughput)
