"""Clients of a process share what their certificate authorities say, and still ask them."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import EndpointConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.aws.test_answers import Answering, Portal
from vlm_runner.aws import connections, session
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import AwsUnavailable, CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def authority(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that only who trusts itself takes, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "authority.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def itself(tmp_path: Path) -> Path:
    return authority(tmp_path)


@pytest.fixture
def secure(itself: Path) -> Iterator[str]:
    with Portal(("127.0.0.1", 0), Answering) as server:
        server.body = b"<GetCallerIdentityResponse/>"
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(itself)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.url.replace("http:", "https:")
        server.shutdown()
        thread.join()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that authorities are read from; nothing is repeated."""
    found: list[str] = []
    usual = ssl.SSLContext.load_verify_locations

    def counted(self: ssl.SSLContext, cafile: Any = None, *others: Any) -> None:
        found.append(str(cafile))
        usual(self, cafile, *others)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    monkeypatch.setattr(session, "USES", dict.fromkeys(session.USES, (1, 10, 60)))
    connections._trusting.cache_clear()
    return found


async def said(url: str) -> str:
    """What two clients of one session say of a server that has a certificate, and nothing to say."""
    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        with pytest.raises(AwsUnavailable) as one:
            await aws.account.caller()
        with pytest.raises(AwsUnavailable) as other:
            (await aws.service("sts").call("GetCallerIdentity")).name("Account")
    assert ("VERIFY_FAILED" in str(one.value)) == ("VERIFY_FAILED" in str(other.value))
    assert ("AWS_CA_BUNDLE" in str(one.value)) == ("VERIFY_FAILED" in str(one.value))
    return str(one.value)


async def test_authorities_are_read_once_a_file_and_asked_by_every_client(
    itself: Path, secure: str, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in await said(secure)
    assert len(read) == 1

    monkeypatch.setenv("AWS_CA_BUNDLE", str(itself))
    for _ in range(2):
        assert "CERTIFICATE" not in await said(secure)
    assert read[1:] == [str(itself)]

    authority(itself.parent)
    os.utime(itself, (1, 1))
    assert "CERTIFICATE_VERIFY_FAILED" in await said(secure)
    assert read[2:] == [str(itself)]


async def test_an_endpoint_without_tls_needs_no_authorities_until_one_with_tls_is_asked(
    itself: Path, secure: str, read: list[str]
) -> None:
    http = connections.http_session()(verify=str(itself))
    requests = [
        AWSRequest("GET", url, headers={"Host": "localhost"}).prepare()
        for url in ("http://127.0.0.1:1", secure, secure)
    ]
    async with http:
        with pytest.raises(EndpointConnectionError):
            await http.send(requests[0])
        assert read == []
        answers = [await http.send(request) for request in requests[1:]]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert read == [str(itself)]


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_authorities_that_cannot_be_read_are_not_an_answer_that_was_lost(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    async with AwsSession(region="us-east-1", endpoint_url="https://127.0.0.1:9") as aws:
        with pytest.raises(CredentialsError, match="authorities") as caught:
            await aws.account.caller()

    assert str(bundle) in str(caught.value)
