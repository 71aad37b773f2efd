"""A bucket whose policy demands encryption by a key takes what asks for it, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import boto3
import pytest
from pydantic import ValidationError

from vlm_runner.aws.ports import Encryption
from vlm_runner.aws.session import AwsSession
from vlm_runner.doctor.checks import scope_of
from vlm_runner.doctor.documents import all_documents
from vlm_runner.errors import AccessDenied
from vlm_runner.models import find
from vlm_runner.spec import StorageSpec
from vlm_runner.testing.world import tiny_spec

if TYPE_CHECKING:
    from vlm_runner.aws.objects_obstore import Engine

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ASKED = "s3:x-amz-server-side-encryption"
DENIALS = {
    "another algorithm": {"StringNotEquals": {ASKED: "aws:kms"}},
    "none": {"Null": {ASKED: "true"}},
    "another key": {"StringNotEqualsIfExists": {f"{ASKED}-aws-kms-key-id": KEY}},
}


@pytest.fixture
def bucket(url: str) -> str:
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    s3.create_bucket(Bucket="encrypted")
    statements = [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::encrypted/*",
            "Condition": condition,
        }
        for condition in DENIALS.values()
    ]
    s3.put_bucket_policy(
        Bucket="encrypted", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements})
    )
    return "encrypted"


@pytest.mark.parametrize("engine", ["aioboto3", "obstore"])
async def test_every_write_asks_for_the_encryption(url: str, bucket: str, engine: Engine) -> None:
    async with AwsSession(region="us-east-1", endpoint_url=url, engine=engine) as aws:
        objects = aws.objects(bucket, owner=None, encryption=Encryption("aws:kms", KEY))
        await objects.put("a", b"a", content_type="text/plain")
        await objects.put_once("b", b"b" * 5 * 1024 * 1024, content_type="text/plain")
        assert await objects.put_if(engine, b"{}", replacing=None) is not None
        await objects.concatenate("d", [("b", 5 * 1024 * 1024), ("a", 1)], cut=0, content_type="text/plain")

        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        shown = {key: s3.head_object(Bucket=bucket, Key=key) for key in ("a", "b", engine, "d")}

    assert {(head["ServerSideEncryption"], head["SSEKMSKeyId"]) for head in shown.values()} == {
        ("aws:kms", KEY)
    }


@pytest.mark.parametrize("engine", ["aioboto3", "obstore"])
@pytest.mark.parametrize(
    "asked", [None, Encryption("AES256"), Encryption("aws:kms", KEY.replace("1234abcd", "ffffffff"))]
)
async def test_the_sandbox_refuses_what_the_policy_denies(
    url: str, bucket: str, engine: Engine, asked: Encryption | None
) -> None:
    async with AwsSession(region="us-east-1", endpoint_url=url, engine=engine) as aws:
        objects = aws.objects(bucket, owner=None, encryption=asked)
        with pytest.raises(AccessDenied):
            await objects.put_once("a", b"a", content_type="text/plain")
        with pytest.raises(AccessDenied):
            await objects.put("a", b"a", content_type="text/plain")


def test_policies_allow_the_key_through_s3_alone() -> None:
    spec = tiny_spec(storage={"kms_key": KEY})
    found = all_documents(scope_of(spec, find(spec.model.base), "123456789012", "us-east-1"))

    for name in ("role_policy", "caller_policy", "ecs_task_policy"):
        (statement,) = [each for each in found[name]["Statement"] if each["Sid"] == "Key"]
        assert statement["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
        assert statement["Resource"] == KEY
        assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}


def test_a_key_implies_kms_and_must_be_a_keys_arn() -> None:
    assert StorageSpec(kms_key=KEY).sse == "aws:kms"
    assert StorageSpec().sse is None
    for bad in ({"kms_key": "alias/mine"}, {"kms_key": KEY, "encryption": "AES256"}, {"encryption": "rot13"}):
        with pytest.raises(ValidationError):
            StorageSpec(**bad)
