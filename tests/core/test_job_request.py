"""What organisations ask of every resource: a key of their own, a VPC, tags, names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from vlm_runner.core import names
from vlm_runner.errors import ConfigurationError
from vlm_runner.spec import MOST_TAGS
from vlm_runner.testing import World, run_virtual
from vlm_runner.testing.world import tiny_spec

ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
VPC = {"subnets": ["subnet-0a1", "subnet-0b2"], "security_groups": ["sg-0c3"]}
LONGEST = "a" * 34 + "_{run_id}{uid}"
TAGS = {"team": "accessibility", "cost centre": "42/a"}


def test_key_and_vpc_are_in_the_frozen_request_and_tags_on_all_that_is_created() -> None:
    world = World(training={"role_arn": ROLE, "kms_key": KEY, "vpc": VPC}, tags=TAGS)

    run = run_virtual(world.live)

    assert run.outcome == "succeeded"
    job, throughput = (paid.request for paid in world.bedrock.ledger)
    assert job["customModelKmsKeyId"] == KEY
    assert job["vpcConfig"] == {"subnetIds": VPC["subnets"], "securityGroupIds": VPC["security_groups"]}
    for tags in (job["jobTags"], job["customModelTags"], throughput["tags"]):
        found = {tag["key"]: tag["value"] for tag in tags}
        assert TAGS.items() < found.items()
        assert found["vlm-runner:run-uid"] == run.uid


def test_names_of_ones_own_keep_what_a_run_is_found_by() -> None:
    """The longest that AWS takes; a job whose fate is unknown is looked for by it, and adopted."""
    world = World(training={"role_arn": ROLE, "job_name": "Team.A-{run_id}-{uid}", "model_name": LONGEST})

    run = run_virtual(world.live)

    assert run.outcome == "succeeded"
    assert run.job_intent is not None
    job = world.bedrock.ledger[0].request
    own = names.resource_name(run, "throughput").rpartition("-")[2]
    assert job["jobName"] == run.job_intent.name
    assert re.fullmatch(r"Team\.A-cats-[a-z2-7]{20}", job["jobName"])
    assert re.fullmatch(r"a{34}_cats[a-z2-7]{20}", job["customModelName"])
    assert own not in job["jobName"] + job["customModelName"]  # each kind has a uid of its own
    assert names.may_be_ours(job["customModelName"])


def test_without_them_the_request_is_as_before() -> None:
    world = World()

    run_virtual(world.live)

    job = world.bedrock.ledger[0].request
    assert not {"customModelKmsKeyId", "vpcConfig"} & set(job)
    assert {tag["key"] for tag in job["jobTags"]} == {"vlm-runner:run-uid", "vlm-runner:run-id"}


@pytest.mark.parametrize(
    ("sections", "field", "said"),
    [
        ({"training": {"kms_key": "alias/mine"}}, "training.kms_key", "arn:aws:kms:"),
        ({"training": {"kms_key": KEY[:-1]}}, "training.kms_key", "36 characters"),
        ({"training": {"vpc": {"subnets": ["subnet-0a1"]}}}, "security_groups", "required"),
        ({"training": {"vpc": VPC | {"subnets": []}}}, "vpc.subnets", "at least 1"),
        ({"training": {"vpc": VPC | {"subnets": ["vpc-0a1"]}}}, "vpc.subnets.0", "subnet-"),
        ({"training": {"vpc": VPC | {"security_groups": ["sg-1"] * 6}}}, "security_groups", "at most 5"),
        ({"training": {"job_name": "team-a"}}, "training.job_name", "{uid} once"),
        ({"training": {"job_name": "{run_id}-{uid}-{base}"}}, "training.job_name", "no other braces"),
        ({"training": {"job_name": "team a-{uid}"}}, "training.job_name", "must match"),
        ({"training": {"model_name": "team.a-{uid}"}}, "training.model_name", "must match"),
        ({"training": {"model_name": "a--{uid}"}}, "training.model_name", "must match"),
        ({"training": {"model_name": f"a{LONGEST}"}}, "training.model_name", "leaves room for 35"),
        ({"tags": {"vlm-runner:run-uid": "x"}}, "tags", "reserved"),
        ({"tags": {"AWS:x": "y"}}, "tags", "reserved"),
        ({"tags": {"team": "a&b"}}, "tags.team", "letters, digits"),
        ({"tags": {"k" * 129: ""}}, "tags", "at most 128"),
        ({"tags": {f"k{i}": "" for i in range(MOST_TAGS + 1)}}, "tags", f"at most {MOST_TAGS}"),
    ],
)
def test_what_aws_would_refuse_is_refused_when_the_spec_is_read(
    sections: dict[str, Any], field: str, said: str
) -> None:
    training = {"role_arn": ROLE} | sections.get("training", {})

    with pytest.raises(ConfigurationError) as error:
        tiny_spec(**sections | {"training": training})

    assert field in str(error.value)
    assert said in str(error.value)


def test_a_spec_without_them_is_the_same_spec_as_before() -> None:
    """Its fingerprint decides whether a start is the run that is under way."""
    assert tiny_spec().fingerprint == tiny_spec(tags={}).fingerprint
    assert tiny_spec(tags=TAGS).fingerprint != tiny_spec().fingerprint
