"""S3 for the threads that read a dataset: botocore without an event loop, with the credentials of the run."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.aws.answers import AwsAnswer
from vlm_runner.aws.credentials import ask_on_terminals_only, check_authorities
from vlm_runner.aws.errors import credentials_translated, translated
from vlm_runner.aws.ports import ListedObject
from vlm_runner.aws.profiles import profile_exists
from vlm_runner.aws.session import USES, read_models_fast
from vlm_runner.core.retry import SOURCE
from vlm_runner.errors import AwsUnavailable, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE: Final = 32
"""Connections: the threads that stage, those that look ahead, and those that read footers."""


class S3Reader:
    """
    Objects of any bucket, for any thread. Nothing is opened before the first question.

    A bucket of another region is followed there, as botocore does for clients like this one.
    """

    def __init__(
        self,
        *,
        region: str | None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._region, self._profile, self._endpoint_url = region, profile, endpoint_url
        self._sleep = sleep
        self._opening = threading.Lock()
        self._opened: Any = None

    def list(
        self, bucket: str, prefix: str, *, after: str = "", nested: bool = True
    ) -> Iterator[ListedObject]:
        """
        The objects below `prefix` whose keys come after `after`, in their order.

        Without `nested`, only those that have no further `/` in their keys.
        """
        about = f"s3://{bucket}/{prefix}"
        given: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        given |= {"StartAfter": after} if after else {}
        given |= {} if nested else {"Delimiter": "/"}
        while True:
            answer = self._asked("ListObjectsV2", about, given)
            for item in answer.optional_parts("Contents"):
                yield ListedObject(item.text("Key"), item.count("Size"), item.name("ETag"))
            if not answer.flag("IsTruncated"):
                return
            token = answer.text("NextContinuationToken")
            if token == given.get("ContinuationToken"):
                raise answer.malformed("a new page", "next token", token)
            given["ContinuationToken"] = token

    def look(self, bucket: str, key: str) -> ListedObject | None:
        """What is known of one object; None: it is not there."""
        try:
            answer = self._asked("HeadObject", f"s3://{bucket}/{key}", {"Bucket": bucket, "Key": key})
        except NotFound:
            return None
        return ListedObject(key, answer.count("ContentLength"), answer.name("ETag"))

    def read(
        self,
        bucket: str,
        key: str,
        *,
        start: int = 0,
        stop: int | None = None,
        etag: str | None = None,
        owner: str | None = None,
    ) -> bytes:
        """
        The object's bytes from `start` to before `stop`, of the version `etag`, from a bucket of `owner`.

        Raises:
            NotFound: there is no such bucket or object.
            Conflict: it has another ETag.
            AccessDenied: no right to read it, or the bucket is not the owner's.
        """
        given: dict[str, Any] = {"Bucket": bucket, "Key": key}
        given |= {"Range": f"bytes={start}-{stop - 1}"} if stop is not None else {}
        given |= {"IfMatch": etag} if etag is not None else {}
        given |= {"ExpectedBucketOwner": owner} if owner is not None else {}
        began, failures = time.monotonic(), 0
        while True:
            try:
                return self._body(f"s3://{bucket}/{key}", given, None if stop is None else stop - start)
            except AwsUnavailable:
                # botocore repeats requests, and not what breaks off in a body.
                failures += 1
                if not SOURCE.again(failures, time.monotonic() - began):
                    raise
                self._sleep(SOURCE.pause(failures, random.random()))  # noqa: S311

    def _body(self, about: str, given: dict[str, Any], most: int | None) -> bytes:
        answer = self._asked("GetObject", about, given)
        with answer.closing("Body"):
            answer.name("ETag")  # without one it is not S3 that answers
            body = answer.whole_body("Body")
        if most is not None and len(body) > most:
            raise answer.malformed(f"{most:,} bytes", "Body", f"{len(body):,} bytes")
        return body

    def _asked(self, operation: str, about: str, given: dict[str, Any]) -> AwsAnswer:
        from botocore import xform_name  # noqa: PLC0415 - see `vlm_runner.aws.session`

        client, title = self._client(), f"{operation} {about}"
        with translated(title):
            answer = getattr(client, xform_name(operation))(**given)
        return AwsAnswer(title, answer)

    def _client(self) -> Any:
        with self._opening:
            if self._opened is None:
                with credentials_translated("opening s3"):
                    self._opened = self._open()
            return self._opened

    def _open(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - see `vlm_runner.aws.session`
        from botocore.session import Session  # noqa: PLC0415

        session = Session(profile=self._profile)
        with profile_exists():
            region = self._region or session.get_config_variable("region")
            read_models_fast(session)
            ask_on_terminals_only(session)
            check_authorities(session)
        attempts, connect, read = USES["read"]
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=connect,
            read_timeout=read,
            max_pool_connections=AT_ONCE,
            tcp_keepalive=True,
            user_agent_appid="vlm-runner",  # type: ignore[call-arg]  # newer than the stubs
        )
        return session.create_client("s3", region_name=region, endpoint_url=self._endpoint_url, config=config)
