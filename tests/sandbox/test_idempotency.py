"""Client request tokens: kind for an hour, then not at all."""

from .desk import Desk
from .test_refusals import refusal


def test_the_same_request_again_gives_the_same_job(desk: Desk) -> None:
    desk.stage()
    first = desk.bedrock.create_model_customization_job(**desk.job())["jobArn"]
    again = desk.bedrock.create_model_customization_job(**desk.job())["jobArn"]

    assert again == first
    assert desk.call("GET", "ledger")["totals"]["count"] == {"customization_job": 1}


def test_a_token_used_for_something_else_is_a_conflict(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())

    code, _, status = refusal(desk.bedrock.create_model_customization_job, **desk.job(jobName="dogs"))

    assert (code, status) == ("ConflictException", 400)


def test_a_token_is_forgotten_after_a_while(desk: Desk) -> None:
    """The same request is then a new one, and only its name protects."""
    desk.change_scenario(throughput_seconds=10, no_commitment_units=4)
    model = desk.finished_model()
    request = {
        "modelUnits": 1,
        "provisionedModelName": "pt",
        "modelId": model,
        "clientRequestToken": "t1",
    }
    first = desk.bedrock.create_provisioned_model_throughput(**request)
    desk.advance(600)
    assert (
        desk.bedrock.create_provisioned_model_throughput(**request)["provisionedModelArn"]
        == first["provisionedModelArn"]
    )
    desk.advance(3600)
    assert refusal(desk.bedrock.create_provisioned_model_throughput, **request)[0] == "ValidationException"
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId="pt")
    second = desk.bedrock.create_provisioned_model_throughput(**request)

    assert second["provisionedModelArn"] != first["provisionedModelArn"]


def test_the_memory_can_be_shortened(desk: Desk) -> None:
    desk.change_scenario(token_memory_seconds=5)
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(6)

    assert refusal(desk.bedrock.create_model_customization_job, **desk.job()) == (
        "ValidationException",
        "The provided job name is currently in use.",
        400,
    )
