"""What the doctor looks at and a run does not: IAM, Service Quotas, a bucket's settings. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from vlm_runner.aws.account import region_of_bucket
from vlm_runner.errors import AccessDenied, AwsRefused, AwsUnavailable, NotFound
from vlm_runner.spec import kms_key_arn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vlm_runner.aws.answers import AwsAnswer, AwsService

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Role:
    arn: str
    name: str
    trust: Document


@dataclass(frozen=True, slots=True)
class BucketFacts:
    exists: bool
    ours: bool
    region: str | None = None
    blocks_public: bool | None = None
    """All four of its public access blocks are on; None: could not be asked."""
    public: bool | None = None
    """Its policy makes it public."""


@dataclass(frozen=True, slots=True)
class Quota:
    code: str
    name: str
    value: float


def _quota_of(answer: AwsAnswer) -> Quota:
    return Quota(answer.name("QuotaCode"), answer.message("QuotaName") or "", answer.number("Value"))


class AwsInspection:
    def __init__(
        self,
        iam: AwsService,
        quotas: AwsService,
        s3: AwsService,
        bedrock: AwsService,
        sts: AwsService,
    ) -> None:
        self._iam, self._quotas, self._s3, self._bedrock, self._sts = iam, quotas, s3, bedrock, sts

    async def time(self) -> datetime | None:
        """AWS's own clock, from the Date of an answer; None if it had none."""
        answer = await self._sts.call("GetCallerIdentity")
        return answer.optional_header("date", parsedate_to_datetime)

    async def role(self, role: str) -> Role | None:
        """The role of this name or ARN; None if there is none."""
        name = role.rpartition("/")[2]
        try:
            answer = await self._iam.call("GetRole", about=name, RoleName=name)
        except NotFound:
            return None
        except AwsRefused as error:
            if error.code == "NoSuchEntity":
                return None
            raise
        found = answer.part("Role")
        return Role(
            arn=found.arn("Arn"), name=found.name("RoleName"), trust=found.policy("AssumeRolePolicyDocument")
        )

    async def simulate(
        self, principal: str, actions: Sequence[str], resource: str, context: Mapping[str, str]
    ) -> dict[str, bool] | None:
        """Of each action whether `principal` may do it; None: IAM could not be asked."""
        entries = [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in context.items()
        ]
        try:
            answer = await self._iam.call(
                "SimulatePrincipalPolicy",
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=entries,
            )
            return {
                result.name("EvalActionName"): result.name("EvalDecision") == "allowed"
                for result in answer.parts("EvaluationResults")
            }
        except (AccessDenied, AwsUnavailable, NotFound):
            return None

    async def bucket(self, bucket: str, account: str) -> BucketFacts:
        where = {"Bucket": bucket, "ExpectedBucketOwner": account}
        try:
            region = await region_of_bucket(self._s3, bucket, account)
        except NotFound:
            return BucketFacts(exists=False, ours=False)
        except AccessDenied:
            return BucketFacts(exists=True, ours=False)
        return BucketFacts(
            exists=True,
            ours=True,
            region=region,
            blocks_public=await self._blocks(where),
            public=await self._public(where),
        )

    async def default_key(self, bucket: str, account: str) -> str | None:
        """
        ARN of the KMS key with which the bucket encrypts by default.

        None where it is none of the account's own, is named by an alias, or could not be read: the key that
        AWS manages needs no right of its own (S3 user guide, UsingKMSEncryption).
        """
        where: dict[str, Any] = {"Bucket": bucket, "ExpectedBucketOwner": account}
        try:
            answer = await self._s3.call("GetBucketEncryption", **where)
            rule = answer.part("ServerSideEncryptionConfiguration").only("Rules")
            return rule.part("ApplyServerSideEncryptionByDefault").parsed("KMSMasterKeyID", kms_key_arn)
        except (AwsRefused, AwsUnavailable):
            return None

    async def _blocks(self, where: dict[str, Any]) -> bool | None:
        try:
            answer = await self._s3.call("GetPublicAccessBlock", **where)
        except NotFound:
            return False
        except AccessDenied:
            return None
        except AwsRefused as error:
            return False if error.code == "NoSuchPublicAccessBlockConfiguration" else None
        block = answer.part("PublicAccessBlockConfiguration")
        four = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        return all(block.optional_flag(name) for name in four)

    async def _public(self, where: dict[str, Any]) -> bool | None:
        try:
            answer = await self._s3.call("GetBucketPolicyStatus", **where)
            return answer.part("PolicyStatus").flag("IsPublic")
        except NotFound:
            return False
        except (AwsRefused, AwsUnavailable):
            return None

    async def quota(self, code: str) -> Quota | None:
        """
        One of Bedrock's quotas: the account's value, or AWS's default where none was ever applied.

        None where it cannot be read.
        """
        try:
            return await self._quota("GetServiceQuota", code)
        except AwsRefused as error:
            if error.code != "NoSuchResourceException":
                return None
        except AwsUnavailable:
            return None
        try:
            return await self._quota("GetAWSDefaultServiceQuota", code)
        except (AwsRefused, AwsUnavailable):
            return None

    async def _quota(self, operation: str, code: str) -> Quota:
        answer = await self._quotas.call(operation, about=code, ServiceCode="bedrock", QuotaCode=code)
        return _quota_of(answer.part("Quota"))

    async def quota_named(self, wanted: str) -> Quota | None:
        """The quota of Bedrock whose name ends so, where its code is not published; None: not read."""
        for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
            try:
                async for page in self._quotas.pages(operation, ServiceCode="bedrock"):
                    for quota in page.parts("Quotas"):
                        if (quota.message("QuotaName") or "").lower().endswith(wanted.lower()):
                            return _quota_of(quota)
            except (AwsRefused, AwsUnavailable):
                continue
        return None

    async def running_jobs(self) -> int:
        """Customization jobs that have not ended."""
        pages = self._bedrock.pages("ListModelCustomizationJobs", statusEquals="InProgress")
        return sum([len(page.parts("modelCustomizationJobSummaries")) async for page in pages])
