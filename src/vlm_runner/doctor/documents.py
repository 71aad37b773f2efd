"""
Least-privilege policies and trust documents. Pure: from names to JSON.

Actions and conditions: Bedrock user guide, model-customization-iam-role and prov-thru-prereq.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import Any

from vlm_runner.core.names import (
    DEFAULT_PIPELINE,
    DEFAULT_STACK,
    NAME_PREFIX,
    NOT_KEPT,
    RUN_FOLDERS,
    TAG_KEEP,
    TAG_UID,
    VERIFY_NO_MODEL,
    VERIFY_PREFIX,
)
from vlm_runner.errors import ConfigurationError

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the documents are about."""

    account: str
    region: str
    bucket: str
    role_arn: str
    base_model: str
    inference_model: str
    prefix: str = ""
    store: str | None = None
    """`bucket/prefix` of the checkpoint store, if that is in S3."""
    store_key: str | None = None
    """ARN of its KMS key, if the settings name one."""
    partition: str = "aws"
    dead_man_role_arn: str | None = None
    """Of `serving.dead_man_switch`, if the spec has one."""
    kms_key: str | None = None
    """ARN of `storage.kms_key`, if the spec has one."""
    model_key: str | None = None
    """ARN of `training.kms_key`, if the spec has one."""
    subnets: tuple[str, ...] = ()
    """Ids of `training.vpc`, if the spec has one; `security_groups` likewise."""
    security_groups: tuple[str, ...] = ()
    tag_keys: tuple[str, ...] = ()
    """Of the spec's own tags."""
    source: str | None = None
    """`bucket/prefix` of `dataset.source`, if that is in S3."""
    in_place: tuple[str, ...] = ()
    """Key prefixes in the bucket of images that stay there (`dataset.images_in_place`)."""
    stack: str = DEFAULT_STACK
    """CloudFormation stack of deploy/template.yaml."""
    pipeline: str = DEFAULT_PIPELINE

    def refuse_wildcards(self) -> None:
        """
        A spec may be somebody else's, and what it names becomes a resource or a condition.

        Raises:
            ConfigurationError: IAM would read a name as many, or as one of its variables.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            for name in value if isinstance(value, tuple) else [value]:
                if name is not None and any(mark in name for mark in ("*", "?", "${")):
                    raise ConfigurationError(
                        f"{field.name.replace('_', ' ')} {name!r}: IAM would read it as many names.",
                        hint="Name each without *, ? and ${.",
                    )

    @property
    def policy_name(self) -> str:
        """
        Of the role's inline policy for this bucket and prefix: specs that share a role keep theirs apart.

        At most 128 letters, digits and `_+=,.@-` (IAM API reference, PutRolePolicy).
        """
        place = f"{self.bucket}/{self.prefix}".strip("/")
        readable = re.sub(r"[^\w+=,.@-]+", "-", place, flags=re.ASCII)[:80]
        return f"vlm-runner-{readable}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def bedrock(self, kind: str, *, account: bool = True) -> str:
        return f"arn:{self.partition}:bedrock:{self.region}:{self.account if account else ''}:{kind}"

    def ec2(self, kind: str) -> str:
        return self.resource("ec2", kind)

    def resource(self, service: str, kind: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{kind}"

    def role(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(
    sid: str, actions: list[str], resources: list[str] | str, condition: Document | None = None
) -> Document:
    statement: Document = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})


def role_trust(scope: Scope) -> Document:
    """Only Bedrock, only for customization jobs of this account and region."""
    return _trust(
        scope, "bedrock", {"ArnEquals": {"aws:SourceArn": scope.bedrock("model-customization-job/*")}}
    )


def _trust(scope: Scope, service: str, only_for: Document) -> Document:
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": scope.account}} | only_for,
        }
    )


def role_policy(scope: Scope) -> Document:
    """
    Read the images and records, write the output.

    ListBucket is for the whole bucket, as in the guide's policy: with which prefix Bedrock lists is not
    documented, and a HeadBucket has none.
    """
    ours = {"StringEquals": {"aws:ResourceAccount": scope.account}}
    return _document(
        _allow("List", ["s3:ListBucket"], scope.bucket_arn, ours),
        _allow(
            "Read",
            ["s3:GetObject"],
            [f"{scope.bucket_arn}/{scope.prefix}{folder}/*" for folder in RUN_FOLDERS],
            ours,
        ),
        *_in_place(scope),
        _allow("Write", ["s3:PutObject"], [f"{scope.bucket_arn}/{scope.prefix}runs/*/output/*"], ours),
        *object_key_use(scope),
        *model_key_use(scope, ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"]),
        *vpc_use(scope),
    )


def caller_policy(scope: Scope) -> Document:
    """
    Whoever runs `vlm-runner`: a person, or a task.

    Without sts:GetCallerIdentity, which needs no permission (STS API reference).
    """
    tagged = {"StringLike": {f"aws:ResourceTag/{TAG_UID}": "*"}}
    tagging = {"StringLike": {f"aws:RequestTag/{TAG_UID}": "*"}}
    # A base model behind a geographic inference profile is asked by the profile, which needs the right to
    # both, in each region that the profile sends to (Bedrock user guide, inference-profiles-prereq).
    inference = [
        f"arn:{scope.partition}:bedrock:*::foundation-model/{scope.inference_model}",
        scope.bedrock(f"inference-profile/*.{scope.inference_model}"),
    ]
    endpoints = [scope.bedrock("provisioned-model/*"), scope.bedrock("custom-model-deployment/*")]
    models = [scope.bedrock("custom-model/*")]
    jobs = scope.bedrock("model-customization-job/*")
    base = scope.bedrock(f"foundation-model/{scope.base_model}", account=False)
    identities = f"arn:{scope.partition}:iam::{scope.account}"
    statements = [
        _allow(
            "LookAround",
            [
                "bedrock:GetFoundationModel",
                "bedrock:ListModelCustomizationJobs",
                "bedrock:ListProvisionedModelThroughputs",
                "bedrock:ListCustomModelDeployments",
                "bedrock:ListCustomModels",
                "servicequotas:GetServiceQuota",
                "servicequotas:ListServiceQuotas",
                "servicequotas:GetAWSDefaultServiceQuota",
                "servicequotas:ListAWSDefaultServiceQuotas",
                "pricing:GetProducts",
            ],
            "*",
        ),
        _allow("Train", ["bedrock:CreateModelCustomizationJob"], [base, *models, jobs], tagging),
        _allow(
            "Look",
            [
                "bedrock:GetModelCustomizationJob",
                "bedrock:GetCustomModel",
                "bedrock:GetProvisionedModelThroughput",
                "bedrock:GetCustomModelDeployment",
                "bedrock:ListTagsForResource",
            ],
            [jobs, *models, *endpoints],
        ),
        _allow("StopTraining", ["bedrock:StopModelCustomizationJob"], jobs, tagged),
        _allow(
            "Rent",
            ["bedrock:CreateProvisionedModelThroughput", "bedrock:CreateCustomModelDeployment"],
            # The authorization reference lists the foundation model beside the custom model; a denial
            # would come after training is paid.
            [base, *models, *endpoints],
            tagging,
        ),
        _allow(
            "Release",
            ["bedrock:DeleteProvisionedModelThroughput", "bedrock:DeleteCustomModelDeployment"],
            endpoints,
            tagged,
        ),
        _allow(
            "Tag",
            ["bedrock:TagResource"],
            [jobs, *models, *endpoints],
            {"ForAllValues:StringLike": {"aws:TagKeys": ["vlm-runner:*", *scope.tag_keys]}},
        ),
        # Whoever asks a model under a key, or rents for it, must be able to decrypt it.
        *model_key_use(scope, ["kms:Decrypt"]),
        _allow("AskTheModel", ["bedrock:InvokeModel"], [*endpoints, *inference]),
        # ConverseStream needs it (Bedrock Runtime API reference); `ask` streams.
        _allow("AskAndListen", ["bedrock:InvokeModelWithResponseStream"], endpoints),
        _allow("DeleteModels", ["bedrock:DeleteCustomModel"], models, tagged),
        _allow(
            "PassTheRole",
            ["iam:PassRole"],
            scope.role_arn,
            {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
        ),
        # The job's role, and whoever is asking: a role cannot name itself in its own policy.
        _allow(
            "LookAtRights",
            ["iam:GetRole", "iam:SimulatePrincipalPolicy"],
            [f"{identities}:role/*", f"{identities}:user/${{aws:username}}"],
        ),
        *_dead_man_switch(scope),
        *_storage(scope),
    ]
    return _document(*statements)


def _dead_man_switch(scope: Scope) -> list[Document]:
    if scope.dead_man_role_arn is None:
        return []
    schedules = (
        f"arn:{scope.partition}:scheduler:{scope.region}:{scope.account}:schedule/default/{NAME_PREFIX}*"
    )
    return [
        _allow(
            "DeadManSwitch",
            [
                "scheduler:GetSchedule",
                "scheduler:CreateSchedule",
                "scheduler:UpdateSchedule",
                "scheduler:DeleteSchedule",
            ],
            schedules,
        ),
        _allow(
            "PassTheSwitchItsRole",
            ["iam:PassRole"],
            scope.dead_man_role_arn,
            {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
        ),
    ]


def dead_man_trust(scope: Scope) -> Document:
    """Only EventBridge Scheduler, only for schedules of this account and region."""
    group = f"arn:{scope.partition}:scheduler:{scope.region}:{scope.account}:schedule-group/default"
    return _trust(scope, "scheduler", {"ArnLike": {"aws:SourceArn": group}})


def dead_man_policy(scope: Scope) -> Document:
    """Delete endpoints that carry our tag: each gets it in the very request that creates it."""
    return _document(
        _allow("Delete", *_endpoint_deletion(scope), {"StringLike": {f"aws:ResourceTag/{TAG_UID}": "*"}})
    )


def _endpoint_deletion(scope: Scope) -> tuple[list[str], list[str]]:
    """Actions and resources."""
    return (
        ["bedrock:DeleteProvisionedModelThroughput", "bedrock:DeleteCustomModelDeployment"],
        [scope.bedrock("provisioned-model/*"), scope.bedrock("custom-model-deployment/*")],
    )


def _storage(scope: Scope) -> list[Document]:
    ours = {"StringEquals": {"aws:ResourceAccount": scope.account}}
    folders = [f"{scope.bucket_arn}/{scope.prefix}{folder}/*" for folder in RUN_FOLDERS]
    statements = [
        _allow(
            "Bucket",
            [
                "s3:CreateBucket",
                "s3:ListBucket",
                "s3:GetBucketLocation",
                "s3:GetEncryptionConfiguration",
                "s3:PutBucketPublicAccessBlock",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetBucketPolicyStatus",
            ],
            scope.bucket_arn,
        ),
        _allow("Objects", ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], folders, ours),
        _allow("DeleteRuns", ["s3:DeleteObject"], folders, ours),
    ]
    statements += object_key_use(scope)
    statements += _checkpoints(scope, ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
    return [*statements, *_in_place(scope), *_dataset(scope)]


def _in_place(scope: Scope) -> list[Document]:
    """Nothing but read: these images are not ours."""
    if not scope.in_place:
        return []
    ours = {"StringEquals": {"aws:ResourceAccount": scope.account}}
    folders = [f"{scope.bucket_arn}/{prefix}*" for prefix in scope.in_place]
    return [_allow("ImagesInPlace", ["s3:GetObject"], folders, ours)]


def _dataset(scope: Scope) -> list[Document]:
    """Of any account: a dataset may be somebody else's."""
    if scope.source is None:
        return []
    bucket, _, prefix = scope.source.partition("/")
    arn = f"arn:{scope.partition}:s3:::{bucket}"
    return [
        _allow("DatasetList", ["s3:ListBucket"], arn),
        _allow("Dataset", ["s3:GetObject"], f"{arn}/{prefix}*"),
    ]


