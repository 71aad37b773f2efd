"""aiobotocore's HTTP sessions, with the certificate authorities read once a process and not once a client."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import CredentialsError

if TYPE_CHECKING:
    from ssl import SSLContext


@cache
def http_session() -> type:
    """
    For `http_session_cls` of an `AioConfig`.

    Reading the authorities takes 30 ms of CPU, of the 50 that a client's first request takes; a run opens
    about ten clients. Where the endpoint has no TLS, they are not read at all.
    """
    import aiohttp  # noqa: PLC0415 - see `AwsSession._make`
    from aiobotocore.httpsession import AIOHTTPSession  # noqa: PLC0415
    from botocore.httpsession import get_cert_path  # noqa: PLC0415

    from vlm_runner.aws.transport import Answer, Exchanges  # noqa: PLC0415

    base: Any = AIOHTTPSession  # its types leave out what it is made of

    class Session(base):  # type: ignore[misc]
        _over_tls = False

        async def send(self, request: Any) -> Any:
            if not self._over_tls and request.url.startswith("https:"):
                _check_authorities(self._verify)
                self._over_tls = True
                self._sessions.clear()  # they know no authorities; leaving the exit stack closes them
            return await super().send(request)

        async def _get_session(self, proxy_url: str | None) -> Any:
            if (found := self._sessions.get(proxy_url)) is None:
                opened = aiohttp.ClientSession(
                    connector=self._create_connector(proxy_url),
                    timeout=self._timeout,
                    skip_auto_headers={"CONTENT-TYPE"},
                    auto_decompress=False,
                    response_class=Answer,
                )
                await self._exit_stack.enter_async_context(opened)
                found = self._sessions[proxy_url] = Exchanges(opened, self._timeout)
            return found

        def _create_connector(self, proxy_url: str | None) -> Any:
            # With a proxy or a certificate of its own a client needs a context of its own.
            if proxy_url or self._cert_file or not self._verify:
                return super()._create_connector(proxy_url)
            options = {"limit": self._max_pool_connections, **self._connector_args}
            if not self._over_tls:
                return aiohttp.TCPConnector(**options)
            path = Path(str(get_cert_path(self._verify)))
            return aiohttp.TCPConnector(ssl=_trusting(path, path.stat().st_mtime_ns), **options)

    return Session


def _check_authorities(verify: Any) -> None:
    """
    Before the request, where a file that cannot be read would look like an answer that was lost.

    Raises:
        CredentialsError: what `ca_bundle` names holds no certificates.
    """
    from botocore.httpsession import get_cert_path  # noqa: PLC0415 - see `http_session`

    if not verify:
        return
    path = Path(str(get_cert_path(verify)))
    try:
        _trusting(path, path.stat().st_mtime_ns)
    except OSError as error:  # of which SSLError is one
        raise CredentialsError(
            f"The certificate authorities in {path} cannot be used ({error}).",
            hint="Correct ca_bundle in the profile, or AWS_CA_BUNDLE: a file in PEM form is expected.",
        ) from error


@lru_cache(maxsize=4)
def _trusting(authorities: Path, changed_at: int) -> SSLContext:  # noqa: ARG001 - a file that changed is read again
    from botocore.httpsession import create_urllib3_context  # noqa: PLC0415

    context: SSLContext = create_urllib3_context()
    context.load_verify_locations(authorities)
    return context
