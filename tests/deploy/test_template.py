"""deploy/template.yaml: clean, creatable, and its task may do what runs do, and nothing more."""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from moto.events.models import EventPattern

from tests.e2e.judgements import needless
from tests.e2e.principals import InTwoMonths
from vlm_runner.cli.iam import DOCUMENTS
from vlm_runner.sandbox.policies import Question, decide

from .stack import TEMPLATE, create_stack

if TYPE_CHECKING:
    from tests.e2e.laptop import Laptop

ACTIONS: dict[str, tuple[str, ...]] = {
    "GetCallerIdentity": (),  # allowed to everyone (STS API reference)
    "HeadBucket": ("s3:ListBucket",),
    "ListObjectsV2": ("s3:ListBucket",),
    "GetBucketLocation": ("s3:GetBucketLocation",),
    "GetObject": ("s3:GetObject",),
    "HeadObject": ("s3:GetObject",),
    "PutObject": ("s3:PutObject",),
    "CreateMultipartUpload": ("s3:PutObject",),
    "UploadPart": ("s3:PutObject",),
    "CompleteMultipartUpload": ("s3:PutObject",),
    "AbortMultipartUpload": ("s3:AbortMultipartUpload",),
    "DeleteObject": ("s3:DeleteObject",),
    "Converse": ("bedrock:InvokeModel",),
    "CreateModelCustomizationJob": (
        "bedrock:CreateModelCustomizationJob",
        "bedrock:TagResource",
        "iam:PassRole",
    ),
    "CreateProvisionedModelThroughput": ("bedrock:CreateProvisionedModelThroughput", "bedrock:TagResource"),
    "CreateCustomModelDeployment": ("bedrock:CreateCustomModelDeployment", "bedrock:TagResource"),
    "ReceiveMessage": ("sqs:ReceiveMessage",),
    "DeleteMessage": ("sqs:DeleteMessage",),
    "ChangeMessageVisibility": ("sqs:ChangeMessageVisibility",),
}
"""Where an operation and its action differ in name, or it needs more than one; by each service's own page."""

ONLY_IN_TROUBLE = {
    "bedrock:ListTagsForResource",  # before what an earlier attempt rented is adopted
    "s3:AbortMultipartUpload",  # of a large JSONL file whose assembly fails
    "s3:DeleteObject",  # of a marker; see the test of it
    "scheduler:GetSchedule",  # before what an earlier attempt rented is adopted
    "s3:GetBucketLocation",  # where HeadBucket does not say the region
}


KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture
def stack(laptop: Laptop) -> dict[str, str]:
    """The template, created in the sandbox; its outputs."""
    return create_stack(laptop)


def arn_of(laptop: Laptop, logical_id: str) -> str:
    arns: list[str] = [role["Arn"] for role in laptop.boto("iam").list_roles()["Roles"]]
    (arn,) = [arn for arn in arns if logical_id in arn]
    return arn


def policy_of(laptop: Laptop, logical_id: str) -> list[dict[str, Any]]:
    iam = laptop.boto("iam")
    role = arn_of(laptop, logical_id).rpartition("/")[2]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    texts = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = {"PolicyArn": attached["PolicyArn"], "VersionId": "v1"}
        texts.append(iam.get_policy_version(**version)["PolicyVersion"]["Document"])
    # moto keeps what CloudFormation gave it as Python's own text.
    documents = [ast.literal_eval(text) if isinstance(text, str) else text for text in texts]
    # moto leaves AWS::NoValue behind as None, where CloudFormation leaves nothing.
    return [statement for document in documents for statement in document["Statement"] if statement]


