"""Throughputs, deployments, and the calls that go through them."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from .desk import NOVA, Desk, png
from .test_refusals import refusal

ASK: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "Judge page 1."}]}]


def rent(desk: Desk, model: str, **changes: Any) -> str:
    request = {"modelUnits": 1, "provisionedModelName": "pt", "modelId": model, **changes}
    return str(desk.bedrock.create_provisioned_model_throughput(**request)["provisionedModelArn"])


def test_a_throughput_is_created_then_in_service_then_gone(desk: Desk) -> None:
    arn = rent(desk, desk.finished_model())
    assert refusal(desk.runtime.converse, modelId=arn, messages=ASK)[::2] == ("ModelNotReadyException", 429)
    conflict = refusal(desk.bedrock.delete_provisioned_model_throughput, provisionedModelId="pt")
    assert conflict[0] == "ConflictException"
    desk.advance(1201)
    assert desk.bedrock.get_provisioned_model_throughput(provisionedModelId="pt")["status"] == "InService"
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    gone = refusal(desk.bedrock.get_provisioned_model_throughput, provisionedModelId=arn)
    assert gone[0] == "ResourceNotFoundException"
    assert refusal(desk.runtime.converse, modelId=arn, messages=ASK)[0] == "ResourceNotFoundException"


def test_throughputs_are_found_by_their_model(desk: Desk) -> None:
    model = desk.finished_model()
    arn = rent(desk, model, tags=[{"key": "run", "value": "cats"}])

    found = desk.bedrock.list_provisioned_model_throughputs(modelArnEquals=model)

    assert [row["provisionedModelArn"] for row in found["provisionedModelSummaries"]] == [arn]
    assert desk.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "run", "value": "cats"}]


def test_a_unit_answers_so_many_calls_a_second_and_throttles_the_rest(desk: Desk) -> None:
    arn = rent(desk, desk.finished_model())
    desk.advance(1201)
    desk.change_scenario(calls_per_unit_second=0.5)  # a burst of half a call: none
    throughput = desk.sandbox.state.region("us-east-1").throughputs[arn]
    start = desk.sandbox.clock.now()

    taken = [
        throughput.takes_call(start + timedelta(seconds=at), 2.0) for at in (0, 0, 0, 0.4, 0.5, 0.6, 9, 9, 9)
    ]

    assert taken == [True, True, False, False, True, False, True, True, False]
    assert refusal(desk.runtime.converse, modelId=arn, messages=ASK)[::2] == ("ThrottlingException", 429)


@pytest.mark.parametrize("speed", [1, 10])
def test_an_answer_takes_its_time_by_the_sandboxs_clock(desk: Desk, speed: float) -> None:
    clock = desk.sandbox.clock
    desk.change_scenario(call_seconds=0.5 * speed)
    clock.run_at(speed)
    asked, began = clock.now(), time.monotonic()
    try:
        desk.runtime.converse(modelId="amazon.nova-lite-v1:0", messages=ASK)
    finally:
        took, passed = time.monotonic() - began, (clock.now() - asked).total_seconds()
        clock.run_at(1)

    assert took >= 0.5
    assert passed >= 0.5 * speed


def test_units_beyond_the_quota_are_refused(desk: Desk) -> None:
    model = desk.finished_model()
    rent(desk, model, modelUnits=2)
    request = {"modelUnits": 1, "provisionedModelName": "more", "modelId": model}

    code, message, status = refusal(desk.bedrock.create_provisioned_model_throughput, **request)

    assert (code, status) == ("ServiceQuotaExceededException", 400)
    assert "no commitment model units" in message
    quotas = desk.client("service-quotas")
    quota = quotas.get_service_quota(ServiceCode="bedrock", QuotaCode="L-BE77399C")["Quota"]
    assert quota["Value"] == 2


def test_a_committed_throughput_cannot_be_deleted_before_its_term(desk: Desk) -> None:
    rent(desk, desk.finished_model(), commitmentDuration="OneMonth")
    desk.advance(86400)
    early = refusal(desk.bedrock.delete_provisioned_model_throughput, provisionedModelId="pt")
    desk.advance(30 * 86400)
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId="pt")

    assert early[0] == "ConflictException"


def test_a_throughput_fails_when_told_and_can_then_be_deleted(desk: Desk) -> None:
    model = desk.finished_model()
    desk.change_scenario(fail_next_throughput="No capacity.")
    rent(desk, model)
    desk.advance(1201)
    found = desk.bedrock.get_provisioned_model_throughput(provisionedModelId="pt")
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId="pt")

    assert (found["status"], found["failureMessage"]) == ("Failed", "No capacity.")


def test_a_throughput_takes_another_model_of_the_same_base(desk: Desk) -> None:
    rent(desk, desk.finished_model())
    desk.advance(1201)
    desk.bedrock.update_provisioned_model_throughput(
        provisionedModelId="pt", desiredModelId=NOVA, desiredProvisionedModelName="pt-2"
    )
    updating = desk.bedrock.get_provisioned_model_throughput(provisionedModelId="pt-2")
    desk.advance(301)
    updated = desk.bedrock.get_provisioned_model_throughput(provisionedModelId="pt-2")

    assert (updating["status"], updated["status"]) == ("Updating", "InService")
    assert updated["modelArn"] == updated["desiredModelArn"] != updating["modelArn"]


def test_a_served_model_cannot_be_deleted(desk: Desk) -> None:
    rent(desk, desk.finished_model())

    assert refusal(desk.bedrock.delete_custom_model, modelIdentifier="cats-model")[0] == "ConflictException"


def test_a_deployment_serves_by_the_token(desk: Desk) -> None:
    model = desk.finished_model()
    arn = desk.bedrock.create_custom_model_deployment(modelDeploymentName="dep", modelArn=model)[
        "customModelDeploymentArn"
    ]
    assert refusal(desk.runtime.converse, modelId=arn, messages=ASK)[0] == "ModelNotReadyException"
    desk.advance(601)
    answer = desk.runtime.converse(modelId=arn, messages=ASK)
    listed = desk.bedrock.list_custom_model_deployments(modelArnEquals=model)["modelDeploymentSummaries"]
    desk.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier="dep")
    metered = [
        entry for entry in desk.call("GET", "ledger")["entries"] if entry["kind"] == "on_demand_invocations"
    ]

    assert "Finding number 1" in answer["output"]["message"]["content"][0]["text"]
    assert [row["status"] for row in listed] == ["Active"]
    assert metered[0]["input_tokens"] == answer["usage"]["inputTokens"]
    assert metered[0]["cost_usd"] > 0


def test_only_two_deployments_are_made_at_a_time(desk: Desk) -> None:
    model = desk.finished_model()
    for name in ("one", "two"):
        desk.bedrock.create_custom_model_deployment(modelDeploymentName=name, modelArn=model)

    third = {"modelDeploymentName": "three", "modelArn": model}
    found = refusal(desk.bedrock.create_custom_model_deployment, **third)

    assert found[0] == "ServiceQuotaExceededException"


def test_the_base_model_answers_without_the_datasets_form(desk: Desk) -> None:
    image = {"image": {"format": "png", "source": {"bytes": png(200)}}}
    ask = [{"role": "user", "content": [{"text": "Judge page 1."}, image]}]

    text = desk.runtime.converse(modelId="amazon.nova-lite-v1:0", messages=ask)["output"]["message"][
        "content"
    ]

    assert "32 by 32" in text[0]["text"]
    assert "<rationale>" not in text[0]["text"]


def test_some_models_answer_on_demand_only_through_a_profile(desk: Desk) -> None:
    model = "amazon.nova-2-lite-v1:0"
    code, message, _ = refusal(desk.runtime.converse, modelId=model, messages=ASK)

    assert (code, "inference profile" in message) == ("ValidationException", True)
    assert (
        desk.runtime.converse(modelId="us.amazon.nova-2-lite-v1:0", messages=ASK)["stopReason"] == "end_turn"
    )


def test_converse_limits_images_and_turns(desk: Desk) -> None:
    def ask(content: list[Any], role: str = "user") -> tuple[str, str, int]:
        messages = [{"role": role, "content": content}]
        return refusal(desk.runtime.converse, modelId="amazon.nova-lite-v1:0", messages=messages)

    def image(data: bytes, form: str = "png") -> dict[str, Any]:
        return {"image": {"format": form, "source": {"bytes": data}}}

    text = {"text": "Look."}
    assert "3.75 MB" in ask([text, image(bytes(3_750_001))])[1]
    assert "8000 pixels" in ask([text, image(png(1, 8001))])[1]
    assert "format" in ask([text, image(png(1), "jpeg")])[1]
    assert "enum value set" in ask([text, image(png(1), "bmp")])[1]
    assert "at most 20" in ask([text, *[image(png(1))] * 21])[1]
    assert "start with a user message" in ask([text], "assistant")[1]


def test_answers_stop_where_they_are_told(desk: Desk) -> None:
    config = {"maxTokens": 3}
    reply = desk.runtime.converse(modelId="amazon.nova-lite-v1:0", messages=ASK, inferenceConfig=config)
    stop = {"stopSequences": ["has"]}
    stopped = desk.runtime.converse(modelId="amazon.nova-lite-v1:0", messages=ASK, inferenceConfig=stop)

    assert (reply["stopReason"], reply["usage"]["outputTokens"]) == ("max_tokens", 3)
    assert stopped["stopReason"] == "stop_sequence"


def test_nova_takes_its_own_messages(desk: Desk) -> None:
    body = {"schemaVersion": "messages-v1", "messages": ASK, "inferenceConfig": {"maxTokens": 50}}
    reply = desk.runtime.invoke_model(modelId="amazon.nova-lite-v1:0", body=json.dumps(body))
    bad = refusal(desk.runtime.invoke_model, modelId="amazon.nova-lite-v1:0", body='{"prompt": "x"}')

    assert json.loads(reply["body"].read())["output"]["message"]["role"] == "assistant"
    assert "extraneous key [prompt]" in bad[1]


def test_a_streamed_answer_is_the_whole_answer_in_pieces(desk: Desk) -> None:
    """Read by botocore's own decoder."""
    asked = {"modelId": "amazon.nova-lite-v1:0", "messages": ASK}

    whole = desk.runtime.converse(**asked)
    events = list(desk.runtime.converse_stream(**asked)["stream"])

    kinds = [next(iter(event)) for event in events]
    text = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(text) == whole["output"]["message"]["content"][0]["text"]
    assert len(text) > 1
    assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
    assert events[-1]["metadata"]["usage"] == whole["usage"]
