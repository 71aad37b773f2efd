"""
What a request needs of IAM: actions, resources and condition keys.

Service Authorization Reference, and the pages named beside a rule. Services that are not listed here are
judged by the action alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from vlm_runner.sandbox.catalogue import find_model, foundation_models
from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.http import HttpRequest
from vlm_runner.sandbox.listing import by_name
from vlm_runner.sandbox.operations import operation_of
from vlm_runner.sandbox.policies import Question
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.service_api import api_for
from vlm_runner.sandbox.signature import Scope
from vlm_runner.sandbox.state import SandboxState
from vlm_runner.sandbox.task_roles import roles_of

Context = dict[str, tuple[str, ...]]

WITHOUT_RIGHTS = frozenset({"sts:GetCallerIdentity"})
"""No permissions are required, and none can be denied (STS API reference, GetCallerIdentity)."""

_WRITES_OBJECT = frozenset(
    {"PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}
)
S3_ACTIONS: Mapping[str, str] = {
    # S3 user guide, "Required permissions for Amazon S3 API operations"
    **dict.fromkeys(_WRITES_OBJECT, "PutObject"),
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "DeleteObjects": "DeleteObject",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "PutBucketPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketPublicaccessblock": "GetBucketPublicAccessBlock",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
}
_BY_IDENTIFIER: Mapping[str, tuple[str, str]] = {
    # operation: the parameter that names it, and where it is kept
    "GetModelCustomizationJob": ("jobIdentifier", "jobs"),
    "StopModelCustomizationJob": ("jobIdentifier", "jobs"),
    "GetCustomModel": ("modelIdentifier", "models"),
    "DeleteCustomModel": ("modelIdentifier", "models"),
    "GetProvisionedModelThroughput": ("provisionedModelId", "throughputs"),
    "UpdateProvisionedModelThroughput": ("provisionedModelId", "throughputs"),
    "DeleteProvisionedModelThroughput": ("provisionedModelId", "throughputs"),
    "GetCustomModelDeployment": ("customModelDeploymentIdentifier", "deployments"),
    "DeleteCustomModelDeployment": ("customModelDeploymentIdentifier", "deployments"),
    "ListTagsForResource": ("resourceARN", ""),
    "TagResource": ("resourceARN", ""),
    "UntagResource": ("resourceARN", ""),
}
_KINDS = {
    "jobs": "model-customization-job",
    "models": "custom-model",
    "throughputs": "provisioned-model",
    "deployments": "custom-model-deployment",
}
_NEW = "000000000000"  # stands for the id that a resource has not got yet


def questions_of(state: SandboxState, scope: Scope, request: HttpRequest) -> list[Question]:
    """All must be allowed; a request that cannot be read needs nothing, since its service refuses it."""
    if scope.service == "bedrock":
        return list(_bedrock(state, scope.region, request))
    operation = operation_of(scope, request)[1]
    match scope.service:
        case "s3":
            asked = _s3(state, scope.region, request, operation)
        case "scheduler":
            asked = _scheduler(state, scope.region, request, operation)
        case "sagemaker":
            asked = _sagemaker(state, scope.region, request, operation)
        case "ecs" if operation == "RunTask":
            asked = _task(state, scope.region, request.json())
        case _:
            asked = _other(state, scope, request, operation)
    return list(asked)


def deletion(state: SandboxState, region_name: str, action: str, parameters: Mapping[str, Any]) -> Question:
    """What a schedule's role needs to run `bedrock:action`."""
    return _named(state, state.region(region_name), region_name, action, parameters)


def object_read(account: str, bucket: str, key: str) -> list[Question]:
    """What the role of a job needs to read a file (fine-tuning-troubleshooting: GetObject and ListBucket)."""
    ours: Context = {"aws:ResourceAccount": (account,)}
    arn = f"arn:aws:s3:::{bucket}"
    return [Question("s3:ListBucket", arn, ours), Question("s3:GetObject", f"{arn}/{key}", ours)]


def object_write(account: str, bucket: str, key: str) -> list[Question]:
    ours: Context = {"aws:ResourceAccount": (account,)}
    return [Question("s3:PutObject", f"arn:aws:s3:::{bucket}/{key}", ours)]


def key_use(region: str, key: str, action: str) -> Question:
    """What S3 asks of a KMS key on behalf of whoever reads or writes an object (S3, UsingKMSEncryption)."""
    return Question(f"kms:{action}", key, {"kms:ViaService": (f"s3.{region}.amazonaws.com",)})