def allowed(statements: list[dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for statement in statements:
        actions = statement["Action"]
        found |= set(actions if isinstance(actions, list) else [actions])
    return found


def used(laptop: Laptop) -> set[str]:
    """The actions behind what the sandbox was asked for by the runner (not by this test's own boto3)."""
    found: set[str] = set()
    for call in laptop.ask("calls")["recent"]:
        operation = call["operation"]
        if "app/vlm-runner" in call["caller"] or operation in {"PutObject", "GetObject"}:
            found |= set(ACTIONS.get(operation, (f"{call['service'].split('-')[0]}:{operation}",)))
    return found


def resources_of_template() -> dict[str, Any]:
    # Imported here: it brings sympy with it, which no other test needs.
    from cfnlint.decode.cfn_yaml import loads

    found: dict[str, Any] = loads(TEMPLATE.read_text())["Resources"]
    return found


def test_cfn_lint_finds_nothing() -> None:
    tool = Path(sys.executable).parent / "cfn-lint"
    lint = subprocess.run([str(tool), str(TEMPLATE)], capture_output=True, text=True, timeout=100)

    assert (lint.returncode, lint.stdout) == (0, "")


def test_the_task_may_do_what_runs_do_and_nothing_more(
    laptop: Laptop, stack: dict[str, str], pages: Path
) -> None:
    where = {"VLM_RUNNER_QUEUE_URL": stack["QueueUrl"], "AWS_REGION": "us-east-1"}
    where |= laptop.session_of(arn_of(laptop, "TaskRole"))
    common = {
        "storage": f'bucket = "{stack["Bucket"]}"',
        "training": f'role_arn = "{stack["BedrockRoleArn"]}"',
    }
    switch = f'dead_man_switch = {{ after = "24h", role_arn = "{stack["DeadManSwitchRoleArn"]}" }}'
    rented = f'mode = "provisioned"\n{switch}'
    runs = {
        "provisioned": {"serving": rented, "test": "rows = 1\ncompare_base = true"},
        "on-demand": {"serving": 'mode = "on-demand"', "test": "rows = 1"},
        "kept": {"serving": f'keep = "20h"\n{switch}', "test": "rows = 1"},
        "cancelled": {"test": "rows = 1"},
    }
    laptop.boto("sqs").send_message(QueueUrl=stack["QueueUrl"], MessageBody="somebody else's")
    did: set[str] = set()
    codes: dict[str, int] = {}
    for name, changes in runs.items():
        spec = laptop.spec(pages, f"{name}.toml", **common, **changes)
        submitted = laptop.here("submit", str(spec), "--yes", "--run-id", name)
        assert submitted.returncode == 0, submitted.stderr
        laptop.ask("calls", method="DELETE")
        resume = ("resume", name, "-q", "--store", stack["CheckpointUri"])
        if name == "cancelled":
            # However slow this machine is, there must still be a job to stop.
            laptop.ask("scenario", {"job_seconds": 10 * 86400})
            laptop.ask("clock", {"speed": 1})
            laptop.here(*resume, "--until", "submitting", **where)
            laptop.here("cancel", name, "--detach", "--store", stack["CheckpointUri"], **where)
            laptop.ask("clock", {"speed": 3600})
        codes[name] = laptop.here(*resume, **where).returncode
        did |= used(laptop)
    # The switch strikes: nobody has deleted what was kept.
    laptop.ask("clock", {"advance_seconds": 2 * 86400})

    assert codes == {"provisioned": 0, "on-demand": 0, "kept": 0, "cancelled": 103}
    may = allowed(policy_of(laptop, "TaskRole"))
    assert did - may == set()
    assert may - did - ONLY_IN_TROUBLE == set()
    judged = laptop.ask("authorizations")
    assert [one for one in judged if one["decision"] != "allowed"] == []
    for role, unused in (("TaskRole", ["Markers"]), ("BedrockRole", []), ("DeadManSwitchRole", [])):
        asked = [one for one in judged if f"-{role}-" in one["principal"]]
        assert asked, f"nobody used {role}"
        left = needless(policy_of(laptop, role), asked)
        assert [one.get("Sid") for one in left if one["Effect"] == "Allow"] == unused


def test_the_task_may_delete_the_marker_of_a_shard_whose_image_is_gone(
    laptop: Laptop, stack: dict[str, str], pages: Path
) -> None:
    s3, bucket = laptop.boto("s3"), stack["Bucket"]
    for file in pages.iterdir():
        s3.upload_file(str(file), bucket, f"pages/{file.name}")
    spec = laptop.spec(
        pages,
        dataset=f'source = "s3://{bucket}/pages"',
        storage=f'bucket = "{bucket}"',
        training=f'role_arn = "{stack["BedrockRoleArn"]}"',
    )
    where = laptop.session_of(arn_of(laptop, "TaskRole")) | {"AWS_REGION": "us-east-1"}

    def stage(run_id: str, *options: str) -> None:
        submitted = laptop.here("submit", str(spec), "--yes", "--run-id", run_id)
        assert submitted.returncode == 0, submitted.stderr
        staged = laptop.here("stage", run_id, *options, "--store", stack["CheckpointUri"], **where)
        assert staged.returncode == 0, staged.stderr

    stage("before")
    image = s3.list_objects_v2(Bucket=bucket, Prefix="images/train/")["Contents"][0]["Key"]
    s3.delete_object(Bucket=bucket, Key=image)
    stage("after", "--verify")

    assert s3.head_object(Bucket=bucket, Key=image)["ContentLength"] > 0
    judged = [one for one in laptop.ask("authorizations") if "-TaskRole-" in one["principal"]]
    assert [one for one in judged if one["decision"] != "allowed"] == []
    assert "Markers" not in [one["Sid"] for one in needless(policy_of(laptop, "TaskRole"), judged)]


def test_the_task_may_put_the_tags_of_its_stack_on_what_it_buys_and_no_others(
    laptop: Laptop, pages: Path
) -> None:
    stack = create_stack(laptop, OwnTagKeys="team,cost-centre")
    where = {"AWS_REGION": "us-east-1"} | laptop.session_of(arn_of(laptop, "TaskRole"))
    codes = {}
    for key in ("team", "owner"):
        spec = laptop.spec(
            pages,
            f"{key}.toml",
            storage=f'bucket = "{stack["Bucket"]}"',
            training=f'role_arn = "{stack["BedrockRoleArn"]}"',
            serving='mode = "none"',
            tags=f'{key} = "cats"',
        )
        assert laptop.here("submit", str(spec), "--yes", "--run-id", key).returncode == 0
        resume = ("resume", key, "-q", "--store", stack["CheckpointUri"])
        codes[key] = laptop.here(*resume, **where).returncode

    assert codes == {"team": 0, "owner": 5}


def reap_models(age: str) -> list[str]:
    """The command of the rule, filled in as CloudFormation does."""
    (target,) = resources_of_template()["ReapModels"]["Properties"]["Targets"]
    filled = json.loads(target["Input"]["Fn::Sub"].replace("${ReapModelsOlderThan}", age))
    command: list[str] = filled["containerOverrides"][0]["command"]
    return command


def test_models_are_reaped_only_where_an_age_is_given() -> None:
    assert resources_of_template()["ReapModels"]["Condition"] == "ReapsModels"
    assert reap_models("30d") == ["reap", "--models", "--older-than", "30d", "--yes"]


@pytest.mark.long
def test_reap_may_do_what_the_scheduled_reap_does(laptop: Laptop, stack: dict[str, str], pages: Path) -> None:
    laptop.ask("clock", {"speed": 3600})
    spec = laptop.spec(
        pages,
        storage=f'bucket = "{stack["Bucket"]}"',
        training=f'role_arn = "{stack["BedrockRoleArn"]}"',
        serving='keep = "1s"',
        test="rows = 1",
    )
    where = {"VLM_RUNNER_CHECKPOINT_URI": stack["CheckpointUri"], "AWS_REGION": "us-east-1"}
    kept = laptop.here("start", str(spec), "--yes", "-q", **where)
    assert kept.returncode == 0, kept.stderr
    laptop.ask("calls", method="DELETE")

    with mock.patch("vlm_runner.cli.reap_endpoints.SystemClock", InTwoMonths):
        reaped = laptop.here("reap", "--yes", **where, **laptop.session_of(arn_of(laptop, "ReapRole")))
        models = laptop.here(*reap_models("30d"), **where, **laptop.session_of(arn_of(laptop, "ReapRole")))

    may = allowed(policy_of(laptop, "ReapRole"))
    assert reaped.returncode in {0, 104}, reaped.stderr
    assert models.returncode == 0, models.stderr
    assert laptop.boto("bedrock").list_custom_model_deployments()["modelDeploymentSummaries"] == []
    assert laptop.boto("bedrock").list_custom_models()["modelSummaries"] == []
    judged = laptop.ask("authorizations")
    assert [one for one in judged if one["decision"] != "allowed"] == []
    asked = [one for one in judged if "-ReapRole-" in one["principal"]]
    assert needless(policy_of(laptop, "ReapRole"), asked) == []
    assert used(laptop) - may == set()
    assert all(action.partition(":")[2].startswith(("Get", "List", "Delete")) for action in may)
    assert "s3:DeleteObject" not in may


def test_a_pipeline_may_do_what_runs_do_and_run_its_steps(laptop: Laptop, stack: dict[str, str]) -> None:
    pipeline, task = policy_of(laptop, "PipelineRole"), policy_of(laptop, "TaskRole")

    more = [statement for statement in pipeline if statement not in task]
    services = {action.partition(":")[0] for action in allowed(more)}
    passes = [statement["Resource"] for statement in more if statement["Action"] == "iam:PassRole"]
    assert task != []
    assert [statement for statement in task if statement not in pipeline] == []
    assert services == {"sagemaker", "iam", "ecr", "logs", "cloudwatch"}
    assert passes == [stack["PipelineRoleArn"]]


@pytest.mark.parametrize(
    "role", ["TaskRole", "PipelineRole", "ReapRole", "ExecutionRole", "BedrockRole", "EventsRole"]
)
def test_no_role_has_wildcards_for_actions(laptop: Laptop, stack: dict[str, str], role: str) -> None:
    assert not any("*" in action for action in allowed(policy_of(laptop, role)))


@pytest.mark.long
def test_the_role_of_the_stack_is_one_that_bedrock_takes(
    laptop: Laptop, stack: dict[str, str], pages: Path
) -> None:
    training = f'role_arn = "{stack["BedrockRoleArn"]}"'

    done = laptop.here(
        "start",
        str(
            laptop.spec(
                pages, training=training, storage=f'bucket = "{stack["Bucket"]}"', serving='mode = "none"'
            )
        ),
        "--yes",
        "-q",
    )

    assert done.returncode == 0, done.stderr


def test_events_of_our_jobs_and_no_others_reach_the_queue(laptop: Laptop, stack: dict[str, str]) -> None:
    rules = laptop.boto("events").list_rules()["Rules"]
    pattern = next(
        json.loads(rule["EventPattern"]) for rule in rules if "customization" in rule["Description"]
    )

    assert pattern["detail"]["jobName"] == [{"prefix": "vr-"}]
    assert pattern["detail"]["jobStatus"] == ["Completed", "Failed", "Stopped"]


AGENT = {"name": "aws-guardduty-agent-AbCdEf"}
OURS = {"name": "runner", "command": ["resume", "cats"]}


@pytest.mark.parametrize(
    "overrides", [[OURS], [OURS, AGENT], [AGENT, OURS], [AGENT, AGENT, OURS]], ids=range(4)
)
def test_a_task_that_is_run_again_gets_its_own_command_wherever_ecs_lists_it(
    overrides: list[dict[str, Any]],
) -> None:
    """ECS lists the overrides of containers that AWS injects (GuardDuty) too, in no promised order."""
    rule = resources_of_template()["Restart"]["Properties"]
    started = []
    for target in rule["Targets"]:
        (path,) = target["InputTransformer"]["InputPathsMap"].values()
        place = int(path.partition("[")[2].partition("]")[0])
        assert path == f"$.detail.overrides.containerOverrides[{place}].command"
        command = overrides[place].get("command") if place < len(overrides) else None
        # A variable whose path is not there is left out (EventBridge user guide, input transformation).
        filled = target["InputTransformer"]["InputTemplate"].replace(
            "<command>", "" if command is None else json.dumps(command)
        )
        with contextlib.suppress(ValueError):
            started.append(json.loads(filled)["containerOverrides"])
        assert target["EcsParameters"]["TaskDefinitionArn"] == {"Ref": "Task"}

    assert started == [[OURS]]


def test_an_invocation_that_fails_is_kept_and_alarms() -> None:
    """Of the targets of a restart all but one fail as they must: more than that is a run that stays down."""
    template = resources_of_template()
    rules = ("Restart", "Reap", "ReapModels")
    targets = [one for rule in rules for one in template[rule]["Properties"]["Targets"]]
    alarm = template["RestartFailed"]["Properties"]
    counted = {one["Id"]: one for one in alarm["Metrics"]}

    assert {json.dumps(one["DeadLetterConfig"]) for one in targets} == {
        json.dumps({"Arn": {"Fn::GetAtt": ["DeadLetters", "Arn"]}})
    }
    assert counted["lost"]["Expression"] == "failed - 2 * triggered"
    assert len(template["Restart"]["Properties"]["Targets"]) == 2 + 1
    names = {one["MetricStat"]["Metric"]["MetricName"] for one in counted.values() if "MetricStat" in one}
    assert names == {"FailedInvocations", "TriggeredRules"}
    assert template["ReapFailed"]["Properties"]["MetricName"] == "FailedInvocations"


STOPPED = {
    "clusterArn": "ours",
    "group": "family:vlm-runner-run",
    "lastStatus": "STOPPED",
    "stopCode": "EssentialContainerExited",
    "containers": [{"name": "runner", "exitCode": 75}],
}
"""What ECS tells of a task that stopped (ECS Developer Guide, task state change events)."""


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, True),
        ({"stopCode": "SpotInterruption"}, True),
        ({"containers": [{"name": "sidecar", "exitCode": 0}, {"name": "runner", "exitCode": 75}]}, True),
        ({"stopCode": "UserInitiated"}, False),
        *(({"containers": [{"name": "runner", "exitCode": code}]}, True) for code in (104, 137, 139, 143)),
        *(({"containers": [{"name": "runner", "exitCode": code}]}, False) for code in (0, 1, 4, 5, 100, 103)),
        ({"containers": [{"name": "runner"}]}, False),
        ({"lastStatus": "DEPROVISIONING"}, False),
        ({"group": "family:vlm-runner-reap"}, False),
        ({"group": "step-functions"}, False),
        ({"clusterArn": "another"}, False),
    ],
    ids=range(19),
)
def test_a_task_that_was_killed_or_says_that_it_can_go_on_or_bills_is_run_again(
    change: dict[str, Any], again: bool
) -> None:
    pattern = resources_of_template()["Restart"]["Properties"]["EventPattern"]
    assert pattern["detail"]["clusterArn"] == [{"Fn::GetAtt": ["Cluster", "Arn"]}]
    assert pattern["detail"]["group"] == [{"Fn::Sub": "family:${AWS::StackName}-run"}]
    pattern["detail"] |= {"clusterArn": ["ours"], "group": ["family:vlm-runner-run"]}
    rule = EventPattern.load(json.dumps(pattern))

    detail = STOPPED | change
    # EventBridge matches an object of a list by itself; moto's matcher does not look into lists of objects.
    events: list[Any] = [
        {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail | {"containers": one}}
        for one in detail["containers"]
    ]

    assert any(rule.matches_event(event) for event in events) is again


