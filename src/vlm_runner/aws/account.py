"""Who calls, and their bucket: STS and the bucket side of S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.aws.errors import translated
from vlm_runner.aws.ports import Caller
from vlm_runner.errors import AccessDenied, AwsRefused, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sts import STSClient

HOME = "us-east-1"
"""The one region that CreateBucket takes no LocationConstraint for (S3 API reference, CreateBucket)."""


class AwsAccount:
    def __init__(
        self, sts: Callable[[], Awaitable[STSClient]], s3: Callable[[], Awaitable[S3Client]]
    ) -> None:
        self._sts, self._s3 = sts, s3

    async def caller(self) -> Caller:
        client = await self._sts()
        with translated("GetCallerIdentity"):
            answer = await client.get_caller_identity()
        arn = str(answer["Arn"])
        return Caller(account=str(answer["Account"]), arn=arn, partition=arn.split(":")[1])

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
        client = await self._s3()
        try:
            with translated(f"HeadBucket {bucket}"):
                answer = await client.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
                location = answer.get("BucketRegion")
            if location:
                return str(location)
            with translated(f"GetBucketLocation {bucket}"):
                found = await client.get_bucket_location(Bucket=bucket, ExpectedBucketOwner=account)
        except NotFound:
            return None
        except AccessDenied as error:
            raise AccessDenied(
                f"Bucket {bucket} is not in account {account}, or you may not use it ({error.message})",
                hint="Name a bucket of your own as storage.bucket, or allow s3:ListBucket on this one.",
                code=error.code,
                operation=error.operation,
            ) from error
        return str(found.get("LocationConstraint") or HOME)

    async def _create(self, bucket: str, account: str, region: str) -> bool:
        client = await self._s3()
        location: dict[str, Any] = (
            {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            with translated(f"CreateBucket {bucket}"):
                await client.create_bucket(Bucket=bucket, **location)
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
        with translated(f"PutPublicAccessBlock {bucket}"):
            await client.put_public_access_block(
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
