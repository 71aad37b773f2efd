"""The pipeline's definition, by itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from tests.sagemaker.definition_schema import DEFINITION
from vlm_runner.errors import ConfigurationError
from vlm_runner.sagemaker.definition import STEPS, Blueprint, definition, display_name
from vlm_runner.sagemaker.hosts import part_of

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/pipeline"
BLUEPRINT = Blueprint("repo/vlm-runner:1", "s3://bucket/checkpoints", ROLE, instances=4)
IN_A_VPC = replace(
    BLUEPRINT, environment={"AWS_REGION": "us-east-1"}, subnets=("subnet-1",), security_groups=("sg-1",)
)
VALUES = {"RUN_ID": "cats", "ROLE_ARN": ROLE, "INST_TYPE": "ml.t3.large", "INST_COUNT": 4}


def filled(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return VALUES[value["Get"].removeprefix("Parameters.")]
        return {key: filled(one) for key, one in value.items()}
    return [filled(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("blueprint", [BLUEPRINT, IN_A_VPC], ids=["public", "vpc"])
def test_it_is_valid_against_the_schema_that_aws_publishes(blueprint: Blueprint) -> None:
    jsonschema.validate(definition(blueprint), DEFINITION, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Name", "Upload images"),
        ("Type", "processing"),
        ("DependsOn", "UploadImages"),
        ("RetryPolicies", [{"ExceptionType": ["Step.THROTTLING"]}]),
        ("Arguments", {"RoleArn": {"Get": 1}}),
    ],
)
def test_the_schema_refuses_what_is_wrong(key: str, value: Any) -> None:
    made = definition(BLUEPRINT)
    made["Steps"][1][key] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, DEFINITION, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("blueprint", [BLUEPRINT, IN_A_VPC], ids=["public", "vpc"])
def test_every_step_is_a_processing_job_that_sagemaker_takes(blueprint: Blueprint) -> None:
    """
    A Processing step's arguments are CreateProcessingJob's, but for the name.
    """
    model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")
    shape = model.operation_model("CreateProcessingJob").input_shape
    assert shape is not None

    for step in definition(blueprint)["Steps"]:
        arguments = filled(step["Arguments"]) | {"ProcessingJobName": "x"}
        assert step["Type"] == "Processing"
        assert not ParamValidator().validate(arguments, shape).has_errors()


def test_the_order_is_the_notebooks_and_what_rents_is_what_releases() -> None:
    steps = definition(BLUEPRINT)["Steps"]

    assert [step["Name"] for step in steps] == list(STEPS)
    assert [step.get("DependsOn", []) for step in steps] == [[], *([name] for name in STEPS[:-1])]
    assert [filled(step["Arguments"]["AppSpecification"]["ContainerArguments"]) for step in steps] == [
        ["stage", "cats"],
        ["resume", "cats", "--until", "recording"],
        ["resume", "cats", "--until", "training"],
        ["resume", "cats"],
    ]


def test_only_the_upload_of_images_has_many_instances() -> None:
    counts = [
        filled(step["Arguments"]["ProcessingResources"]["ClusterConfig"]["InstanceCount"])
        for step in definition(BLUEPRINT)["Steps"]
    ]

    assert counts == [4, 1, 1, 1]


def test_nothing_is_cached_since_a_cached_step_would_be_an_old_run() -> None:
    assert "CacheConfig" not in json.dumps(definition(BLUEPRINT))


def test_it_is_made_of_nothing_but_its_blueprint() -> None:
    assert definition(BLUEPRINT) == definition(BLUEPRINT)
    assert {one["Name"] for one in definition(BLUEPRINT)["Parameters"]} == VALUES.keys()
    assert set(definition(BLUEPRINT)) == {"Version", "Metadata", "Parameters", "Steps"}


def test_a_part_is_read_off_the_resource_configuration(tmp_path: Path) -> None:
    hosts = [f"algo-{number}" for number in range(1, 13)]
    path = tmp_path / "resourceconfig.json"
    parts = []
    for host in hosts:
        # SageMaker promises no order.
        path.write_text(json.dumps({"current_host": host, "hosts": sorted(hosts)}))
        parts.append(part_of(path))

    assert parts == [(number, 12) for number in range(12)]


def test_outside_of_sagemaker_one_machine_does_all(tmp_path: Path) -> None:
    assert part_of(tmp_path / "none") == (0, 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hosts": ["a"], "current_host": "b"}', '{"hosts": 3}'])
def test_a_broken_resource_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "resourceconfig.json"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r"resourceconfig\.json"):
        part_of(path)


def test_the_defaults_fit_the_quotas_of_a_new_account() -> None:
    """AWS General Reference: 432,000 s for a processing job; 4 of ml.t3.large, 2 of ml.t3.xlarge."""
    steps = definition(Blueprint("image", "s3://bucket/checkpoints", ROLE))["Steps"]

    assert max(step["Arguments"]["StoppingCondition"]["MaxRuntimeInSeconds"] for step in steps) == 432_000
    assert (
        filled(steps[0]["Arguments"])["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.t3.large"
    )


def test_only_the_step_that_waits_for_training_may_take_longer() -> None:
    steps = definition(replace(BLUEPRINT, train_days=9))["Steps"]

    assert [step["Arguments"]["StoppingCondition"]["MaxRuntimeInSeconds"] // 86_400 for step in steps] == [
        1,
        1,
        9,
        1,
    ]


@pytest.mark.parametrize("run_id", ["cats", "my_run.1", "My..Run__2", "a" * 96, "x--y", "v1.2-", "-", "9"])
def test_an_execution_of_any_run_has_a_name_that_sagemaker_takes(run_id: str) -> None:
    name = display_name(run_id)

    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,81}", name)
    assert name == display_name(run_id)
    assert (name == run_id) == bool(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,81}", run_id))


def test_runs_whose_ids_look_alike_have_different_names() -> None:
    assert len({display_name(one) for one in ("my_run", "my.run", "my-run", "my run")}) == 4
