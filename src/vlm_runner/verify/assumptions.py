"""
What this project assumes of AWS: a table, each row with its source and a judge over what AWS did. Pure.

To add one, add an entry: what is asked (if it is more than what a run asks anyway), and what would be right.

Sources are pages of AWS's documentation by their path; `M` is botocore's service model, which lists the
errors that an operation declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.core.names import VERIFY_NO_MODEL
from vlm_runner.spec import ServingMode
from vlm_runner.verify.judges import (
    NOT_FOUND,
    Judgement,
    accepted,
    all_letters,
    armed,
    bucket_or_none,
    echoed,
    found_at_once,
    gone,
    holds,
    is_role,
    job_made,
    letter,
    made,
    one_price,
    quota,
    refused,
    same_arn,
    states,
    stopped_now,
)
from vlm_runner.verify.requests import (
    Request,
    Subject,
    bad_job,
    bad_switch,
    call,
    distrusting_job,
    lower_first,
    put,
    quota_of,
    read_letters,
    switch_schedule,
    training_price,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlm_runner.verify.recording import Exchange

DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "403"})


@dataclass(frozen=True, slots=True)
class Assumption:
    id: str
    level: int
    claim: str
    source: str
    judge: Callable[[Sequence[Exchange]], Judgement]
    """Of the exchanges that it sees; a request that was answered with a refusal of rights settles nothing."""
    ask: Callable[[Subject], Request | None] | None = None
    """None of a subject: it lacks what this is about. No `ask`: a run, or another assumption, asks."""
    sees: tuple[str, ...] = ()
    """Ids and operations (of its level) whose exchanges the judge gets; its own id where empty."""
    repeat: bool = False
    """Asked again until the judge knows."""
    vital: bool = True
    """Whether AWS's doing otherwise speaks against going on to what costs."""


def judged(assumption: Assumption, exchanges: Sequence[Exchange]) -> Judgement:
    """What the recording says about it."""
    wanted = assumption.sees or (assumption.id,)
    seen = [
        each
        for each in exchanges
        if each.level == assumption.level and (each.probe in wanted or each.operation in wanted)
    ]
    if not seen:
        return Judgement("unknown", "not asked")
    if seen[-1].code in DENIED:
        return Judgement("unknown", f"{seen[-1].brief} (vlm-runner iam SPEC --only verify_policy)")
    try:
        return assumption.judge(seen)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        # What answered need not be AWS, and a recording may be anybody's.
        return Judgement("different", f"{seen[-1].brief}, in another form")


JOB_STATES: Final = ("InProgress", "Stopping", "Stopped")
_MISSING_JOB: Final = "model-customization-job/{}/aaaaaaaaaaaa"

