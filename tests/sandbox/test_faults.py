"""Faults strike where, when and as often as they are told."""

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from .desk import BUCKET, Desk
from .test_refusals import refusal


def test_an_error_strikes_once_and_is_typed(desk: Desk) -> None:
    desk.stage()
    desk.fault(operation="CreateModelCustomizationJob", kind="error", code="ThrottlingException")

    with pytest.raises(desk.bedrock.exceptions.ThrottlingException) as caught:
        desk.bedrock.create_model_customization_job(**desk.job())

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert desk.call("GET", "faults") == []
    assert desk.bedrock.create_model_customization_job(**desk.job())["jobArn"]


def test_a_lost_reply_leaves_its_effect(desk: Desk) -> None:
    desk.stage()
    desk.fault(operation="CreateModelCustomizationJob", kind="reset_after")

    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        desk.bedrock.create_model_customization_job(**desk.job())

    assert desk.bedrock.get_model_customization_job(jobIdentifier="cats")["clientRequestToken"] == "token-1"


def test_a_reset_before_has_no_effect(desk: Desk) -> None:
    desk.stage()
    desk.fault(operation="CreateModelCustomizationJob", kind="reset_before")

    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        desk.bedrock.create_model_customization_job(**desk.job())

    assert refusal(desk.bedrock.get_model_customization_job, jobIdentifier="cats")[2] == 404


def test_a_late_request_takes_effect_after_its_client_gave_up(desk: Desk) -> None:
    desk.make_bucket()
    desk.fault(operation="PutObject", kind="late", seconds=0.2)

    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        desk.s3.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    before = refusal(desk.s3.head_object, Bucket=BUCKET, Key="k")[2]
    desk.s3.get_waiter("object_exists").wait(Bucket=BUCKET, Key="k", WaiterConfig={"Delay": 1})

    assert before == 404


def test_s3_faults_choose_their_keys_and_turns(desk: Desk) -> None:
    desk.make_bucket()
    desk.fault(operation="PutObject", kind="error", code="SlowDown", key_contains="images/", after=1, times=2)
    statuses = []
    for key in ("data/a", "images/0", "images/1", "images/2", "images/3"):
        try:
            desk.s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
            statuses.append("ok")
        except ClientError as error:
            statuses.append(error.response["Error"]["Code"])

    assert statuses == ["ok", "ok", "SlowDown", "SlowDown", "ok"]


def test_a_proxy_page_is_retried_by_botocore(desk: Desk) -> None:
    desk.make_bucket()
    desk.fault(operation="ListModelCustomizationJobs", kind="status", status=502, times=1)
    client = desk.client("bedrock", attempts=3)

    assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
    assert desk.call("GET", "calls")["by_status"] == {
        "CreateBucket 200": 1,
        "ListModelCustomizationJobs 502": 1,
        "ListModelCustomizationJobs 200": 1,
    }


def test_slowness_is_only_slow(desk: Desk) -> None:
    desk.make_bucket()
    desk.fault(operation="HeadBucket", kind="slow", seconds=0.2)
    started = time.monotonic()

    desk.s3.head_bucket(Bucket=BUCKET)

    assert time.monotonic() - started >= 0.2