def _checkpoints(scope: Scope, actions: list[str]) -> list[Document]:
    """`actions` on the checkpoints, if they are in S3."""
    if scope.store is None:
        return []
    bucket, _, prefix = scope.store.partition("/")
    inside = f"{prefix.strip('/')}/*".removeprefix("/")
    arn = f"arn:{scope.partition}:s3:::{bucket}"
    ours = {"StringEquals": {"aws:ResourceAccount": scope.account}}
    uses = [*(["kms:GenerateDataKey"] if "s3:PutObject" in actions else []), "kms:Decrypt"]
    return [
        _allow("CheckpointList", ["s3:ListBucket"], arn, ours),
        _allow("Checkpoints", actions, f"{arn}/{inside}", ours),
        *_through_s3("CheckpointKey", scope.store_key, uses, scope),
    ]


def object_key_use(scope: Scope) -> list[Document]:
    """
    Only through S3: read and write objects under the key (S3 user guide, UsingKMSEncryption: a multipart
    upload needs Decrypt too).
    """
    return _through_s3("Key", scope.kms_key, ["kms:GenerateDataKey", "kms:Decrypt"], scope)


def _through_s3(name: str, key: str | None, actions: list[str], scope: Scope) -> list[Document]:
    if key is None:
        return []
    through = {"StringEquals": {"kms:ViaService": f"s3.{scope.region}.amazonaws.com"}}
    return [_allow(name, actions, key, through)]