def job_rights(account: str, region: str, job: str, request: Mapping[str, Any]) -> Iterator[Question]:
    """What the role of a job needs of KMS and EC2, if its model has a key or the job a VPC."""
    if key := request.get("customModelKmsKeyId"):
        # Bedrock user guide, encryption-custom-job: of the role that customizes.
        yield from _model_key(region, key, "DescribeKey", "GenerateDataKey", "Decrypt", "CreateGrant")
    if vpc := request.get("vpcConfig"):
        yield from _interfaces(f"arn:aws:ec2:{region}:{account}", job, vpc)


def _model_key(region: str, key: str, *actions: str) -> Iterator[Question]:
    via: Context = {"kms:ViaService": (f"bedrock.{region}.amazonaws.com",)}
    yield from (Question(f"kms:{action}", key, via) for action in actions)


def _interfaces(ec2: str, job: str, vpc: Mapping[str, Any]) -> Iterator[Question]:
    """Bedrock user guide, custom-model-job-access-security: made in the subnets, tagged, used and deleted."""
    tags = {"BedrockManaged": "true", "BedrockModelCustomizationJobArn": job}
    interface = f"{ec2}:network-interface/eni-{_NEW}"
    for what in ("NetworkInterfaces", "Vpcs", "DhcpOptions", "Subnets", "SecurityGroups"):
        yield Question(f"ec2:Describe{what}", "*")
    asked: Context = {f"aws:RequestTag/{key}": (value,) for key, value in tags.items()}
    asked |= {"aws:TagKeys": tuple(tags)}
    subnets = [f"{ec2}:subnet/{each}" for each in vpc["subnetIds"]]
    for resource in (*subnets, *(f"{ec2}:security-group/{each}" for each in vpc["securityGroupIds"])):
        yield Question("ec2:CreateNetworkInterface", resource)
    yield Question("ec2:CreateNetworkInterface", interface, asked)
    yield Question("ec2:CreateTags", interface, asked | {"ec2:CreateAction": ("CreateNetworkInterface",)})
    held: Context = {
        f"{prefix}:ResourceTag/{key}": (value,) for prefix in ("aws", "ec2") for key, value in tags.items()
    }
    held |= {"ec2:Subnet": (subnets[0],)}
    for what in (
        "CreateNetworkInterfacePermission",
        "DeleteNetworkInterface",
        "DeleteNetworkInterfacePermission",
    ):
        yield Question(f"ec2:{what}", interface, held)


# --- Bedrock ---------------------------------------------------------------------------------------------


def _bedrock(state: SandboxState, region_name: str, request: HttpRequest) -> Iterator[Question]:
    try:
        call = api_for(request)[1].read(request)
    except AwsError:
        return
    p, operation = call.parameters, call.operation
    with state.lock:
        region = state.region(region_name)
        match operation:
            case "CreateModelCustomizationJob":
                yield from _training(state, region, region_name, p)
            case "CreateProvisionedModelThroughput" | "CreateCustomModelDeployment":
                yield from _renting(state, region, region_name, operation, p)
            case "Converse" | "InvokeModel":
                yield from _inference(state, region, region_name, p["modelId"])
            case "ConverseStream":
                action = "bedrock:InvokeModelWithResponseStream"
                yield from _inference(state, region, region_name, p["modelId"], action)
            case "GetFoundationModel":
                wanted = p["modelIdentifier"].rpartition("/")[2]
                yield Question("bedrock:GetFoundationModel", _foundation(region_name, wanted))
            case _ if operation in _BY_IDENTIFIER:
                yield _named(state, region, region_name, operation, p)
            case _:
                yield Question(f"bedrock:{operation}", "*")


def _training(
    state: SandboxState, region: Region, region_name: str, p: Mapping[str, Any]
) -> Iterator[Question]:
    tags = _request_tags(p.get("jobTags", []))
    base = _model(region, region_name, p["baseModelIdentifier"])
    for resource in (base, _resource(state, region_name, "models", _NEW)):
        yield Question("bedrock:CreateModelCustomizationJob", resource, tags)
    for kind, member in (("jobs", "jobTags"), ("models", "customModelTags")):
        yield from _tagging(state, region_name, kind, p.get(member, []))
    yield pass_role(p["roleArn"], "bedrock.amazonaws.com")


def _renting(
    state: SandboxState, region: Region, region_name: str, operation: str, p: Mapping[str, Any]
) -> Iterator[Question]:
    model = p["modelId"] if operation == "CreateProvisionedModelThroughput" else p["modelArn"]
    kind = "throughputs" if operation == "CreateProvisionedModelThroughput" else "deployments"
    yield Question(
        f"bedrock:{operation}", _model(region, region_name, model), _request_tags(p.get("tags", []))
    )
    yield from _tagging(state, region_name, kind, p.get("tags", []))
    if operation == "CreateProvisionedModelThroughput":
        yield from _decryption(region, region_name, _model(region, region_name, model))