def test_submit_uploads_a_local_dataset_and_starts_one_task_which_needs_it_no_more(
    laptop: Laptop, stack: dict[str, str], pages: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(pages, tmp_path / "pages")
    spec = laptop.spec(
        own,
        training=f'role_arn = "{stack["BedrockRoleArn"]}"',
        storage=f'bucket = "{stack["Bucket"]}"',
    )

    first = laptop.here("submit", str(spec), "--yes", "--run-id", "cats")
    staged = laptop.boto("s3").list_objects_v2(Bucket=stack["Bucket"], Prefix="data/train")["Contents"]
    own.rename(own.with_name("gone"))
    second = laptop.here("submit", str(spec), "--yes", "--run-id", "cats", "--json")

    assert first.returncode == 0, first.stderr
    assert first.stdout == "cats\n"
    assert "The dataset is on this machine" in first.stderr
    assert "data/train.jsonl" in [each["Key"] for each in staged]
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["checkpoint_uri"] == stack["CheckpointUri"]
    ecs = laptop.boto("ecs")
    arns = ecs.list_tasks(cluster=stack["Cluster"])["taskArns"]
    tasks = ecs.describe_tasks(cluster=stack["Cluster"], tasks=arns)["tasks"]
    (container,) = tasks[0]["overrides"]["containerOverrides"]
    assert container["command"] == ["resume", "cats"]
    assert tasks[0]["startedBy"] == "vlm-runner"
    # What the task would do, with what the task definition gives it.
    done = laptop.here(
        *container["command"],
        VLM_RUNNER_CHECKPOINT_URI=stack["CheckpointUri"],
        VLM_RUNNER_QUEUE_URL=stack["QueueUrl"],
        AWS_REGION="us-east-1",
    )
    assert done.returncode == 0, done.stderr
    laptop.assert_paid_once_and_over()


def test_with_a_key_all_is_encrypted_with_it_and_each_role_may_use_it_as_far_as_it_must(
    laptop: Laptop, pages: Path
) -> None:
    stack = create_stack(laptop, KmsKeyArn=KEY)
    spec = laptop.spec(
        pages,
        training=f'role_arn = "{stack["BedrockRoleArn"]}"',
        storage=f'bucket = "{stack["Bucket"]}"',
        serving='keep = "1h"',
        test="rows = 1",
    )

    submitted = laptop.here("submit", str(spec), "--yes", "--run-id", "cats")
    assert submitted.returncode == 0, submitted.stderr
    definition = laptop.boto("ecs").describe_task_definition(taskDefinition=stack["TaskDefinition"])
    (container,) = definition["taskDefinition"]["containerDefinitions"]
    given = {each["name"]: each["value"] for each in container["environment"] if each}
    assert given["VLM_RUNNER_CHECKPOINT_KMS_KEY"] == KEY
    laptop.ask("calls", method="DELETE")
    driven = laptop.here("resume", "cats", "-q", **given, **laptop.session_of(arn_of(laptop, "TaskRole")))
    assert driven.returncode == 0, driven.stderr
    laptop.ask("clock", {"advance_seconds": 7200})
    reaping = {"VLM_RUNNER_CHECKPOINT_URI": stack["CheckpointUri"], "AWS_REGION": "us-east-1"}
    reaped = laptop.here("reap", "--yes", **reaping, **laptop.session_of(arn_of(laptop, "ReapRole")))
    assert reaped.returncode in {0, 104}, reaped.stderr

    s3 = laptop.boto("s3")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=stack["Bucket"])["Contents"]]
    heads = {key: s3.head_object(Bucket=stack["Bucket"], Key=key) for key in keys}
    assert {head.get("SSEKMSKeyId") for head in heads.values()} == {KEY}, heads
    judged = laptop.ask("authorizations")
    assert [one for one in judged if one["decision"] != "allowed"] == []
    wanted = {"kms:Decrypt", "kms:GenerateDataKey"}
    for role, uses in (("TaskRole", wanted), ("BedrockRole", wanted), ("ReapRole", {"kms:Decrypt"})):
        did = {one["action"] for one in judged if f"-{role}-" in one["principal"]}
        assert {action for action in did if action.startswith("kms:")} == uses, role
        may = allowed(policy_of(laptop, role))
        assert {action for action in may if action.startswith("kms:")} == uses, role


