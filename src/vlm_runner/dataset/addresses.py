"""
Images at http(s) addresses, where the spec allows fetching them.

The addresses come from strangers, and so do the answers: whatever is reached, through however many redirects
and names, must be a public address unless the spec says otherwise. The checked address is the one that is
connected to, so that a name cannot be resolved to another one in between. A proxy is not used, since it would
do the resolving.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import random
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from vlm_runner.core.retry import FETCH
from vlm_runner.dataset.fingerprint import MISSING
from vlm_runner.dataset.images import NoImageError
from vlm_runner.dataset.table import writing
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MOST_ADDRESSES: Final = 50_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one image."""
SECONDS: Final = 30.0
"""For one attempt, whatever the other side sends in the meantime."""
REDIRECTS: Final = 5
AT_ONCE: Final = 8
LONGEST_WAIT: Final = 30.0
"""Seconds that a Retry-After is obeyed."""
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
AGENT: Final = "vlm-runner"


class _Later(Exception):
    """Another attempt may work, after so many seconds."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Addresses:
    """What addresses hold, kept in `cache` so that a run reads each of them once."""

    def __init__(
        self,
        cache: Path,
        *,
        private: bool,
        resolve: Callable[[str, int], list[str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache, self._private = cache, private
        self._resolve = resolve or _resolved
        self._sleep = sleep

    def digests(self, addresses: Iterable[str]) -> list[str]:
        """
        SHA-256 (hex) of what each of `addresses` holds, or that it holds nothing, in their order; all of them
        are fetched.

        Raises:
            DataError: they are too many.
        """
        unique = list(dict.fromkeys(addresses))
        if len(unique) > MOST_ADDRESSES:
            raise DataError(
                f"The rows name {len(unique):,} addresses; {MOST_ADDRESSES:,} are fetched at most.",
                hint="Set dataset.max_rows, or download the images beside the rows.",
            )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._digest, unique))

    def _digest(self, address: str) -> str:
        try:
            return hashlib.sha256(self.fetch(address)).hexdigest()
        except NoImageError:
            return MISSING

    def fetch(self, address: str) -> bytes:
        """
        What `address` holds.

        Raises:
            NoImageError: it cannot be fetched, or may not be.
        """
        kept = self._cache / hashlib.sha256(address.encode("utf-8", "replace")).hexdigest()
        try:
            return kept.read_bytes()
        except OSError:
            body = self._fetched(address)
        with writing(kept) as temporary:
            temporary.write_bytes(body)
        return body

    def _fetched(self, address: str) -> bytes:
        began, failures = time.monotonic(), 0
        while True:
            try:
                return self._followed(address)
            except _Later as error:
                failures += 1
                if not FETCH.again(failures, time.monotonic() - began):
                    raise _no_image(address, str(error)) from None
                self._sleep(max(min(error.seconds, LONGEST_WAIT), FETCH.pause(failures, random.random())))  # noqa: S311

    def _followed(self, address: str) -> bytes:
        deadline, at = time.monotonic() + SECONDS, address
        for _ in range(REDIRECTS + 1):
            try:
                parts = urlsplit(at)
                answer = self._asked(parts, address, deadline)
            except (OSError, http.client.HTTPException) as error:
                raise _Later(f"{type(error).__name__}: {error}") from None
            except ValueError as error:
                raise _no_image(address, f"it is not a valid address ({error})") from None
            if isinstance(answer, bytes):
                return answer
            at = urljoin(at, answer)
        raise _no_image(address, f"it redirects more than {REDIRECTS} times")

    def _asked(self, parts: SplitResult, address: str, deadline: float) -> bytes | str:
        """The body, or where it says to look instead."""
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _no_image(address, f"it leads to {parts.scheme or 'no'}://, which is not fetched")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = _Connection(parts, self._public(parts.hostname, port, address), port, deadline)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"User-Agent": AGENT, "Accept": "image/*,*/*;q=0.5"})
            # By itself: a connection that ends with its answer has let go of it.
            with connection.getresponse() as answer:
                return _read(answer, address, deadline)
        finally:
            connection.close()

    def _public(self, host: str, port: int, address: str) -> str:
        """An IP address of `host`; every one that it has must be allowed."""
        found = self._resolve(host, port)
        for each in found:
            if not self._private and not _is_public(each):
                raise _no_image(
                    address,
                    f"{host} is {each}, which is not a public address",
                    "; set dataset.private_addresses = true if it is meant",
                )
        return found[0]


def _resolved(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        # What stands for an IPv4 address is as public as that one.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            address = inner
        elif address in ipaddress.ip_network("64:ff9b::/96"):
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.is_global and not address.is_multicast


class _Connection(http.client.HTTPConnection):
    """To an address that was looked up already, under the name that the certificate must be for."""

    def __init__(self, parts: SplitResult, ip: str, port: int, deadline: float) -> None:
        super().__init__(str(parts.hostname), port, timeout=_left(deadline))
        self._ip, self._secure = ip, parts.scheme == "https"
        if self._secure:
            self.default_port = 443

    def connect(self) -> None:
        sock: Any = socket.create_connection((self._ip, self.port), self.timeout)
        if self._secure:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        self.sock = sock


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"it takes longer than {SECONDS:.0f} s")
    return left


def _read(answer: http.client.HTTPResponse, address: str, deadline: float) -> bytes | str:
    if answer.status in {301, 302, 303, 307, 308} and (location := answer.headers.get("Location")):
        return location
    if answer.status in AGAIN:
        raise _Later(f"HTTP {answer.status}", _seconds(answer.headers.get("Retry-After")))
    if answer.status != 200:
        raise _no_image(address, f"HTTP {answer.status}")
    return _body(answer, address, deadline)


def _body(answer: http.client.HTTPResponse, address: str, deadline: float) -> bytes:
    body = bytearray()
    while piece := answer.read1(256 * 1024):
        body += piece
        if len(body) > MOST_BYTES:
            raise _no_image(address, f"it holds more than {MOST_BYTES:,} bytes")
        _left(deadline)
    if answer.length:
        raise http.client.IncompleteRead(bytes(body[:0]), answer.length)
    if not body:
        raise _no_image(address, "it is empty")
    return bytes(body)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0


def _no_image(address: str, reason: str, what: str = "") -> NoImageError:
    shown = urlsplit(address)._replace(query="", fragment="").geturl() if "?" in address else address
    shown = shown.rpartition("@")[2] if "@" in shown else shown
    return NoImageError("I108", f"cannot be fetched from '{shown[:100]}': {reason}{what}")