def _decryption(region: Region, region_name: str, model_arn: str) -> Iterator[Question]:
    """Of a model under a key, by who asks it or has throughput for it (user guide, encryption-custom-job)."""
    custom = region.models.get(model_arn)
    if custom and (key := custom.job.request.get("customModelKmsKeyId")):
        yield from _model_key(region_name, key, "Decrypt")


def _tagging(
    state: SandboxState, region_name: str, kind: str, tags: list[dict[str, str]]
) -> Iterator[Question]:
    """Tags in a create need the right to tag (Bedrock user guide, prov-thru-prereq)."""
    if tags:
        resource = _resource(state, region_name, kind, _NEW)
        yield Question("bedrock:TagResource", resource, _request_tags(tags))


def _request_tags(tags: list[dict[str, str]]) -> Context:
    context: Context = {f"aws:RequestTag/{tag['key']}": (tag["value"],) for tag in tags}
    return context | ({"aws:TagKeys": tuple(tag["key"] for tag in tags)} if tags else {})


def _inference(
    state: SandboxState,
    region: Region,
    region_name: str,
    identifier: str,
    action: str = "bedrock:InvokeModel",
) -> Iterator[Question]:
    """
    Converse needs InvokeModel, ConverseStream its counterpart (API reference); an inference profile needs it
    for itself and for the model in each Region that it may send to (Bedrock user guide,
    inference-profiles-prereq).
    """
    wanted = identifier.rpartition("/")[2]
    for model in foundation_models():
        if wanted == model.profile_id:
            yield Question(
                action, f"arn:aws:bedrock:{region_name}:{state.account}:inference-profile/{wanted}"
            )
            for target in ("us-east-1", "us-east-2", "us-west-2"):
                yield Question(action, _foundation(target, model.id))
            return
    owned = identifier.startswith("arn:") and "::foundation-model/" not in identifier
    tags = _resource_tags(region, identifier) if owned else {}
    yield Question(action, identifier if owned else _foundation(region_name, wanted), tags)
    if endpoint := region.throughputs.get(identifier) or region.deployments.get(identifier):
        yield from _decryption(region, region_name, endpoint.model_arn)


def _named(
    state: SandboxState, region: Region, region_name: str, operation: str, p: Mapping[str, Any]
) -> Question:
    parameter, kept = _BY_IDENTIFIER[operation]
    identifier = str(p[parameter])
    if kept and not identifier.startswith("arn:"):
        found = by_name(getattr(region, kept), identifier)
        identifier = found.arn if found else _resource(state, region_name, kept, identifier)
    context = _resource_tags(region, identifier)
    if operation == "TagResource":
        context |= _request_tags(p.get("tags", []))
    return Question(f"bedrock:{operation}", identifier, context)


def _resource_tags(region: Region, arn: str) -> Context:
    return {f"aws:ResourceTag/{key}": (value,) for key, value in region.tags.get(arn, {}).items()}


def _model(region: Region, region_name: str, identifier: str) -> str:
    custom = region.models.get(identifier) or by_name(region.models, identifier)
    if custom:
        return custom.arn
    try:
        return find_model(identifier, region_name)[0].arn(region_name)
    except AwsError:
        return identifier if identifier.startswith("arn:") else _foundation(region_name, identifier)