TABLE: Final[tuple[Assumption, ...]] = (
    # --- level 0: reads
    Assumption(
        "0.1",
        0,
        "STS says who calls",
        "STS/latest/APIReference/API_GetCallerIdentity",
        accepted("Account", "Arn"),
        lambda _: call("sts", "GetCallerIdentity"),
    ),
    Assumption(
        "0.2",
        0,
        "The model can be fine-tuned, and Bedrock says so of the id with its context length",
        "bedrock/latest/userguide/custom-model-fine-tuning",
        holds("modelDetails.customizationsSupported", "FINE_TUNING"),
        lambda s: call("bedrock", "GetFoundationModel", modelIdentifier=s.base_model),
        vital=False,
    ),
    Assumption(
        "0.3",
        0,
        "The plain model is ACTIVE",
        "bedrock/latest/userguide/model-lifecycle",
        holds("modelDetails.modelLifecycle.status", "ACTIVE"),
        lambda s: call("bedrock", "GetFoundationModel", modelIdentifier=s.inference_model),
        vital=False,
    ),
    Assumption(
        "0.4",
        0,
        "Jobs are listed",
        "bedrock/latest/APIReference/API_ListModelCustomizationJobs",
        accepted("modelCustomizationJobSummaries"),
        lambda _: call("bedrock", "ListModelCustomizationJobs", maxResults=10),
    ),
    Assumption(
        "0.5",
        0,
        "Custom models are listed",
        "bedrock/latest/APIReference/API_ListCustomModels",
        accepted("modelSummaries"),
        lambda _: call("bedrock", "ListCustomModels", maxResults=10),
    ),
    Assumption(
        "0.6",
        0,
        "Provisioned throughputs are listed",
        "bedrock/latest/APIReference/API_ListProvisionedModelThroughputs",
        accepted("provisionedModelSummaries"),
        lambda _: call("bedrock", "ListProvisionedModelThroughputs", maxResults=10),
    ),
    Assumption(
        "0.7",
        0,
        "Deployments are listed",
        "bedrock/latest/APIReference/API_ListCustomModelDeployments",
        accepted("modelDeploymentSummaries"),
        lambda _: call("bedrock", "ListCustomModelDeployments", maxResults=10),
    ),
    Assumption(
        "0.8",
        0,
        "A quota that was never raised has no value of its own",
        "servicequotas/2019-06-24/apireference/API_GetServiceQuota",
        quota,
        lambda s: quota_of(s, "GetServiceQuota"),
        vital=False,
    ),
    Assumption(
        "0.9",
        0,
        "The code in our catalogue is that of the model's quota of model units",
        "general/latest/gr/bedrock",
        holds("Quota.QuotaName", "model units"),
        lambda s: quota_of(s, "GetAWSDefaultServiceQuota"),
        vital=False,
    ),
    Assumption(
        "0.10",
        0,
        "AWS's price list has one price for training the model",
        "aws-cost-management/latest/APIReference/API_pricing_GetProducts",
        one_price,
        training_price,
        vital=False,
    ),
    Assumption(
        "0.11",
        0,
        "The job's role exists",
        "IAM/latest/APIReference/API_GetRole",
        is_role,
        lambda s: call("iam", "GetRole", RoleName=s.role_arn.rpartition("/")[2]),
        vital=False,
    ),
    Assumption(
        "0.12",
        0,
        "HeadBucket says whether the bucket exists",
        "AmazonS3/latest/API/API_HeadBucket",
        bucket_or_none,
        lambda s: call("s3", "HeadBucket", Bucket=s.bucket),
    ),
    # --- level 1: refusals
    Assumption(
        "1.1",
        1,
        "A job's name that does not exist is not found",
        "M: GetModelCustomizationJob",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "GetModelCustomizationJob", jobIdentifier=s.missing),
    ),
    Assumption(
        "1.2",
        1,
        "A job's ARN that does not exist is not found",
        "M: GetModelCustomizationJob",
        refused(*NOT_FOUND),
        lambda s: call(
            "bedrock", "GetModelCustomizationJob", jobIdentifier=s.arn(_MISSING_JOB.format(s.base_model))
        ),
    ),
    Assumption(
        "1.3",
        1,
        "Stopping a job that does not exist: not found",
        "M: StopModelCustomizationJob",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "StopModelCustomizationJob", jobIdentifier=s.missing),
    ),
    Assumption(
        "1.4",
        1,
        "A custom model that does not exist is not found",
        "M: GetCustomModel",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "GetCustomModel", modelIdentifier=s.missing),
    ),
    Assumption(
        "1.5",
        1,
        "A throughput that does not exist is not found",
        "M: GetProvisionedModelThroughput",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "GetProvisionedModelThroughput", provisionedModelId=s.missing),
    ),
    Assumption(
        "1.6",
        1,
        "Deleting a throughput that does not exist: not found",
        "M: DeleteProvisionedModelThroughput",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "DeleteProvisionedModelThroughput", provisionedModelId=s.missing),
    ),
    Assumption(
        "1.7",
        1,
        "A deployment that does not exist is not found",
        "M: GetCustomModelDeployment",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "GetCustomModelDeployment", customModelDeploymentIdentifier=s.missing),
    ),
    Assumption(
        "1.8",
        1,
        "Deleting a deployment that does not exist: not found",
        "M: DeleteCustomModelDeployment",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "DeleteCustomModelDeployment", customModelDeploymentIdentifier=s.missing),
    ),
    Assumption(
        "1.9",
        1,
        "The tags of an ARN that does not exist: not found",
        "M: ListTagsForResource",
        refused(*NOT_FOUND),
        lambda s: call("bedrock", "ListTagsForResource", resourceARN=s.arn("provisioned-model/aaaaaaaaaaaa")),
    ),
    Assumption(
        "1.10",
        1,
        "A throughput for a custom model that does not exist is refused",
        "bedrock/latest/userguide/prov-thru-prereq",
        refused(*NOT_FOUND, "ValidationException"),
        lambda s: call(
            "bedrock",
            "CreateProvisionedModelThroughput",
            provisionedModelName=f"{s.name}-throughput",
            modelId=s.missing_model,
            modelUnits=1,
            tags=s.tags,
        ),
    ),
    Assumption(
        "1.11",
        1,
        "A deployment of a custom model that does not exist is refused",
        "bedrock/latest/userguide/deploy-custom-model-on-demand",
        refused(*NOT_FOUND, "ValidationException"),
        lambda s: call(
            "bedrock",
            "CreateCustomModelDeployment",
            modelDeploymentName=f"{s.name}-deployment",
            modelArn=s.missing_model,
            tags=s.tags,
        ),
    ),
    Assumption(
        "1.12",
        1,
        "A job whose role does not exist is refused, in the words that we retry on",
        "bedrock/latest/userguide/model-customization-iam-role",
        refused("ValidationException", says="Could not assume provided IAM role"),
        lambda s: bad_job(s, "no-role", roleArn=f"arn:{s.partition}:iam::{s.account}:role/{s.missing}"),
    ),
    Assumption(
        "1.21",
        1,
        "A job whose role exists but does not trust Bedrock is refused in the same words",
        "bedrock/latest/userguide/model-customization-iam-role",
        refused("ValidationException", says="Could not assume provided IAM role"),
        distrusting_job,
    ),
    Assumption(
        "1.13",
        1,
        "A hyperparameter that the model does not have is refused at once",
        "bedrock/latest/userguide/cm-hp-nova-mm",
        refused("ValidationException"),
        lambda s: bad_job(s, "hyperparameter", hyperParameters={"noSuchParameter": "1"}),
    ),
    Assumption(
        "1.14",
        1,
        "A foundation model that does not exist cannot be customized",
        "M: CreateModelCustomizationJob",
        refused(*NOT_FOUND, "ValidationException"),
        lambda s: bad_job(s, "no-model", baseModelIdentifier=VERIFY_NO_MODEL),
    ),
    Assumption(
        "1.15",
        1,
        "A schedule whose role does not exist is refused, in the words that we retry on",
        "scheduler/latest/UserGuide/setting-up (reports of live accounts)",
        refused("ValidationException", says="must allow AWS EventBridge Scheduler to assume the role"),
        bad_switch,
    ),
    Assumption(
        "1.16",
        1,
        "A schedule that does not exist is not found",
        "scheduler/latest/APIReference/API_GetSchedule",
        refused(*NOT_FOUND),
        lambda s: call("scheduler", "GetSchedule", Name=s.missing),
    ),
    Assumption(
        "1.17",
        1,
        "An object is stored if there is none",
        "AmazonS3/latest/userguide/conditional-writes",
        made("PreconditionFailed"),
        lambda s: put(s, "probe", IfNoneMatch="*"),
    ),
    Assumption(
        "1.18",
        1,
        "The same again is refused with 412",
        "AmazonS3/latest/userguide/conditional-writes",
        refused("PreconditionFailed"),
        lambda s: put(s, "probe", IfNoneMatch="*"),
    ),
    Assumption(
        "1.19",
        1,
        "Replacing another version is refused with 412",
        "AmazonS3/latest/userguide/conditional-writes",
        refused("PreconditionFailed"),
        lambda s: put(s, "probe", IfMatch='"00000000000000000000000000000000"'),
    ),
    Assumption(
        "1.20",
        1,
        "Replacing what does not exist is refused with 404",
        "AmazonS3/latest/userguide/conditional-writes",
        refused("NoSuchKey"),
        lambda s: put(s, "nothing", IfMatch='"00000000000000000000000000000000"'),
    ),
    # --- level 2: the switch, and a job that is stopped before it trains
    Assumption(
        "2.1",
        2,
        "EventBridge Scheduler takes a target that deletes a throughput",
        "scheduler/latest/UserGuide/managing-targets-universal",
        made("ConflictException"),
        lambda s: switch_schedule(s, "switch-throughput", ServingMode.PROVISIONED),
    ),
    Assumption(
        "2.2",
        2,
        "and one that deletes a deployment",
        "scheduler/latest/UserGuide/managing-targets-universal",
        made("ConflictException"),
        lambda s: switch_schedule(s, "switch-deployment", ServingMode.ON_DEMAND),
    ),
    Assumption(
        "2.3",
        2,
        "and one whose parameter is spelled as the API spells it",
        "scheduler/latest/UserGuide/managing-targets-universal",
        made("ConflictException"),
        lambda s: switch_schedule(s, "switch-casing", ServingMode.ON_DEMAND, casing=lower_first),
        vital=False,
    ),
    Assumption(
        "2.4",
        2,
        "Each runs when it is due, and what failed is in the dead-letter queue",
        "scheduler/latest/UserGuide/configuring-schedule-dlq",
        all_letters,
        read_letters,
        sees=("2.1", "2.2", "2.3", "2.4"),
        repeat=True,
    ),
    Assumption(
        "2.5",
        2,
        "The throughput's switch reaches Bedrock: service, action, parameter, role and rights are right",
        "scheduler/latest/UserGuide/configuring-schedule-dlq",
        letter("2.1", says="ResourceNotFound"),
        sees=("2.1", "2.4"),
    ),
    Assumption(
        "2.6",
        2,
        "The deployment's switch reaches Bedrock",
        "scheduler/latest/UserGuide/configuring-schedule-dlq",
        letter("2.2", says="ResourceNotFound"),
        sees=("2.2", "2.4"),
    ),
    Assumption(
        "2.7",
        2,
        "The API's own spelling reaches Bedrock too",
        "scheduler/latest/UserGuide/managing-targets-universal (nowhere said)",
        letter("2.3", says="ResourceNotFound"),
        sees=("2.3", "2.4"),
        vital=False,
    ),
    Assumption(
        "2.8",
        2,
        "A job is created by the request that a run sends",
        "bedrock/latest/APIReference/API_CreateModelCustomizationJob",
        job_made,
        lambda s: Request("bedrock", "CreateModelCustomizationJob", s.job),
        sees=("2.8", "2.9"),
    ),
    Assumption(
        "2.9",
        2,
        "It is found by its name at once",
        "nowhere documented",
        accepted("jobArn"),
        lambda s: call("bedrock", "GetModelCustomizationJob", jobIdentifier=s.job["jobName"]),
        vital=False,
    ),
    Assumption(
        "2.10",
        2,
        "It tells the token that it was created with",
        "bedrock/latest/APIReference/API_GetModelCustomizationJob",
        echoed,
        sees=("2.8", "2.9", "2.11"),
    ),
    Assumption(
        "2.11",
        2,
        "The same request with the same token is the same job",
        "bedrock/latest/APIReference/API_CreateModelCustomizationJob (clientRequestToken)",
        same_arn,
        lambda s: Request("bedrock", "CreateModelCustomizationJob", s.job),
        sees=("2.8", "2.9", "2.11"),
    ),
    Assumption(
        "2.12",
        2,
        "The same name with another token is refused",
        "M: CreateModelCustomizationJob (JobName is unique)",
        refused("ValidationException", "ConflictException"),
        lambda s: Request(
            "bedrock",
            "CreateModelCustomizationJob",
            {**s.job, "clientRequestToken": f"{s.name}-other-token"},
        ),
    ),
    Assumption(
        "2.13",
        2,
        "The same token with other parameters is refused",
        "nowhere documented",
        refused("ConflictException", "ValidationException"),
        lambda s: Request(
            "bedrock", "CreateModelCustomizationJob", {**s.job, "jobName": f"{s.job['jobName']}-b"}
        ),
        vital=False,
    ),
    Assumption(
        "2.14",
        2,
        "The job can be stopped",
        "bedrock/latest/APIReference/API_StopModelCustomizationJob",
        stopped_now,
        lambda s: call("bedrock", "StopModelCustomizationJob", jobIdentifier=s.job["jobName"]),
    ),
    Assumption(
        "2.15",
        2,
        "It is Stopping, and then Stopped",
        "bedrock/latest/APIReference/API_GetModelCustomizationJob",
        states("GetModelCustomizationJob", "status", JOB_STATES),
        lambda s: call("bedrock", "GetModelCustomizationJob", jobIdentifier=s.job["jobName"]),
        repeat=True,
    ),
    Assumption(
        "2.16",
        2,
        "Stopping it again is a conflict",
        "M: StopModelCustomizationJob",
        refused("ConflictException"),
        lambda s: call("bedrock", "StopModelCustomizationJob", jobIdentifier=s.job["jobName"]),
        vital=False,
    ),
    Assumption(
        "2.17",
        2,
        "A job whose training data do not exist is created all the same, and fails later",
        "bedrock/latest/userguide/fine-tuning-troubleshooting (of a job that has failed)",
        accepted("jobArn"),
        # With a token: after an answer that was lost, the same request is the same job.
        lambda s: bad_job(s, "no-data", clientRequestToken=f"{s.name}-no-data"),
        vital=False,
    ),
    # --- level 3: what a whole run sees, on demand
    Assumption(
        "3.1",
        3,
        "A job is found by name or ARN right after it was created",
        "nowhere documented",
        found_at_once,
        sees=("CreateModelCustomizationJob", "GetModelCustomizationJob"),
        vital=False,
    ),
    Assumption(
        "3.2",
        3,
        "A job is InProgress, and then Completed",
        "bedrock/latest/APIReference/API_GetModelCustomizationJob",
        states("GetModelCustomizationJob", "status", ("InProgress", "Completed")),
        sees=("GetModelCustomizationJob",),
    ),
    Assumption(
        "3.3",
        3,
        "Its model is Creating, and then Active",
        "bedrock/latest/APIReference/API_GetCustomModel",
        states("GetCustomModel", "modelStatus", ("Creating", "Active")),
        sees=("GetCustomModel",),
    ),
    Assumption(
        "3.4",
        3,
        "A deployment is Creating, and then Active",
        "bedrock/latest/APIReference/API_GetCustomModelDeployment",
        states(
            "GetCustomModelDeployment", "status", ("Creating", "Active"), ("Creating", "Active", "Deleting")
        ),
        sees=("GetCustomModelDeployment",),
    ),
    Assumption(
        "3.5",
        3,
        "It answers Converse by its ARN, with the tokens used",
        "bedrock/latest/userguide/deploy-custom-model-on-demand",
        accepted("output", "usage", "stopReason"),
        sees=("Converse",),
    ),
    Assumption(
        "3.6",
        3,
        "Once deleted it is not found",
        "nova/latest/nova2-userguide/delete-custom-model-deployment",
        gone("GetCustomModelDeployment", "DeleteCustomModelDeployment"),
        sees=("GetCustomModelDeployment", "DeleteCustomModelDeployment"),
    ),
    Assumption(
        "3.7",
        3,
        "The model can be deleted after its deployment",
        "bedrock/latest/APIReference/API_DeleteCustomModel",
        accepted(),
        sees=("DeleteCustomModel",),
    ),
    # --- level 4: provisioned throughput
    Assumption(
        "4.1",
        4,
        "The dead man's switch is set before the throughput is rented, and taken away after it",
        "docs/reliability.md",
        armed,
        sees=("CreateSchedule", "DeleteSchedule", "CreateProvisionedModelThroughput"),
    ),
    Assumption(
        "4.2",
        4,
        "A throughput is Creating, and then InService",
        "bedrock/latest/APIReference/API_GetProvisionedModelThroughput",
        states("GetProvisionedModelThroughput", "status", ("Creating", "InService")),
        sees=("GetProvisionedModelThroughput",),
    ),
    Assumption(
        "4.3",
        4,
        "It answers Converse by its ARN",
        "bedrock/latest/userguide/prov-thru-use",
        accepted("output", "usage", "stopReason"),
        sees=("Converse",),
    ),
    Assumption(
        "4.4",
        4,
        "Once deleted it is not found",
        "bedrock/latest/APIReference/API_DeleteProvisionedModelThroughput",
        gone("GetProvisionedModelThroughput", "DeleteProvisionedModelThroughput"),
        sees=("GetProvisionedModelThroughput", "DeleteProvisionedModelThroughput"),
    ),
)
