"""Customization jobs on the clock."""

import pytest

from .desk import BUCKET, NOVA, Desk, record
from .test_refusals import refusal


def status(desk: Desk) -> str:
    return str(desk.bedrock.get_model_customization_job(jobIdentifier="cats")["status"])


def test_a_job_walks_through_its_phases(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    seen = []
    for seconds in (1, 300, 900, 6 * 3600):
        desk.advance(seconds)
        details = desk.bedrock.get_model_customization_job(jobIdentifier="cats")["statusDetails"]
        seen.append(
            [details[f"{phase}Details"]["status"] for phase in ("validation", "dataProcessing", "training")]
        )

    assert seen == [
        ["InProgress", "NotStarted", "NotStarted"],
        ["Completed", "InProgress", "NotStarted"],
        ["Completed", "Completed", "InProgress"],
        ["Completed", "Completed", "Completed"],
    ]


KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


def test_a_job_tells_its_key_and_its_vpc(desk: Desk) -> None:
    desk.stage()
    vpc = {"subnetIds": ["subnet-0a1"], "securityGroupIds": ["sg-0c3"]}
    desk.bedrock.create_model_customization_job(**desk.job(customModelKmsKeyId=KEY, vpcConfig=vpc))

    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")

    assert (job["outputModelKmsKeyArn"], job["vpcConfig"]) == (KEY, vpc)


@pytest.mark.parametrize(
    "malformed",
    [
        {"customModelKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/short"},
        {"customModelKmsKeyId": "alias/with a space"},
        {"vpcConfig": {"subnetIds": ["subnet_0a1"], "securityGroupIds": ["sg-0c3"]}},
        {"vpcConfig": {"subnetIds": ["subnet-0a1"] * 17, "securityGroupIds": ["sg-0c3"]}},
        {"vpcConfig": {"subnetIds": ["subnet-0a1"], "securityGroupIds": ["sg-0c3"] * 6}},
        {"jobTags": [{"key": "team", "value": "a&b"}]},
        {"customModelTags": [{"key": "team", "value": "v" * 257}]},
    ],
)
def test_a_malformed_key_vpc_or_tag_is_refused_by_the_patterns_of_the_api(
    desk: Desk, malformed: dict[str, object]
) -> None:
    desk.stage()

    refused = refusal(desk.bedrock.create_model_customization_job, **desk.job(**malformed))

    assert (refused[0], refused[2]) == ("ValidationException", 400)


def test_a_job_takes_one_to_three_hours(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(3500)
    assert status(desk) == "InProgress"
    desk.advance(2 * 3600)
    assert status(desk) == "Completed"


def test_a_scenario_sets_how_long(desk: Desk) -> None:
    desk.change_scenario(job_seconds=60)
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(61)

    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")

    assert job["status"] == "Completed"
    assert 59 < (job["endTime"] - job["creationTime"]).total_seconds() < 61


def test_the_model_exists_only_after_the_job_and_is_active_a_little_later(desk: Desk) -> None:
    desk.change_scenario(job_seconds=60)
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")
    assert "outputModelArn" not in job
    assert refusal(desk.bedrock.get_custom_model, modelIdentifier="cats-model")[2] == 404
    desk.advance(61)
    assert desk.bedrock.get_custom_model(modelIdentifier="cats-model")["modelStatus"] == "Creating"
    unready = refusal(
        desk.bedrock.create_provisioned_model_throughput,
        modelUnits=1,
        provisionedModelName="pt",
        modelId="cats-model",
    )
    assert unready[0] == "ValidationException"
    desk.advance(121)
    arn = desk.bedrock.get_model_customization_job(jobIdentifier="cats")["outputModelArn"]
    assert desk.bedrock.get_custom_model(modelIdentifier=arn)["modelStatus"] == "Active"


def test_a_stopped_job_stops_in_time_and_bills_what_it_trained(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(180 + 720 + 1350)
    desk.bedrock.stop_model_customization_job(jobIdentifier="cats")
    assert status(desk) == "Stopping"
    desk.advance(61)
    whole = desk.bedrock.get_model_customization_job(jobIdentifier="cats")
    entry = desk.call("GET", "ledger")["entries"][0]

    assert whole["status"] == "Stopped"
    assert whole["endTime"] > whole["creationTime"]
    assert "outputModelArn" not in whole
    assert entry["tokens_trained"] > 0
    assert not entry["still_billing"]
    assert refusal(desk.bedrock.stop_model_customization_job, jobIdentifier="cats")[0] == "ConflictException"


def test_a_job_fails_in_training_when_told(desk: Desk) -> None:
    desk.change_scenario(fail_next_job="The GPU caught fire.")
    desk.stage()

    job = desk.finished_job()

    assert (job["status"], job["failureMessage"]) == ("Failed", "The GPU caught fire.")
    assert job["statusDetails"]["trainingDetails"]["status"] == "Failed"
    assert desk.call("GET", "scenario")["fail_next_job"] is None


def test_lists_filter_sort_and_page(desk: Desk) -> None:
    desk.change_scenario(running_jobs=9)
    desk.stage()
    for name in ("ant", "bee", "cat"):
        desk.bedrock.create_model_customization_job(
            **desk.job(jobName=name, customModelName=name, clientRequestToken=name)
        )
        desk.advance(10)
    names = []
    for page in desk.bedrock.get_paginator("list_model_customization_jobs").paginate(
        PaginationConfig={"PageSize": 2}, sortBy="CreationTime", sortOrder="Ascending"
    ):
        names += [row["jobName"] for row in page["modelCustomizationJobSummaries"]]
    found = desk.bedrock.list_model_customization_jobs(nameContains="be", statusEquals="InProgress")

    assert names == ["ant", "bee", "cat"]
    assert [row["jobName"] for row in found["modelCustomizationJobSummaries"]] == ["bee"]


def test_a_tuned_model_can_be_tuned_again(desk: Desk) -> None:
    arn = desk.finished_model()
    desk.bedrock.create_model_customization_job(
        **desk.job(jobName="more", customModelName="more", clientRequestToken="more", baseModelIdentifier=arn)
    )
    desk.advance(6 * 3600)

    assert desk.bedrock.get_custom_model(modelIdentifier="more")["baseModelArn"] == arn


def test_a_job_tells_also_the_hyperparameters_that_it_was_not_given(desk: Desk) -> None:
    desk.stage()

    told = desk.finished_job()["hyperParameters"]

    assert told == {
        "epochCount": "2", "learningRate": "1.0E-5", "learningRateWarmupSteps": "10", "batchSize": "1",
    }  # fmt: skip


def test_tags_travel_with_the_job_and_its_model(desk: Desk) -> None:
    mark = [{"key": "run", "value": "cats"}]
    arn = desk.finished_model(jobTags=mark, customModelTags=mark)
    job_arn = desk.bedrock.get_custom_model(modelIdentifier=arn)["jobArn"]
    desk.bedrock.tag_resource(resourceARN=arn, tags=[{"key": "more", "value": "1"}])
    desk.bedrock.untag_resource(resourceARN=arn, tagKeys=["run"])

    assert desk.bedrock.list_tags_for_resource(resourceARN=job_arn)["tags"] == mark
    assert desk.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "more", "value": "1"}]


def test_foundation_models_tell_what_can_be_tuned(desk: Desk) -> None:
    models = desk.bedrock.list_foundation_models(byCustomizationType="FINE_TUNING")["modelSummaries"]
    one = desk.bedrock.get_foundation_model(modelIdentifier=NOVA)["modelDetails"]

    assert {model["modelId"] for model in models} == {
        NOVA,
        "amazon.nova-pro-v1:0:300k",
        "amazon.nova-2-lite-v1:0:256k",
    }
    assert one["modelLifecycle"]["status"] == "ACTIVE"
    assert one["inferenceTypesSupported"] == ["PROVISIONED"]


def test_the_output_bucket_must_exist(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job(outputDataConfig={"s3Uri": "s3://nowhere/x"}))
    desk.advance(600)

    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")

    assert job["failureMessage"].startswith("Amazon S3 perms missing (PutObject)")
    assert BUCKET not in job["failureMessage"]


NOVA_2 = "amazon.nova-2-lite-v1:0:256k"


@pytest.mark.parametrize(
    ("rows", "validation", "failure"),
    [
        (200, False, None),
        (200, True, "Invalid input error: Nova 2.0 doesn't support validation set"),
        (8, False, "The dataset has 8 records; it must have between 200 and 20000"),
    ],
)
def test_nova_2_lite_takes_two_hundred_records_and_no_validation_set(
    desk: Desk, rows: int, validation: bool, failure: str | None
) -> None:
    records = [record(number % 8) for number in range(rows)]
    desk.stage(8, records)
    data = {"s3Uri": f"s3://{BUCKET}/data/train.jsonl"}
    more = {"validationDataConfig": {"validators": [data]}} if validation else {}
    desk.bedrock.create_model_customization_job(**desk.job(baseModelIdentifier=NOVA_2, **more))
    desk.advance(24 * 3600)

    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")

    assert job["status"] == ("Completed" if failure is None else "Failed")
    assert job.get("failureMessage") == failure


def test_a_job_that_stalls_says_nothing_until_it_is_stopped(desk: Desk) -> None:
    desk.change_scenario(stall_next_job=True)
    desk.stage()
    arn = desk.bedrock.create_model_customization_job(**desk.job())["jobArn"]
    desk.advance(3 * 86400)
    first = desk.bedrock.get_model_customization_job(jobIdentifier=arn)
    desk.advance(86400)
    later = desk.bedrock.get_model_customization_job(jobIdentifier=arn)
    desk.bedrock.stop_model_customization_job(jobIdentifier=arn)
    desk.advance(3600)
    ended = desk.bedrock.get_model_customization_job(jobIdentifier=arn)

    for job in (first, later):
        assert job["status"] == "InProgress"
        assert job["statusDetails"]["validationDetails"]["status"] == "Completed"
        assert job["statusDetails"]["trainingDetails"]["status"] == "NotStarted"
    assert first["lastModifiedTime"] == later["lastModifiedTime"]
    assert ended["status"] == "Stopped"
    assert desk.call("GET", "scenario")["stall_next_job"] is False


def test_a_job_ends_by_an_internal_error_before_it_trains(desk: Desk) -> None:
    desk.change_scenario(internal_error_next_job=True)
    desk.stage()

    job = desk.finished_job()

    assert (job["status"], job["failureMessage"]) == (
        "Failed",
        "Encountered an internal error when processing the request.",
    )
    assert job["statusDetails"]["trainingDetails"]["status"] == "NotStarted"
