"""S3 for Bedrock's service role: reads and writes moto's memory directly, without HTTP."""

from typing import Any, Protocol


class Objects(Protocol):
    def fetch(self, bucket: str, key: str) -> bytes | None:
        """The object's bytes; None if it does not exist."""
        ...

    def store(self, bucket: str, key: str, data: bytes) -> None:
        """Write the object; a missing bucket raises KeyError."""
        ...

    def bucket_region(self, bucket: str) -> str | None: ...

    def kms_key(self, bucket: str, key: str) -> str | None:
        """The KMS key that an object is encrypted with, if it is with one."""
        ...

    def default_key(self, bucket: str) -> str | None:
        """The KMS key that the bucket encrypts with where a write names none."""
        ...


def split_uri(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class MotoObjects:
    def __init__(self, account: str) -> None:
        self._account = account

    def _backend(self) -> Any:
        from moto.s3.models import s3_backends  # noqa: PLC0415 -- moto is imported when first needed

        return s3_backends[self._account]["aws"]

    def fetch(self, bucket: str, key: str) -> bytes | None:
        backend = self._backend()
        if bucket not in backend.buckets:
            return None
        found = backend.get_object(bucket, key)
        return None if found is None else bytes(found.value)

    def store(self, bucket: str, key: str, data: bytes) -> None:
        backend = self._backend()
        if bucket not in backend.buckets:
            raise KeyError(bucket)
        backend.put_object(bucket, key, data)

    def bucket_region(self, bucket: str) -> str | None:
        found = self._backend().buckets.get(bucket)
        return None if found is None else str(found.region_name)

    def kms_key(self, bucket: str, key: str) -> str | None:
        found = self._backend().buckets.get(bucket)
        stored = found.keys.get(key) if found is not None else None
        named = getattr(stored, "kms_key_id", None)
        return str(named) if named else None

    def default_key(self, bucket: str) -> str | None:
        found = self._backend().buckets.get(bucket)
        if found is None or not found.encryption:
            return None
        named = found.encryption["Rule"]["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
        return str(named) if named else None