def model_key_use(scope: Scope, actions: list[str]) -> list[Document]:
    """
    Only through Bedrock: the key of the custom model (Bedrock user guide, encryption-custom-job). The key's
    own policy must allow it too.
    """
    if scope.model_key is None:
        return []
    through = {"StringEquals": {"kms:ViaService": f"bedrock.{scope.region}.amazonaws.com"}}
    return [_allow("ModelKey", actions, scope.model_key, through)]


def vpc_use(scope: Scope) -> list[Document]:
    """Network interfaces for the job, which Bedrock tags (user guide, custom-model-job-access-security)."""
    if not scope.subnets:
        return []
    interfaces = scope.ec2("network-interface/*")
    within = [scope.ec2(f"subnet/{each}") for each in scope.subnets]
    within += [scope.ec2(f"security-group/{each}") for each in scope.security_groups]
    return [
        _allow(
            "LookAtTheVpc",
            [
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeVpcs",
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeSubnets",
                "ec2:DescribeSecurityGroups",
            ],
            "*",
        ),
        _allow("JoinTheVpc", ["ec2:CreateNetworkInterface"], within),
        _allow(
            "Interfaces",
            ["ec2:CreateNetworkInterface"],
            [interfaces],
            {"StringEquals": {"aws:RequestTag/BedrockManaged": "true"}},
        ),
        _allow(
            "TagInterfaces",
            ["ec2:CreateTags"],
            [interfaces],
            {"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"}},
        ),
        _allow(
            "UseInterfaces",
            [
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            [interfaces],
            {"StringEquals": {"aws:ResourceTag/BedrockManaged": "true"}},
        ),
    ]