def test_a_task_that_ecs_will_not_run_is_told_with_its_reason(laptop: Laptop, pages: Path) -> None:
    refused = laptop.here("submit", str(laptop.spec(pages)), "--yes", "--stack", "none-such")

    assert refused.returncode == 5
    assert "none-such" in refused.stderr


RENTED = {
    "bedrock:DeleteCustomModelDeployment",
    "bedrock:DeleteProvisionedModelThroughput",
    "bedrock:StopModelCustomizationJob",
}
BOUGHT = {
    "bedrock:CreateCustomModelDeployment",
    "bedrock:CreateModelCustomizationJob",
    "bedrock:CreateProvisionedModelThroughput",
}


def statements_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a role or a policy in the template, with those that a parameter adds."""
    properties = document["Properties"]
    inline = [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
    documents = [*inline, *([properties["PolicyDocument"]] if "PolicyDocument" in properties else ())]
    written = [statement for one in documents for statement in one["Statement"]]
    return [one["Fn::If"][1] if "Fn::If" in one else one for one in written]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item for name, item in resources_of_template().items() if item["Type"].startswith(kind)}


def actions_of(statement: dict[str, Any]) -> set[str]:
    actions = statement["Action"]
    return set(actions if isinstance(actions, list) else [actions])


@pytest.mark.parametrize(
    ("actions", "key"),
    [(RENTED, "aws:ResourceTag/vlm-runner:run-uid"), (BOUGHT, "aws:RequestTag/vlm-runner:run-uid")],
    ids=["ending", "buying"],
)
def test_nobody_ends_what_is_not_ours_and_all_that_is_bought_is_marked(actions: set[str], key: str) -> None:
    roles = resources("AWS::IAM::")
    having = [
        (name, statement)
        for name, role in roles.items()
        for statement in statements_of(role)
        if actions_of(statement) & actions
    ]

    assert {name for name, _ in having} >= {"RunPolicy"}
    assert [(name, one.get("Condition")) for name, one in having] == [
        (name, {"Null": {key: "false"}}) for name, _ in having
    ]


def test_for_each_role_the_worst_of_a_stolen_credential_is_written_down() -> None:
    page = (TEMPLATE.parents[1] / "docs" / "security.md").read_text(encoding="utf-8")

    roles = set(resources("AWS::IAM::Role")) | set(resources("AWS::IAM::ManagedPolicy"))
    assert roles >= {"TaskRole", "EventsRole", "RunPolicy"}
    assert [name for name in sorted(roles | set(DOCUMENTS)) if f"`{name}`" not in page] == []


def test_a_role_is_taken_only_by_its_service_for_something_of_this_account() -> None:
    unconfined = {
        "ExecutionRole"
    }  # not documented for execution roles: a denial would keep tasks from starting

    for name, role in resources("AWS::IAM::Role").items():
        (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        condition = trust["Condition"]
        assert "aws:SourceAccount" in condition["StringEquals"], name
        sources = condition.get("ArnLike", {}) | condition.get("ArnEquals", {})
        assert ("aws:SourceArn" in sources) is (name not in unconfined), name


def test_bedrock_cannot_read_the_state_of_runs() -> None:
    denied = [
        one for one in statements_of(resources("AWS::IAM::Role")["BedrockRole"]) if one["Effect"] == "Deny"
    ]

    assert [one["Resource"] for one in denied] == [{"Fn::Sub": "${Bucket.Arn}/checkpoints/*"}]
    assert actions_of(denied[0]) == {"s3:GetObject", "s3:PutObject"}


def test_without_its_denial_bedrock_could_read_the_state_of_runs(
    laptop: Laptop, stack: dict[str, str]
) -> None:
    statements = policy_of(laptop, "BedrockRole")
    state = f"arn:aws:s3:::{stack['Bucket']}/checkpoints/runs/cats/state.json"
    asked = Question("s3:GetObject", state)

    assert decide([{"Statement": statements}], asked) == "explicitDeny"
    allowing = [one for one in statements if one["Effect"] == "Allow"]
    assert len(allowing) == len(statements) - 1
    assert decide([{"Statement": allowing}], asked) == "allowed"


DOCUMENTED: dict[str, tuple[str, list[set[str]]]] = {
    "ExecutionRole": (
        "Amazon ECS Developer Guide, task_execution_IAM_role; HubTokenSecretArn adds the last",
        [
            {"ecr:GetAuthorizationToken"},
            {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"},
            {"logs:CreateLogStream", "logs:PutLogEvents"},
            {"secretsmanager:GetSecretValue"},
        ],
    ),
    "EventsRole": (
        "Amazon EventBridge User Guide, eb-use-identity-based: a rule that runs ECS tasks",
        [{"ecs:RunTask"}, {"iam:PassRole"}],
    ),
    "PipelinePolicy": (
        "SageMaker Developer Guide, build-and-manage-access and sagemaker-roles (CreateProcessingJob)",
        [
            {
                "sagemaker:AddTags",
                "sagemaker:CreateProcessingJob",
                "sagemaker:DescribeProcessingJob",
                "sagemaker:StopProcessingJob",
            },
            {"iam:PassRole"},
            {"ecr:GetAuthorizationToken"},
            {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"},
            {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"},
            {"cloudwatch:PutMetricData"},
        ],
    ),
}
"""What AWS's services do under roles of ours, which no sandbox shows: the page, and the rights it lists."""
JUDGED = {"BedrockRole", "RunPolicy", "KeyPolicy", "DeadManSwitchRole", "ReapRole"}
"""Whose statements the tests above take away."""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_a_service_does_for_us_is_what_its_page_lists(name: str) -> None:
    (role,) = [item for item in resources("AWS::IAM::").items() if item[0] == name]

    assert [actions_of(one) for one in statements_of(role[1])] == DOCUMENTED[name][1]


def test_every_statement_of_every_role_is_judged_or_documented() -> None:
    having = {name for name, item in resources("AWS::IAM::").items() if statements_of(item)}

    assert having == JUDGED | set(DOCUMENTED)


def test_bucket_and_queue_are_reached_only_over_tls() -> None:
    kinds = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy")
    policies = [policy for kind in kinds for policy in resources(kind).values()]

    assert len(policies) == 3
    for policy in policies:
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        (tls,) = [one for one in statements if one["Effect"] == "Deny"]
        assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert tls["Principal"] == "*"


def test_a_base_model_behind_an_inference_profile_may_be_asked() -> None:
    (ask,) = [
        one for one in statements_of(resources("AWS::IAM::ManagedPolicy")["RunPolicy"]) if one["Sid"] == "Ask"
    ]
    places = [item["Fn::Sub"] for item in ask["Resource"]]

    assert "arn:${AWS::Partition}:bedrock:*::foundation-model/*" in places
    assert any(":inference-profile/" in place for place in places)
