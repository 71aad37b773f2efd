"""Who calls, and their bucket: STS and the bucket side of S3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.aws.ports import Caller
from vlm_runner.errors import AccessDenied, AwsRefused, Conflict, NotFound

if TYPE_CHECKING:
    from vlm_runner.aws.answers import AwsAnswer, AwsService

HOME = "us-east-1"
"""The one region that CreateBucket takes no LocationConstraint for (S3 API reference, CreateBucket)."""

_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}|EU")


class AwsAccount:
    def __init__(self, sts: AwsService, s3: AwsService) -> None:
        self._sts, self._s3 = sts, s3

    async def caller(self) -> Caller:
        answer = await self._sts.call("GetCallerIdentity")
        arn = answer.arn("Arn")
        return Caller(account=answer.name("Account"), arn=arn, partition=arn.split(":")[1])

    async def ensure_bucket(self, bucket: str, *, account: str, region: str) -> bool:
        where = await self._location(bucket, account)
        if where is None:
            return await self._create(bucket, account, region)
        if where != region:
            raise AwsRefused(
                f"Bucket {bucket} is in {where}, and the run in {region}.",
                hint="Bedrock reads training data in its own region only: name another storage.bucket.",
            )
        return False

    async def _location(self, bucket: str, account: str) -> str | None:
        try:
            return await region_of_bucket(self._s3, bucket, account)
        except NotFound:
            return None
        except AccessDenied as error:
            raise AccessDenied(
                f"Bucket {bucket} is not in account {account}, or you may not use it ({error.message})",
                hint="Name a bucket of your own as storage.bucket, or allow s3:ListBucket on this one.",
                code=error.code,
                operation=error.operation,
            ) from error

    async def _create(self, bucket: str, account: str, region: str) -> bool:
        location: dict[str, Any] = (
            {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            await self._s3.call("CreateBucket", about=bucket, Bucket=bucket, **location)
        except Conflict as error:
            # Two runs may create it at once; whose it is, is the question.
            if await self._location(bucket, account) == region:
                return False
            raise AwsRefused(
                f"Bucket {bucket} exists elsewhere ({error.message})",
                hint="Name another one as storage.bucket.",
                code=error.code,
                operation=error.operation,
            ) from error
        await self._s3.call(
            "PutPublicAccessBlock",
            about=bucket,
            Bucket=bucket,
            ExpectedBucketOwner=account,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        return True


async def region_of_bucket(s3: AwsService, bucket: str, account: str) -> str:
    """
    Raises:
        NotFound: there is no such bucket.
        AccessDenied: it is another account's, or the caller may not look at it.
    """
    where: dict[str, Any] = {"Bucket": bucket, "ExpectedBucketOwner": account}
    head = await s3.call("HeadBucket", about=bucket, **where)
    if (region := head.optional_name("BucketRegion")) is not None:
        return region
    return _constraint(await s3.call("GetBucketLocation", about=bucket, **where))


def _constraint(answer: AwsAnswer) -> str:
    if not answer.optional_text("LocationConstraint"):
        return HOME

    def known(text: str) -> str:
        if not _REGION.fullmatch(text):
            raise ValueError
        return text

    return answer.parsed("LocationConstraint", known)
