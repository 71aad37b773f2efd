"""An S3 store whose bucket demands an encryption header."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from vlm_runner.aws.ecs import EcsTarget
from vlm_runner.aws.ports import Encryption
from vlm_runner.cli import cli
from vlm_runner.cli.submit_run import saving_as_the_stack
from vlm_runner.doctor.documents import Scope, caller_policy, sweeper_policy
from vlm_runner.errors import ConfigurationError
from vlm_runner.settings import Settings
from vlm_runner.stores import open_store, store_encryption, store_environment
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
    found = [
        one
        for document in (caller_policy, sweeper_policy)
        for one in document(scope)["Statement"]
        if one["Sid"] == "CheckpointKey"
    ]

    assert [one["Resource"] for one in found] == [KEY, KEY]
    assert "kms:GenerateDataKey" in found[0]["Action"]
    assert found[1]["Action"] == ["kms:Decrypt"], "reap only reads"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"checkpoint_encryption": "AES256"},
        {"checkpoint_encryption": "aws:kms"},
        {"checkpoint_kms_key": KEY},
    ],
)
def test_another_process_saves_with_the_same(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Settings(**settings)
    for name, value in store_environment(here).items():
        monkeypatch.setenv(name, value)

    assert store_encryption(Settings.from_environment()) == store_encryption(here)


def test_the_steps_of_a_pipeline_save_with_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLM_RUNNER_CHECKPOINT_KMS_KEY", KEY)
    words = ("--image", "i", "--role-arn", "r", "--store", "s3://state", "--region", "us-east-1", "--print")

    made = CliRunner().invoke(cli, ["sagemaker", "upsert", *words])

    steps = json.loads(made.stdout)["Steps"]
    given = [step["Arguments"]["Environment"]["VLM_RUNNER_CHECKPOINT_KMS_KEY"] for step in steps]
    assert given == [KEY] * 4


def stack(**changes: Any) -> EcsTarget:
    common = ("cluster", "family", ("subnet",), ("group",), "DISABLED", "FARGATE", "s3://state/checkpoints")
    return EcsTarget(*common, **changes)


@pytest.mark.parametrize(
    ("settings", "key", "saves"),
    [
        ({}, None, None),
        ({}, KEY, Encryption("aws:kms", KEY)),
        ({"checkpoint_kms_key": KEY}, KEY, Encryption("aws:kms", KEY)),
        ({"checkpoint_encryption": "AES256"}, None, Encryption("AES256")),
    ],
)
def test_who_submits_to_a_stack_saves_as_its_tasks_do(
    settings: dict[str, Any], key: str | None, saves: Encryption | None
) -> None:
    made = saving_as_the_stack(Settings(**settings), stack(checkpoint_kms_key=key), "cats")

    assert store_encryption(made) == saves
    assert made.checkpoint_uri == "s3://state/checkpoints"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"checkpoint_kms_key": KEY}, None),
        ({"checkpoint_encryption": "aws:kms"}, None),
        ({"checkpoint_encryption": "AES256"}, KEY),
        ({"checkpoint_kms_key": KEY.replace("1111", "2222")}, KEY),
    ],
)
def test_what_the_tasks_of_a_stack_would_not_do_is_refused(settings: dict[str, Any], key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="The tasks of the stack cats save checkpoints with"):
        saving_as_the_stack(Settings(**settings), stack(checkpoint_kms_key=key), "cats")
