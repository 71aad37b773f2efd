"""S3 in memory, as strict as S3: conditions are atomic, and an ETag is the MD5 of its bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from vlm_runner.aws.ports import ListedObject, StoredObject
from vlm_runner.errors import AccessDenied, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@lru_cache(64)
def etag_of(body: bytes) -> str:
    """Equal bytes have equal ETags, as with S3's own encryption: a writer must make each body unique."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class FakeS3:
    """Buckets and their owners. `writes` counts what was stored, by key."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.owners: dict[str, str] = {}
        self.writes: Counter[str] = Counter()

    def make_bucket(self, bucket: str, owner: str) -> None:
        self.buckets.setdefault(bucket, {})
        self.owners.setdefault(bucket, owner)

    def put_if(self, bucket: str, key: str, body: bytes, replacing: str | None) -> str | None:
        """S3's PutObject with If-Match or If-None-Match; None for its 412 and 404."""
        there = self.buckets[bucket].get(key)
        if (None if there is None else etag_of(there)) != replacing:
            return None
        self.put(bucket, key, body)
        return etag_of(body)

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.buckets[bucket][key] = body
        self.writes[key] += 1


class FakeObjects:
    """One bucket of a FakeS3, as the port `Objects`."""

    def __init__(self, s3: FakeS3, bucket: str, owner: str | None = None) -> None:
        self._s3, self._bucket, self._owner = s3, bucket, owner

    @property
    def bucket(self) -> str:
        return self._bucket

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:  # noqa: ARG002
        await self._reach()
        self._s3.put(self._bucket, key, body)

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        await self._reach()
        return self._s3.put_if(self._bucket, key, body, replacing)

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        await self.put(key, body, content_type=content_type)

    async def concatenate(
        self, key: str, parts: Sequence[tuple[str, int]], *, cut: int, content_type: str
    ) -> None:
        whole = b""
        for part, size in parts:
            stored = await self.get(part)
            if stored is None or len(stored.body) != size:
                raise NotFound(f"s3://{self._bucket}/{part} does not exist.", code="NoSuchKey")
            whole += stored.body
        await self.put(key, whole[: len(whole) - cut], content_type=content_type)

    async def get(self, key: str, *, most: int | None = None) -> StoredObject | None:
        await self._reach()
        body = self._s3.buckets[self._bucket].get(key)
        if body is None:
            return None
        return StoredObject(body if most is None else body[: most + 1], etag_of(body))

    async def read(self, key: str) -> AsyncIterator[bytes]:
        found = await self.get(key)
        if found is None:
            raise NotFound(f"s3://{self._bucket}/{key} does not exist.", code="NoSuchKey")
        yield found.body

    async def list(self, prefix: str) -> AsyncIterator[ListedObject]:
        await self._reach()
        for key, body in sorted(self._s3.buckets[self._bucket].items()):
            if key.startswith(prefix):
                yield ListedObject(key, len(body), etag_of(body))

    async def delete(self, key: str) -> None:
        await self._reach()
        self._s3.buckets[self._bucket].pop(key, None)

    async def _reach(self) -> None:
        await checkpoint()
        if self._bucket not in self._s3.buckets:
            raise NotFound(f"The bucket {self._bucket} does not exist.", code="NoSuchBucket")
        if self._owner is not None and self._s3.owners[self._bucket] != self._owner:
            raise AccessDenied(f"The bucket {self._bucket} is not of {self._owner}.", code="AccessDenied")
