"""An S3 store whose bucket demands an encryption header."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vlm_runner.aws.ports import Encryption
from vlm_runner.doctor.documents import Scope, caller_policy
from vlm_runner.errors import ConfigurationError
from vlm_runner.settings import Settings
from vlm_runner.stores import open_store
from vlm_runner.testing import FakeObjects, FakeS3

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, None),
        ({"checkpoint_encryption": "AES256"}, Encryption("AES256")),
        ({"checkpoint_encryption": "aws:kms"}, Encryption("aws:kms")),
        ({"checkpoint_kms_key": KEY}, Encryption("aws:kms", KEY)),
    ],
)
def test_saves_ask_for_what_the_settings_say(settings: dict[str, Any], asked: Encryption | None) -> None:
    given: list[Encryption | None] = []

    class Session:
        def state_objects(self, bucket: str, *, encryption: Encryption | None) -> FakeObjects:
            given.append(encryption)
            return FakeObjects(FakeS3(), bucket)

    open_store(
        Settings(checkpoint_uri="s3://state/runs", region="us-east-1", **settings),
        lambda _: Session(),  # type: ignore[arg-type,return-value]
    )

    assert given == [asked]


def test_a_key_goes_with_its_algorithm_only() -> None:
    both = Settings(
        checkpoint_uri="s3://state",
        region="us-east-1",
        checkpoint_kms_key=KEY,
        checkpoint_encryption="AES256",
    )

    with pytest.raises(ConfigurationError, match="checkpoint_kms_key belongs"):
        open_store(both, lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValidationError, match="KMS key's ARN"):
        Settings(checkpoint_kms_key="alias/mine")


def test_the_caller_may_use_the_key_of_the_checkpoints() -> None:
    scope = Scope(
        account="123456789012",
        region="us-east-1",
        bucket="b",
        role_arn="arn:aws:iam::123456789012:role/bedrock-sft",
        base_model="amazon.nova-lite-v1:0:300k",
        inference_model="amazon.nova-lite-v1:0",
        store="state/runs",
        store_key=KEY,
    )
    found = [one for one in caller_policy(scope)["Statement"] if one["Sid"] == "CheckpointKey"]

    assert [one["Resource"] for one in found] == [KEY]
    assert "kms:GenerateDataKey" in found[0]["Action"]
