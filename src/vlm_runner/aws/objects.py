"""S3 through aioboto3."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.errors import translated
from vlm_runner.aws.ports import ListedObject, StoredObject
from vlm_runner.errors import Conflict, NotFound
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

PART_BYTES = 5 * 1024 * 1024
"""The least for all parts of an upload but the last (user guide, multipart limits)."""

PARTS_AT_ONCE = 4

READ_BYTES = 1024 * 1024

Client = Any
"""An aiobotocore S3 client; its stubs are too wide for strict checking outside `session`."""


class S3Objects:
    """
    `client` returns the shared client, which is made on first use; `once` one that repeats nothing.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[Client]],
        once: Callable[[], Awaitable[Client]],
        bucket: str,
        owner: str | None,
    ) -> None:
        self._client = client
        self._once = once
        self._bucket = bucket
        self._where = {"Bucket": bucket} | ({"ExpectedBucketOwner": owner} if owner else {})

    @property
    def bucket(self) -> str:
        return self._bucket

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._put(await self._client(), key, body, content_type)

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._put(await self._once(), key, body, content_type)

    async def _put(self, client: Client, key: str, body: bytes, content_type: str) -> None:
        with translated(f"PutObject s3://{self._bucket}/{key}"):
            # aiohttp warns about raw bytes over 1 MiB.
            await client.put_object(**self._where, Key=key, Body=BytesIO(body), ContentType=content_type)

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        condition = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
        client = await self._client()
        try:
            with translated(f"PutObject s3://{self._bucket}/{key}"):
                answer = await client.put_object(
                    **self._where, Key=key, Body=BytesIO(body), ContentType="application/json", **condition
                )
        except Conflict:
            return None
        except NotFound as error:
            # NoSuchKey: there is nothing to replace. NoSuchBucket is a user's mistake, and is raised.
            if error.code == "NoSuchBucket":
                raise
            return None
        return str(answer["ETag"])

    async def concatenate(
        self, key: str, parts: Sequence[tuple[str, int]], *, cut: int, content_type: str
    ) -> None:
        groups = _groups(parts)
        if len(groups) == 1:
            await self.put(key, await self._joined(groups[0], cut), content_type=content_type)
            return
        client = await self._client()
        with translated(f"multipart upload of s3://{self._bucket}/{key}"):
            made = await client.create_multipart_upload(
                **self._where, Key=key, ContentType=content_type, ChecksumAlgorithm="CRC32"
            )
            upload = {**self._where, "Key": key, "UploadId": made["UploadId"]}
            try:
                done = await self._upload_parts(client, upload, groups, cut)
                await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
            except BaseException:
                # Parts that are left behind are billed as storage.
                with anyio.move_on_after(10, shield=True):
                    await client.abort_multipart_upload(**upload)
                raise

    async def _upload_parts(
        self, client: Client, upload: dict[str, Any], groups: list[list[str]], cut: int
    ) -> list[dict[str, Any]]:
        done: dict[int, dict[str, Any]] = {}
        waiting = iter(enumerate(groups, 1))

        async def work() -> None:
            for number, group in waiting:
                last = number == len(groups)
                if len(group) == 1 and not (last and cut):
                    done[number] = await self._copied_part(client, upload, number, group[0])
                else:
                    body = await self._joined(group, cut if last else 0)
                    done[number] = await _sent_part(client, upload, number, body)

        async with task_group() as workers:
            for _ in range(PARTS_AT_ONCE):
                workers.start_soon(work)
        return [done[number] for number in sorted(done)]

    async def _copied_part(
        self, client: Client, upload: dict[str, Any], number: int, source: str
    ) -> dict[str, Any]:
        owner = upload.get("ExpectedBucketOwner")
        answer = await client.upload_part_copy(
            **upload,
            **({"ExpectedSourceBucketOwner": owner} if owner else {}),
            PartNumber=number,
            CopySource={"Bucket": self._bucket, "Key": source},
        )
        return _part(number, answer["CopyPartResult"])

    async def _joined(self, keys: list[str], cut: int) -> bytes:
        whole = b"".join([chunk for key in keys async for chunk in self.read(key)])
        return whole[: len(whole) - cut]

    async def get(self, key: str) -> StoredObject | None:
        client = await self._client()
        try:
            with translated(f"GetObject s3://{self._bucket}/{key}"):
                answer = await client.get_object(**self._where, Key=key)
                async with answer["Body"] as stream:
                    return StoredObject(await stream.read(), str(answer["ETag"]))
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
            return None

    async def read(self, key: str) -> AsyncIterator[bytes]:
        client = await self._client()
        with translated(f"GetObject s3://{self._bucket}/{key}"):
            answer = await client.get_object(**self._where, Key=key)
            body = answer["Body"]
            async with body:
                while chunk := await body.read(READ_BYTES):
                    yield chunk

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ListedObject]:
        client = await self._client()
        with translated(f"ListObjectsV2 s3://{self._bucket}/{prefix}"):
            start = {"StartAfter": after} if after else {}
            pages = client.get_paginator("list_objects_v2").paginate(**self._where, Prefix=prefix, **start)
            async for page in pages:
                for item in page.get("Contents", ()):
                    yield ListedObject(str(item["Key"]), int(item["Size"]), str(item["ETag"]))

    async def delete(self, key: str) -> None:
        client = await self._client()
        with translated(f"DeleteObject s3://{self._bucket}/{key}"):
            await client.delete_object(**self._where, Key=key)


async def _sent_part(client: Client, upload: dict[str, Any], number: int, body: bytes) -> dict[str, Any]:
    answer = await client.upload_part(
        **upload, PartNumber=number, Body=BytesIO(body), ChecksumAlgorithm="CRC32"
    )
    return _part(number, answer)


def _part(number: int, answer: dict[str, Any]) -> dict[str, Any]:
    checksum = {"ChecksumCRC32": answer["ChecksumCRC32"]} if answer.get("ChecksumCRC32") else {}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksum}


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
