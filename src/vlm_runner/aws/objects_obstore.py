"""
`put_once` and `list` the fast way: through obstore, a Rust client. The rest stays with aioboto3.

A PUT takes 0.2 to 0.4 ms of CPU here and 1.5 to 4 ms there, a page of a listing 6 to 8 ms here and 120 to 150
there (`benchmarks/RESULTS.md`). Owner and credentials are as there: the header of the expected owner is
signed like any other, and credentials are botocore's, refreshed by it.

The body is signed through its CRC-64/NVME, in a signed header that S3 verifies and keeps (S3 User Guide,
"Checking object integrity": S3's own default), not through its SHA-256, which takes ten times as long. Over
HTTPS botocore leaves the SHA-256 out too; and without TLS obstore talks to this machine only (`unsupported`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from vlm_runner.aws.credentials import fresh_credentials
from vlm_runner.aws.errors import answered, translated
from vlm_runner.aws.objects import S3Objects
from vlm_runner.aws.ports import ListedObject
from vlm_runner.errors import AwsUnavailable, ConfigurationError, VlmRunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from vlm_runner.aws.answers import AwsService
    from vlm_runner.aws.ports import Encryption

Engine = Literal["auto", "aioboto3", "obstore"]

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
CREDENTIALS_FOR: Final = timedelta(minutes=5)
"""After that botocore is asked again. It refreshes what ends within 10 to 15 minutes."""
TIMEOUTS: Final = {"connect_timeout": "10s", "timeout": "300s", "pool_idle_timeout": "10s"}

_ANSWER: Final = re.compile(r"status code: (\d{3})[^:]*:? ?(.*)", re.DOTALL)
_FIELD: Final = re.compile(r"<(Code|Message)>(.*?)</\1>", re.DOTALL)


class ObstoreObjects(S3Objects):
    """`session` is a botocore session, for credentials and settings."""

    def __init__(
        self,
        service: AwsService,
        once: AwsService,
        session: Callable[[], Awaitable[Any]],
        bucket: str,
        owner: str | None,
        *,
        engine: Engine,
        encryption: Encryption | None = None,
    ) -> None:
        super().__init__(service, once, bucket, owner, encryption)
        self._asked = encryption
        self._session = session
        self._owner = owner
        self._engine = engine
        self._opening = anyio.Lock()
        self._store: Any = None
        self._put_async: Any = None

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ListedObject]:
        """
        Where obstore fails, as with keys that it does not take ("a//b"), aioboto3 goes on from there.

        It also has the last word where obstore found nothing, since obstore takes any XML for an empty page.
        """
        await self._opened()
        if self._store is not None and prefix.endswith("/") and not after:
            with contextlib.suppress(Exception):
                async for page in self._store.list(prefix):
                    for item in page:
                        after = item["path"]
                        yield ListedObject(after, item["size"], item["e_tag"] or "")
                if after:
                    return
        async for rest in super().list(prefix, after=after):
            yield rest

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._opened()
        if self._store is None:
            await super().put_once(key, body, content_type=content_type)
            return
        try:
            await self._put_async(
                self._store, key, body, attributes={"Content-Type": content_type}, use_multipart=False
            )
        except Exception as error:
            raise _translated(error, f"PutObject s3://{self.bucket}/{key}") from error

    async def _opened(self) -> None:
        if self._put_async is None:
            async with self._opening:
                if self._put_async is None:
                    await self._open()

    async def _open(self) -> None:
        session = await self._session()
        endpoint, region = await self._service.endpoint()
        installed = importlib.util.find_spec("obstore") is not None
        why_not = unsupported(endpoint) if installed else "it is not installed"
        if why_not is None:
            import obstore  # noqa: PLC0415 - 40 ms that only uploads need

            self._store = await self._make(session, endpoint, region)
            self._put_async = obstore.put_async
        elif self._engine == "auto":
            self._put_async = super().put_once
        else:
            raise ConfigurationError(
                f'upload.engine is "obstore", but {why_not}.', hint='Set it to "auto" or "aioboto3".'
            )

    async def _make(self, session: Any, endpoint: str, region: str) -> Any:
        from obstore.store import S3Store  # noqa: PLC0415 - see `_open`

        options: Any = dict(TIMEOUTS)
        if endpoint.startswith("http:"):
            # Without TLS no certificate is looked at, and reading the authorities takes 4 ms of CPU a client.
            options |= {"allow_http": True, "allow_invalid_certificates": True}
        if self._owner is not None:
            options["default_headers"] = {"x-amz-expected-bucket-owner": self._owner}
        authorities = session.get_config_variable("ca_bundle")
        if authorities and endpoint.startswith("https:"):
            options["root_certificate"] = await to_thread.run_sync(Path(authorities).read_bytes)
        encryption: Any = {}
        if self._asked is not None:
            encryption["server_side_encryption"] = self._asked.algorithm
            if self._asked.kms_key is not None:
                encryption["sse_kms_key_id"] = self._asked.kms_key
        with translated("reading credentials"):
            await _credentials(session)
        return S3Store(
            self.bucket,
            region=region,
            checksum_algorithm="CRC64NVME",
            unsigned_payload=True,
            client_options=options,
            retry_config={"max_retries": 0},
            credential_provider=lambda: _credentials(session),
            **encryption,
            **addressed(endpoint, self.bucket),
        )


def unsupported(endpoint: str) -> str | None:
    """Why obstore shall not be used for it, as half a sentence."""
    parts = urlsplit(endpoint)
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        return f"{endpoint} is neither encrypted nor on this machine"
    return None


def addressed(endpoint: str, bucket: str) -> dict[str, Any]:
    """AWS wants the bucket in the host name, where TLS allows it; other servers take it in the path."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and "." not in bucket:
        return {"endpoint": f"{parts.scheme}://{bucket}.{parts.netloc}", "virtual_hosted_style_request": True}
    return {"endpoint": endpoint, "virtual_hosted_style_request": False}


async def _credentials(session: Any) -> Any:
    frozen = await fresh_credentials(session)
    if frozen is None:
        from botocore.exceptions import NoCredentialsError  # noqa: PLC0415 - see `translate`

        raise NoCredentialsError
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + CREDENTIALS_FOR,
    }


def _translated(error: Exception, operation: str) -> Exception:
    """Obstore gives S3's answer only in its message; without one, S3 was not reached."""
    if isinstance(error, VlmRunnerError):
        return error
    text = str(error).partition("\n\nDebug source:")[0]
    found = _ANSWER.search(text)
    if found is None:
        return AwsUnavailable(f"{operation}: no answer ({text}).")
    fields = dict(_FIELD.findall(found[2]))
    return answered(
        {
            "Error": {"Code": fields.get("Code", ""), "Message": fields.get("Message", found[2][:200])},
            # It shows no headers; S3 says why in the body of what it refuses, whoever else answers does not.
            "ResponseMetadata": {"HTTPStatusCode": int(found[1]), "HTTPHeaders": {}},
        },
        operation,
        create=False,
    )
