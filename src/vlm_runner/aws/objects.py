"""S3 objects."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.ports import ListedObject, StoredObject
from vlm_runner.errors import Conflict, NotFound
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vlm_runner.aws.answers import AwsAnswer, AwsService
    from vlm_runner.aws.ports import Encryption

PART_BYTES = 5 * 1024 * 1024
"""The least for all parts of an upload but the last (user guide, multipart limits)."""

PARTS_AT_ONCE = 4


class S3Objects:
    """`service` may repeat a request, `once` does not."""

    def __init__(
        self,
        service: AwsService,
        once: AwsService,
        bucket: str,
        owner: str | None,
        encryption: Encryption | None = None,
    ) -> None:
        self._service = service
        self._once = once
        self._bucket = bucket
        self._where: dict[str, Any] = {"Bucket": bucket} | ({"ExpectedBucketOwner": owner} if owner else {})
        self._encryption = encrypted(encryption)

    @property
    def bucket(self) -> str:
        return self._bucket

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._put(self._service, key, body, content_type)

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._put(self._once, key, body, content_type)

    async def _put(
        self, service: AwsService, key: str, body: bytes, content_type: str, **condition: Any
    ) -> str:
        """The ETag: an answer without one is not S3's, and nothing is stored."""
        answer = await service.call(
            "PutObject",
            about=self._uri(key),
            **self._where,
            Key=key,
            Body=BytesIO(body),  # aiohttp warns about raw bytes over 1 MiB
            ContentType=content_type,
            **self._encryption,
            **condition,
        )
        return answer.name("ETag")

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
        try:
            return await self._put(self._service, key, body, "application/json", **condition)
        except Conflict:
            return None
        except NotFound as error:
            # NoSuchKey: there is nothing to replace. NoSuchBucket is a user's mistake, and is raised.
            if error.code == "NoSuchBucket":
                raise
            return None

    async def concatenate(
        self, key: str, parts: Sequence[tuple[str, int]], *, cut: int, content_type: str
    ) -> None:
        groups = _groups(parts)
        if len(groups) == 1:
            await self.put(key, await self._joined(groups[0], cut), content_type=content_type)
            return
        made = await self._service.call(
            "CreateMultipartUpload",
            about=self._uri(key),
            **self._where,
            Key=key,
            ContentType=content_type,
            ChecksumAlgorithm="CRC32",
            **self._encryption,  # for all parts: those name none (S3 API reference, CreateMultipartUpload)
        )
        upload = {**self._where, "Key": key, "UploadId": made.name("UploadId")}
        try:
            done = await self._upload_parts(upload, groups, cut)
            answer = await self._service.call(
                "CompleteMultipartUpload",
                about=self._uri(key),
                **upload,
                MultipartUpload={"Parts": done},
            )
            answer.name("ETag")
        except BaseException:
            # Parts that are left behind are billed as storage.
            with anyio.move_on_after(10, shield=True):
                await self._service.call("AbortMultipartUpload", about=self._uri(key), **upload)
            raise

    async def _upload_parts(
        self, upload: dict[str, Any], groups: list[list[str]], cut: int
    ) -> list[dict[str, Any]]:
        done: dict[int, dict[str, Any]] = {}
        waiting = iter(enumerate(groups, 1))

        async def work() -> None:
            for number, group in waiting:
                last = number == len(groups)
                if len(group) == 1 and not (last and cut):
                    done[number] = await self._copied_part(upload, number, group[0])
                else:
                    body = await self._joined(group, cut if last else 0)
                    done[number] = await self._sent_part(upload, number, body)

        async with task_group() as workers:
            for _ in range(PARTS_AT_ONCE):
                workers.start_soon(work)
        return [done[number] for number in sorted(done)]

    async def _sent_part(self, upload: dict[str, Any], number: int, body: bytes) -> dict[str, Any]:
        answer = await self._service.call(
            "UploadPart",
            about=self._uri(upload["Key"]),
            **upload,
            PartNumber=number,
            Body=BytesIO(body),
            ChecksumAlgorithm="CRC32",
        )
        return _part(number, answer)

    async def _copied_part(self, upload: dict[str, Any], number: int, source: str) -> dict[str, Any]:
        owner = upload.get("ExpectedBucketOwner")
        answer = await self._service.call(
            "UploadPartCopy",
            about=self._uri(upload["Key"]),
            **upload,
            **({"ExpectedSourceBucketOwner": owner} if owner else {}),
            PartNumber=number,
            CopySource={"Bucket": self._bucket, "Key": source},
        )
        return _part(number, answer.part("CopyPartResult"))

    async def _joined(self, keys: list[str], cut: int) -> bytes:
        whole = b"".join([chunk for key in keys async for chunk in self.read(key)])
        return whole[: len(whole) - cut]

    async def get(self, key: str, *, most: int | None = None) -> StoredObject | None:
        try:
            answer = await self._service.call("GetObject", about=self._uri(key), **self._where, Key=key)
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
            return None
        with answer.closing("Body"):
            return StoredObject(etag=answer.name("ETag"), body=await answer.body("Body", most))

    async def read(self, key: str) -> AsyncIterator[bytes]:
        answer = await self._service.call("GetObject", about=self._uri(key), **self._where, Key=key)
        with answer.closing("Body"):
            answer.name("ETag")
            async for piece in answer.pieces("Body"):
                yield piece

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ListedObject]:
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        pages = self._service.pages(
            "ListObjectsV2", about=self._uri(prefix), **self._where, Prefix=prefix, **start
        )
        async for page in pages:
            page.flag("IsTruncated")  # S3 leaves `Contents` out of an empty page, but never this
            for item in page.optional_parts("Contents"):
                yield ListedObject(item.text("Key"), item.count("Size"), item.name("ETag"))

    async def delete(self, key: str) -> None:
        await self._service.call("DeleteObject", about=self._uri(key), **self._where, Key=key)


def encrypted(encryption: Encryption | None) -> dict[str, Any]:
    """The members of a request that ask for it."""
    if encryption is None:
        return {}
    key = {"SSEKMSKeyId": encryption.kms_key} if encryption.kms_key is not None else {}
    return {"ServerSideEncryption": encryption.algorithm, **key}


def _part(number: int, answer: AwsAnswer) -> dict[str, Any]:
    checksum = answer.optional_name("ChecksumCRC32")
    return {
        "PartNumber": number,
        "ETag": answer.name("ETag"),
        **({"ChecksumCRC32": checksum} if checksum is not None else {}),
    }


def _groups(parts: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Neighbours, until they are large enough for a part; one that is large enough alone can be copied."""
    groups: list[list[str]] = []
    size = PART_BYTES
    for key, length in parts:
        if size >= PART_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(key)
        size += length
    return groups
