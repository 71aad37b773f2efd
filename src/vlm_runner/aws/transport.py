"""
One HTTP exchange with what may not be AWS: limits of time and size on its answer, and no redirects.

Imported with the first client: aiohttp takes a while.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from vlm_runner.aws.answers import SLOWEST, timely, whole
from vlm_runner.aws.errors import has_request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer that is read whole; what may be larger is a stream."""


class Answer(aiohttp.ClientResponse):
    limit = 60.0
    """Seconds for its body."""

    async def read(self) -> bytes:
        """The whole body."""
        try:
            return await whole(timely(self.content.readany, self.limit), most=MOST_BYTES)
        except BaseException:
            self.close()  # what is left of it must not be taken for the next answer
            raise


class Exchanges:
    """
    An aiohttp session as aiobotocore uses it. It follows no redirect: a request that is signed for AWS, with
    a session token and perhaps data, is not for whoever a portal names. S3's own redirects are botocore's to
    follow, which signs anew.
    """

    def __init__(self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout) -> None:
        self._session, self._timeout = session, timeout

    async def request(self, method: str, *, headers: Mapping[str, str], **named: Any) -> Answer:
        connect, read = self._timeout.sock_connect or 60.0, self._timeout.sock_read or 60.0
        async with asyncio.timeout(connect + read + int(headers.get("Content-Length", 0)) / SLOWEST):
            answer: Any = await self._session.request(method, headers=headers, allow_redirects=False, **named)
        if 300 <= answer.status < 400 and not has_request_id(answer.headers):
            # botocore would look for the bucket's region elsewhere, and there be redirected again.
            answer.close()
            raise aiohttp.ClientPayloadError("redirected, and not by AWS")
        answer.limit = read
        return answer  # type: ignore[no-any-return]  # of the session's response class
