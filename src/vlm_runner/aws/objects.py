"""S3 through aioboto3."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.errors import translated
from vlm_runner.aws.ports import ListedObject, StoredObject
from vlm_runner.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PART_BYTES = 8 * 1024 * 1024
"""S3 wants at least 5 MiB for all parts of an upload but the last (user guide, multipart limits)."""

READ_BYTES = 1024 * 1024

Client = Any
"""An aiobotocore S3 client; its stubs are too wide for strict checking outside `session`."""


class S3Objects:
    """`client` returns the shared client, which is made on first use."""

    def __init__(self, client: Callable[[], Awaitable[Client]], bucket: str, owner: str | None) -> None:
        self._client = client
        self._bucket = bucket
        self._where = {"Bucket": bucket} | ({"ExpectedBucketOwner": owner} if owner else {})

    @property
    def bucket(self) -> str:
        return self._bucket

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        client = await self._client()
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
            # NoSuchKey: there is nothing to replace. NoSuchBucket is somebody's mistake, and says so.
            if error.code == "NoSuchBucket":
                raise
            return None
        return str(answer["ETag"])

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str) -> int:
        parts = _parts(chunks)
        first = await anext(parts, b"")
        if len(first) < PART_BYTES:
            await self.put(key, first, content_type=content_type)
            return len(first)
        return await self._multipart(key, first, parts, content_type)

    async def _multipart(self, key: str, first: bytes, rest: AsyncIterator[bytes], content_type: str) -> int:
        client = await self._client()
        with translated(f"multipart upload of s3://{self._bucket}/{key}"):
            made = await client.create_multipart_upload(**self._where, Key=key, ContentType=content_type)
            upload = {**self._where, "Key": key, "UploadId": made["UploadId"]}
            try:
                done = [await _part(client, upload, 1, first)]
                total = len(first)
                async for part in rest:
                    done.append(await _part(client, upload, len(done) + 1, part))
                    total += len(part)
                await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
            except BaseException:
                # Parts that are left behind are billed as storage.
                with anyio.move_on_after(10, shield=True):
                    await client.abort_multipart_upload(**upload)
                raise
        return total

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

    async def list(self, prefix: str) -> AsyncIterator[ListedObject]:
        client = await self._client()
        with translated(f"ListObjectsV2 s3://{self._bucket}/{prefix}"):
            pages = client.get_paginator("list_objects_v2").paginate(**self._where, Prefix=prefix)
            async for page in pages:
                for item in page.get("Contents", ()):
                    yield ListedObject(str(item["Key"]), int(item["Size"]), str(item["ETag"]))

    async def delete(self, key: str) -> None:
        client = await self._client()
        with translated(f"DeleteObject s3://{self._bucket}/{key}"):
            await client.delete_object(**self._where, Key=key)


async def _part(client: Client, upload: dict[str, Any], number: int, body: bytes) -> dict[str, Any]:
    answer = await client.upload_part(
        **upload, PartNumber=number, Body=BytesIO(body), ChecksumAlgorithm="CRC32"
    )
    return (
        {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer.get("ChecksumCRC32")}
        if (answer.get("ChecksumCRC32"))
        else {"PartNumber": number, "ETag": answer["ETag"]}
    )


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of PART_BYTES; only the last is shorter."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= PART_BYTES:
            yield bytes(buffer[:PART_BYTES])
            del buffer[:PART_BYTES]
    if buffer:
        yield bytes(buffer)
