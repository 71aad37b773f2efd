"""A run as a pipeline: every step a process of the real command line, started by the sandbox's SageMaker."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.e2e.laptop import until
from tests.sagemaker.definition_schema import DEFINITION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

PIPELINE_ROLE = "arn:aws:iam::123456789012:role/pipeline"
FAST_POLL = (
    "VLM_RUNNER_POLL__FIRST=0.05",
    "VLM_RUNNER_POLL__LONGEST=0.2",
    "VLM_RUNNER_POLL__GONE_AFTER=0.1",
)


class Studio:
    """A pipeline in a sandbox, and its commands."""

    def __init__(self, laptop: Laptop, pages: Path) -> None:
        self.laptop = laptop
        laptop.boto("s3").create_bucket(Bucket="state")
        self.flags = ("--store", "s3://state/checkpoints", "--region", "us-east-1")
        self.spec = str(laptop.spec(pages, storage='bucket = "work"'))

    def do(self, verb: str, *words: str) -> Any:
        return self.laptop.here("sagemaker", verb, *words, *self.flags)

    def upsert(self, instances: int = 1) -> Any:
        variables = [word for pair in FAST_POLL for word in ("--env", pair)]
        many = ("--instances", str(instances))
        done = self.do("upsert", "--image", "vlm-runner", "--role-arn", PIPELINE_ROLE, *many, *variables)
        assert done.returncode == 0, done.stderr
        return done

    def start(self, *words: str) -> dict[str, str]:
        done = self.do("start", self.spec, "--yes", "--run-id", "cats", "--json", *words)
        assert done.returncode == 0, done.stderr
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    def wait(self) -> Any:
        return self.do("wait", "cats", "--poll", "0.2", "--timeout", "100s")

    def described(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.do("describe", "cats", "--json").stdout)
        return answer

    def objects(self, prefix: str) -> dict[str, str]:
        s3 = self.laptop.boto("s3")
        if "work" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
            return {}
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="work", Prefix=prefix)
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


@pytest.fixture
def studio(laptop: Laptop, many_pages: Path) -> Studio:
    return Studio(laptop, many_pages)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_instance_and_four_stage_the_same_bytes(studio: Studio) -> None:
    seen = []
    for instances in (1, 4):
        studio.laptop.ask("reset", {})
        studio.laptop.boto("s3").create_bucket(Bucket="state")
        studio.upsert(instances)
        studio.start()
        done = studio.wait()
        assert done.returncode == 0, (done.stdout, done.stderr)
        studio.laptop.assert_paid_once_and_over()
        steps = studio.described()["steps"]
        assert [(step["name"], step["status"]) for step in steps] == [
            ("UploadImages", "Succeeded"),
            ("UploadRecords", "Succeeded"),
            ("Train", "Succeeded"),
            ("ServeTestRelease", "Succeeded"),
        ]
        seen.append(studio.objects("images/") | studio.objects("data/train.jsonl"))

    assert seen[0] == seen[1]
    assert len([key for key in seen[0] if key.startswith("images/train/")]) == 266


def test_starting_twice_is_one_execution(studio: Studio) -> None:
    studio.laptop.ask("clock", {"speed": 1})
    studio.upsert()

    first, second = studio.start(), studio.start()

    assert first == second
    assert studio.do("stop", "cats").returncode == 0
    stopped = studio.wait()
    assert stopped.returncode == 103
    assert "Stopped" in stopped.stdout


def test_a_step_that_fails_is_named_with_its_reason_and_nothing_is_rented(studio: Studio) -> None:
    studio.laptop.ask("scenario", {"fail_next_job": "The learning rate is too high."})
    studio.upsert()
    studio.start()

    failed = studio.wait()

    assert failed.returncode == 100
    assert "step Train failed: The customization job ended as Failed: The learning rate is too high." in (
        failed.stderr
    )
    assert studio.laptop.paid("provisioned_throughput") == []
    assert [step["name"] for step in studio.described()["steps"]] == [
        "UploadImages",
        "UploadRecords",
        "Train",
    ]
    # The failed run was driven to its report all the same.
    status = studio.laptop.here("status", "cats", "--json", *studio.flags)
    assert json.loads(status.stdout)["phase"] == "done"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_instance_that_dies_costs_its_own_shards_and_no_others(studio: Studio) -> None:
    laptop = studio.laptop
    laptop.ask(
        "faults",
        [{"operation": "PutObject", "kind": "slow", "seconds": 2, "times": None, "key_contains": "train/2"}],
    )
    studio.upsert(4)
    studio.start()
    marked = "data/train/shards-"
    until(lambda: studio.objects(marked), "one shard to be done", 120)
    victim = laptop.ask("instances")[-1]
    os.kill(victim["pid"], signal.SIGKILL)
    died = studio.wait()
    laptop.ask("faults", method="DELETE")
    before = studio.objects(marked)
    laptop.ask("calls", method="DELETE")

    studio.start()
    done = studio.wait()

    assert died.returncode == 100
    assert "step UploadImages failed" in died.stderr
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert 1 <= len(before) < 5
    rows = {int(key.rpartition("/")[2][:7]) for key in before}
    again = {call["path"] for call in laptop.ask("calls")["recent"] if call["operation"] == "PutObject"}
    finished = {f"/work/images/train/{row + i:03d}.png" for row in rows for i in range(64)}
    assert again & finished == set()
    laptop.assert_paid_once_and_over()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_selective_runs_one_step_again(studio: Studio) -> None:
    studio.laptop.ask(
        "faults",
        [
            {
                "operation": "CreateProvisionedModelThroughput",
                "kind": "error",
                "times": None,
                "code": "ServiceQuotaExceededException",
                "message": "No units.",
            }
        ],
    )
    studio.upsert()
    studio.start()
    failed = studio.wait()
    studio.laptop.ask("faults", method="DELETE")

    studio.start("--selective", "ServeTestRelease")
    done = studio.wait()

    assert failed.returncode == 100
    assert "No units." in failed.stderr
    assert done.returncode == 0, done.stderr
    assert [step["name"] for step in studio.described()["steps"]] == ["ServeTestRelease"]
    studio.laptop.assert_paid_once_and_over()


def test_upsert_updates_what_is_there_and_delete_forgives(studio: Studio) -> None:
    first, second = studio.upsert(1), studio.upsert(3)

    client = studio.laptop.boto("sagemaker")
    definition = json.loads(client.describe_pipeline(PipelineName="vlm-runner")["PipelineDefinition"])
    assert first.stdout == second.stdout
    jsonschema.validate(definition, DEFINITION, jsonschema.Draft202012Validator)
    assert {"Name": "INST_COUNT", "Type": "Integer", "DefaultValue": 3} in definition["Parameters"]
    assert studio.do("delete").returncode == 0
    assert "Pipeline not found" in studio.do("delete").stderr
    assert studio.do("wait", "cats").returncode == 5
