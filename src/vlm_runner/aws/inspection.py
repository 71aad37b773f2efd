"""What the doctor looks at and a run does not: IAM, Service Quotas, a bucket's settings. Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from vlm_runner.aws.errors import translated
from vlm_runner.errors import AccessDenied, AwsRefused, AwsUnavailable, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

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


class AwsInspection:
    def __init__(
        self,
        iam: Callable[[], Awaitable[Any]],
        quotas: Callable[[], Awaitable[Any]],
        s3: Callable[[], Awaitable[Any]],
        bedrock: Callable[[], Awaitable[Any]],
        sts: Callable[[], Awaitable[Any]],
    ) -> None:
        self._iam, self._quotas, self._s3, self._bedrock, self._sts = iam, quotas, s3, bedrock, sts

    async def time(self) -> datetime | None:
        """AWS's own clock, from the Date of an answer; None if it had none."""
        client = await self._sts()
        with translated("GetCallerIdentity"):
            answer = await client.get_caller_identity()
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return None if date is None else parsedate_to_datetime(date)

    async def role(self, arn: str) -> Role | None:
        client, name = await self._iam(), arn.rpartition("/")[2]
        try:
            with translated(f"GetRole {name}"):
                answer = await client.get_role(RoleName=name)
        except NotFound:
            return None
        except AwsRefused as error:
            if error.code == "NoSuchEntity":
                return None
            raise
        role = answer["Role"]
        return Role(
            arn=str(role["Arn"]),
            name=str(role["RoleName"]),
            trust=_document(role["AssumeRolePolicyDocument"]),
        )

    async def simulate(
        self, principal: str, actions: Sequence[str], resource: str, context: Mapping[str, str]
    ) -> dict[str, bool] | None:
        """Of each action whether `principal` may do it; None: the simulation is not to be had here."""
        client = await self._iam()
        entries = [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in context.items()
        ]
        try:
            with translated("SimulatePrincipalPolicy"):
                answer = await client.simulate_principal_policy(
                    PolicySourceArn=principal,
                    ActionNames=list(actions),
                    ResourceArns=[resource],
                    ContextEntries=entries,
                )
        except (AccessDenied, AwsUnavailable, NotFound):
            return None
        return {
            str(result["EvalActionName"]): result["EvalDecision"] == "allowed"
            for result in answer["EvaluationResults"]
        }

    async def policies(self, role_name: str) -> list[Document]:
        """Every identity policy of a role, inline and attached."""
        client = await self._iam()
        found: list[Document] = []
        with translated(f"policies of {role_name}"):
            inline = await client.list_role_policies(RoleName=role_name)
            for name in inline["PolicyNames"]:
                answer = await client.get_role_policy(RoleName=role_name, PolicyName=name)
                found.append(_document(answer["PolicyDocument"]))
            attached = await client.list_attached_role_policies(RoleName=role_name)
            for policy in attached["AttachedPolicies"]:
                arn = policy["PolicyArn"]
                head = await client.get_policy(PolicyArn=arn)
                version = head["Policy"]["DefaultVersionId"]
                answer = await client.get_policy_version(PolicyArn=arn, VersionId=version)
                found.append(_document(answer["PolicyVersion"]["Document"]))
        return found

    async def bucket(self, bucket: str, account: str) -> BucketFacts:
        client = await self._s3()
        where = {"Bucket": bucket, "ExpectedBucketOwner": account}
        try:
            with translated(f"HeadBucket {bucket}"):
                head = await client.head_bucket(**where)
            region = head.get("BucketRegion")
            if region is None:
                with translated(f"GetBucketLocation {bucket}"):
                    region = (await client.get_bucket_location(**where)).get(
                        "LocationConstraint"
                    ) or "us-east-1"
        except NotFound:
            return BucketFacts(exists=False, ours=False)
        except AccessDenied:
            return BucketFacts(exists=True, ours=False)
        return BucketFacts(
            exists=True,
            ours=True,
            region=str(region),
            blocks_public=await self._blocks(client, where),
            public=await self._public(client, where),
        )

    async def _blocks(self, client: Any, where: dict[str, str]) -> bool | None:
        try:
            with translated("GetPublicAccessBlock"):
                answer = await client.get_public_access_block(**where)
        except NotFound:
            return False
        except AccessDenied:
            return None
        except AwsRefused as error:
            return False if error.code == "NoSuchPublicAccessBlockConfiguration" else None
        block = answer["PublicAccessBlockConfiguration"]
        four = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        return all(block.get(name, False) for name in four)

    async def _public(self, client: Any, where: dict[str, str]) -> bool | None:
        try:
            with translated("GetBucketPolicyStatus"):
                answer = await client.get_bucket_policy_status(**where)
        except NotFound:
            return False
        except (AwsRefused, AwsUnavailable):
            return None
        return bool(answer["PolicyStatus"]["IsPublic"])

    async def quota(self, code: str) -> float | None:
        """The account's value of one of Bedrock's quotas; None where it cannot be told."""
        client = await self._quotas()
        try:
            with translated(f"GetServiceQuota {code}"):
                answer = await client.get_service_quota(ServiceCode="bedrock", QuotaCode=code)
        except (AwsRefused, AwsUnavailable):
            return None
        return float(answer["Quota"]["Value"])

    async def quota_named(self, *words: str) -> tuple[str, str, float] | None:
        """Code, name and value of the first quota of Bedrock whose name holds all `words`."""
        client = await self._quotas()
        try:
            with translated("ListServiceQuotas"):
                pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
                async for page in pages:
                    for quota in page["Quotas"]:
                        name = str(quota["QuotaName"])
                        if all(word.lower() in name.lower() for word in words):
                            return str(quota["QuotaCode"]), name, float(quota["Value"])
        except (AwsRefused, AwsUnavailable):
            return None
        return None

    async def running_jobs(self) -> int:
        """Customization jobs that have not ended."""
        client = await self._bedrock()
        count = 0
        with translated("ListModelCustomizationJobs"):
            pages = client.get_paginator("list_model_customization_jobs").paginate(statusEquals="InProgress")
            async for page in pages:
                count += len(page.get("modelCustomizationJobSummaries", ()))
        return count


def _document(value: Any) -> Document:
    """Botocore gives policies parsed; some endpoints give them as text, percent-encoded."""
    return dict(json.loads(unquote(value))) if isinstance(value, str) else dict(value)