def ecs_trust(scope: Scope) -> Document:
    """For the task's own role, which gets the caller's policy."""
    tasks = f"arn:{scope.partition}:ecs:{scope.region}:{scope.account}:*"
    return _trust(scope, "ecs-tasks", {"ArnLike": {"aws:SourceArn": tasks}})


def sweeper_policy(scope: Scope) -> Document:
    """
    For a scheduled `reap`, of endpoints and of models: look, and delete what carries our tag; it can create
    nothing, and delete no model that is kept.
    """
    endpoints = [scope.bedrock("provisioned-model/*"), scope.bedrock("custom-model-deployment/*")]
    models = [scope.bedrock("custom-model/*")]
    ours = {"StringLike": {f"aws:ResourceTag/{TAG_UID}": "*"}}
    return _document(
        _allow(
            "List",
            [
                "bedrock:ListProvisionedModelThroughputs",
                "bedrock:ListCustomModelDeployments",
                "bedrock:ListCustomModels",
            ],
            "*",
        ),
        _allow(
            "Look",
            [
                "bedrock:GetProvisionedModelThroughput",
                "bedrock:GetCustomModelDeployment",
                "bedrock:GetCustomModel",
                "bedrock:ListTagsForResource",
            ],
            [*endpoints, *models],
        ),
        _allow("Delete", *_endpoint_deletion(scope), ours),
        _allow(
            "DeleteModels",
            ["bedrock:DeleteCustomModel"],
            models,
            ours | {"StringEqualsIfExists": {f"aws:ResourceTag/{TAG_KEEP}": NOT_KEPT}},
        ),
        *_checkpoints(scope, ["s3:GetObject"]),
    )