def _foundation(region: str, model: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def _resource(state: SandboxState, region: str, kind: str, tail: str) -> str:
    return f"arn:aws:bedrock:{region}:{state.account}:{_KINDS[kind]}/{tail}"


def pass_role(arn: str, service: str) -> Question:
    return Question("iam:PassRole", arn, {"iam:PassedToService": (service,)})


# --- other services ---------------------------------------------------------------------------------------


def _s3(state: SandboxState, region: str, request: HttpRequest, operation: str) -> Iterator[Question]:
    bucket, _, key = request.path.lstrip("/").partition("/")
    action = f"s3:{S3_ACTIONS.get(operation, operation)}"
    ours: Context = {"aws:ResourceAccount": (state.account,)}
    arn = f"arn:aws:s3:::{bucket}" if bucket else "*"
    if not key:
        prefix: Context = {"s3:prefix": (request.query["prefix"],)} if "prefix" in request.query else {}
        yield Question(action, f"{arn}/*" if operation == "DeleteObjects" else arn, ours | prefix)
        return
    yield Question(action, f"{arn}/{key}", ours)
    if operation == "CopyObject":
        source = request.headers["x-amz-copy-source"].lstrip("/").partition("?")[0]
        yield Question("s3:GetObject", f"arn:aws:s3:::{source}", ours)
    if "if-match" in request.headers and action == "s3:PutObject":
        # S3 user guide, conditional-writes: a write with If-Match needs both.
        yield Question("s3:GetObject", f"{arn}/{key}", ours)
    kms_key = request.headers.get("x-amz-server-side-encryption-aws-kms-key-id")
    if action == "s3:PutObject" and (kms_key := kms_key or state.objects.default_key(bucket)):
        yield key_use(region, kms_key, "GenerateDataKey")
        if operation == "CreateMultipartUpload":
            yield key_use(region, kms_key, "Decrypt")
    elif operation == "GetObject" and (stored := state.objects.kms_key(bucket, key)):
        yield key_use(region, stored, "Decrypt")


def _scheduler(state: SandboxState, region: str, request: HttpRequest, operation: str) -> Iterator[Question]:
    group = request.query.get("groupName", "default")
    name = request.path.strip("/").removeprefix("schedules").strip("/")
    body: Mapping[str, Any] = request.json() if request.body else {}
    group = body.get("GroupName", group)
    arn = f"arn:aws:scheduler:{region}:{state.account}:schedule/{group}/{name}" if name else "*"
    yield Question(f"scheduler:{operation}", arn)
    if operation in {"CreateSchedule", "UpdateSchedule"}:
        yield pass_role(body["Target"]["RoleArn"], "scheduler.amazonaws.com")


def _sagemaker(state: SandboxState, region: str, request: HttpRequest, operation: str) -> Iterator[Question]:
    p = request.json()
    of_account = f"arn:aws:sagemaker:{region}:{state.account}"
    if name := p.get("PipelineName"):
        # SageMaker writes names in ARNs in lower case.
        resource = name if name.startswith("arn:") else f"{of_account}:pipeline/{name.lower()}"
    elif job := p.get("ProcessingJobName"):
        resource = f"{of_account}:processing-job/{job}"
    else:
        resource = p.get("PipelineExecutionArn")
    yield Question(f"sagemaker:{operation}", resource)
    if operation in {"CreatePipeline", "UpdatePipeline"} and "RoleArn" in p:
        yield pass_role(p["RoleArn"], "sagemaker.amazonaws.com")


def _task(state: SandboxState, region: str, p: Mapping[str, Any]) -> Iterator[Question]:
    """Of a task that is run: its definition, its tags (supported-iam-actions-tagging), and its roles."""
    from moto.ecs.models import ecs_backends  # noqa: PLC0415 -- moto is imported when first needed

    family, _, revision = p["taskDefinition"].rpartition("/")[2].partition(":")
    revisions = ecs_backends[state.account][region].task_definitions.get(family, {})
    found = revisions.get(int(revision) if revision else max(revisions, default=0))
    if found is None:
        return  # ECS says that there is no such definition
    cluster = p.get("cluster", "default").rpartition("/")[2]
    of_account = f"arn:aws:ecs:{region}:{state.account}"
    yield Question("ecs:RunTask", found.arn, {"ecs:cluster": (f"{of_account}:cluster/{cluster}",)})
    if tags := p.get("tags"):
        made: Context = {"ecs:CreateAction": ("RunTask",), "aws:TagKeys": tuple(one["key"] for one in tags)}
        yield Question("ecs:TagResource", f"{of_account}:task/{cluster}/{_NEW}", made)
    for role in roles_of(state.account, region, found):
        yield pass_role(role, "ecs-tasks.amazonaws.com")


def _other(state: SandboxState, scope: Scope, request: HttpRequest, operation: str) -> Iterator[Question]:
    if f"{scope.service}:{operation}" not in WITHOUT_RIGHTS:
        yield Question(f"{scope.service}:{operation}", _asked_about(state, scope, request))


def _asked_about(state: SandboxState, scope: Scope, request: HttpRequest) -> str | None:
    """The ARN of what IAM, STS, CloudFormation or SQS is asked about; None: judged by the action alone."""
    of_account = f"arn:aws:{scope.service}:{scope.region}:{state.account}:"
    if scope.service == "sqs":
        body: Mapping[str, Any] = request.json() if "x-amz-target" in request.headers else {}
        queue = body.get("QueueName") or str(body.get("QueueUrl", "")).rpartition("/")[2]
        return f"{of_account}{queue}" if queue else None
    if scope.service not in {"iam", "sts", "cloudformation"}:
        return None
    form = parse_qs(request.body.decode("latin-1"))
    if stack := form.get("StackName"):
        return stack[0] if stack[0].startswith("arn:") else f"{of_account}stack/{stack[0]}/{_NEW}"
    if arn := form.get("PolicySourceArn") or form.get("RoleArn"):
        return arn[0]
    name = form.get("RoleName")
    return state.roles.arn(name[0]) if name else None