def submit_policy(scope: Scope) -> Document:
    """
    What `vlm-runner submit` does and a run does not.

    CloudFormation names a role after its stack and its name in the template.
    """
    roles = [scope.role(f"{scope.stack}-{name}-*") for name in ("TaskRole", "ExecutionRole")]
    return _document(
        _allow(
            "FindTheStack",
            ["cloudformation:DescribeStacks"],
            scope.resource("cloudformation", f"stack/{scope.stack}/*"),
        ),
        _allow("RunTheTask", ["ecs:RunTask"], scope.resource("ecs", f"task-definition/{scope.stack}-run:*")),
        # Amazon ECS Developer Guide, supported-iam-actions-tagging: only tags that are given to a new task.
        _allow(
            "TagTheTask",
            ["ecs:TagResource"],
            scope.resource("ecs", "task/*/*"),
            {"StringEquals": {"ecs:CreateAction": "RunTask"}},
        ),
        _allow(
            "PassTheTasksRoles",
            ["iam:PassRole"],
            roles,
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
    )


def sagemaker_policy(scope: Scope) -> Document:
    """What `vlm-runner sagemaker` does and a run does not."""
    pipeline = scope.resource("sagemaker", f"pipeline/{scope.pipeline}")
    execution = f"{pipeline}/execution/*"
    return _document(
        _allow(
            "Pipeline",
            [
                "sagemaker:CreatePipeline",
                "sagemaker:UpdatePipeline",
                "sagemaker:DeletePipeline",
                "sagemaker:StartPipelineExecution",
                "sagemaker:ListPipelineExecutions",
            ],
            pipeline,
        ),
        _allow(
            "Executions",
            [
                "sagemaker:DescribePipelineExecution",
                "sagemaker:ListPipelineExecutionSteps",
                "sagemaker:StopPipelineExecution",
            ],
            execution,
        ),
        # Why a step failed.
        _allow("Steps", ["sagemaker:DescribeProcessingJob"], scope.resource("sagemaker", "processing-job/*")),
        _allow(
            "PassThePipelinesRole",
            ["iam:PassRole"],
            scope.role(f"{scope.stack}-PipelineRole-*"),
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
    )


def cost_policy() -> Document:
    """For `vlm-runner cost`, whose every look AWS charges; bills are the whole account's."""
    return _document(_allow("LookAtBills", ["ce:GetCostAndUsage"], "*"))


def verify_policy(scope: Scope) -> Document:
    """What `vlm-runner verify` does and a run does not; whoever verifies needs the caller's policy too."""
    return _document(
        _allow("VerifyLists", ["scheduler:ListSchedules", "sqs:ListQueues"], "*"),
        # It has none of these: that is what it asks about. What does not exist has no tag.
        _allow(
            "VerifyMissing",
            [
                "bedrock:StopModelCustomizationJob",
                "bedrock:DeleteProvisionedModelThroughput",
                "bedrock:DeleteCustomModelDeployment",
            ],
            [
                scope.bedrock(f"{kind}/{VERIFY_PREFIX}*")
                for kind in ("model-customization-job", "provisioned-model", "custom-model-deployment")
            ],
        ),
        _allow(
            "VerifyNoModel",
            ["bedrock:CreateModelCustomizationJob"],
            scope.bedrock(f"foundation-model/{VERIFY_NO_MODEL}", account=False),
        ),
        _allow("VerifyNobody", ["iam:PassRole"], scope.role(f"{VERIFY_PREFIX}*")),
        *_verify_switch(scope),
    )


def _verify_switch(scope: Scope) -> list[Document]:
    if scope.dead_man_role_arn is None:
        return []
    return [
        _allow(
            "VerifyLetters",
            ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteQueue"],
            scope.resource("sqs", f"{VERIFY_PREFIX}*"),
        ),
        # A role that exists and does not trust Bedrock: the job is refused.
        _allow(
            "VerifyDistrust",
            ["iam:PassRole"],
            scope.dead_man_role_arn,
            {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
        ),
    ]


def verify_switch_policy(scope: Scope) -> Document:
    """
    For the dead man's switch's role, while it is verified: dead letters (Scheduler user guide,
    configuring-schedule-dlq), and the deletion of what does not exist, and so has no tag.
    """
    queues = scope.resource("sqs", f"{VERIFY_PREFIX}*")
    return _document(
        _allow("VerifyLetters", ["sqs:SendMessage"], queues),
        _allow("VerifyMissing", *_endpoint_deletion(scope)),
    )


def verify_documents(scope: Scope) -> dict[str, Document]:
    """What a verification needs beside what a run needs, by what it is for."""
    switch = {"verify_switch_policy": verify_switch_policy(scope)}
    return {"verify_policy": verify_policy(scope)} | (switch if scope.dead_man_role_arn is not None else {})


def all_documents(scope: Scope) -> dict[str, Document]:
    """By what they are for."""
    switch = {"dead_man_trust": dead_man_trust(scope), "dead_man_policy": dead_man_policy(scope)}
    return {
        "role_trust": role_trust(scope),
        "role_policy": role_policy(scope),
        "caller_policy": caller_policy(scope),
        "ecs_task_trust": ecs_trust(scope),
        "ecs_task_policy": caller_policy(scope),
        "sweeper_policy": sweeper_policy(scope),
        "submit_policy": submit_policy(scope),
        "sagemaker_policy": sagemaker_policy(scope),
        "cost_policy": cost_policy(),
    } | (switch if scope.dead_man_role_arn is not None else {})
