"""One promise, two engines: what `Objects` says holds of aioboto3 and of obstore."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.abc
import pytest

from vlm_runner.aws import objects_obstore
from vlm_runner.aws.objects import PART_BYTES
from vlm_runner.aws.objects_obstore import ObstoreObjects, addressed, unsupported
from vlm_runner.aws.ports import Objects
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import (
    AccessDenied,
    AwsUnavailable,
    ConfigurationError,
    CredentialsError,
    NotFound,
    Throttled,
)

from .staging import ACCOUNT, BUCKET, body_of


async def put(objects: Objects, key: str = "images/train/000.png", body: bytes = b"body") -> None:
    await objects.put_once(key, body, content_type="image/png")


async def test_stores_bytes_and_type(objects: Objects, s3: Any) -> None:
    body = bytes(range(256)) * 5000
    await put(objects, "images/train/a-1_2.png", body)

    found = s3.get_object(Bucket=BUCKET, Key="images/train/a-1_2.png")
    assert found["Body"].read() == body
    assert found["ContentType"] == "image/png"


async def test_lists_what_lies_below_a_folder_in_the_order_of_keys(objects: Objects, s3: Any) -> None:
    for number in (2, 10, 1, 1):
        s3.put_object(Bucket=BUCKET, Key=f"data/a/{number:04d}-ü %.jsonl", Body=b"x" * number)
    s3.put_object(Bucket=BUCKET, Key="data/ab/0001.jsonl", Body=b"of another folder")
    listed = [item async for item in objects.list("data/a/")]

    assert [(item.key, item.size) for item in listed] == [
        (f"data/a/{number:04d}-ü %.jsonl", number) for number in (1, 2, 10)
    ]
    assert listed[0].etag == s3.head_object(Bucket=BUCKET, Key=listed[0].key)["ETag"]


async def test_lists_keys_that_obstore_does_not_take(objects: Objects, s3: Any) -> None:
    keys = ["data/a/1", "data/a/2//b", "data/a/3"]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    assert [item.key async for item in objects.list("data/a/")] == keys


class CutShort:
    """A store of obstore's whose second page does not come."""

    async def list(self, prefix: str) -> AsyncIterator[list[dict[str, Any]]]:
        yield [
            {"path": f"{prefix}1", "size": 1, "e_tag": None},
            {"path": f"{prefix}2", "size": 1, "e_tag": None},
        ]
        raise OSError("broken off")


async def test_goes_on_with_a_listing_that_was_cut_short(sandbox: Any, s3: Any) -> None:
    keys = [f"data/a/{number}" for number in range(1, 5)]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    async with AwsSession(region="us-east-1", endpoint_url=sandbox.url, engine="obstore") as aws:
        objects = aws.objects(BUCKET, owner=ACCOUNT)
        await put(objects, "images/opened")
        vars(objects)["_store"] = CutShort()

        assert [item.key async for item in objects.list("data/a/")] == keys


@pytest.mark.parametrize("engine", ["aioboto3", "obstore"])
async def test_signs_a_checksum_that_s3_verifies_and_the_owner_that_it_must_be(engine: Any) -> None:
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        await reader.readexactly(4)
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AwsSession(region="us-east-1", endpoint_url=url, engine=engine) as aws:
        await put(aws.objects(BUCKET, owner=ACCOUNT))

    (head,) = heads
    signed = head.partition("signedheaders=")[2].partition(",")[0].split(";")
    assert f"x-amz-expected-bucket-owner: {ACCOUNT}" in head
    assert "x-amz-expected-bucket-owner" in signed
    assert any(name.startswith("x-amz-checksum-") for name in signed)
    assert "expect:" not in head


@contextlib.asynccontextmanager
async def damaging(upstream: str, right: bytes, wrong: bytes) -> AsyncIterator[str]:
    """The address of a line to `upstream` that changes what it carries there."""
    address = urlsplit(upstream)

    async def carry(source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for part in source:
                await target.send(part.replace(right, wrong))
        await target.aclose()

    async def connect(near: anyio.abc.SocketStream) -> None:
        far = await anyio.connect_tcp(address.hostname or "", address.port or 0)
        async with near, far, anyio.create_task_group() as both:
            both.start_soon(carry, near, far)
            both.start_soon(carry, far, near)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as connections:
        connections.start_soon(listener.serve, connect)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        connections.cancel_scope.cancel()


@pytest.mark.parametrize("engine", ["aioboto3", "obstore"])
async def test_what_changes_on_the_way_is_not_stored(sandbox: Any, s3: Any, engine: Any) -> None:
    async with (
        damaging(sandbox.url, b"a red pixel", b"a bad pixel") as url,
        AwsSession(region="us-east-1", endpoint_url=url, engine=engine) as aws,
    ):
        objects = aws.objects(BUCKET, owner=ACCOUNT)
        with pytest.raises(AwsUnavailable):
            await put(objects, "image", b"with a red pixel")
        await put(objects, "other", b"without one")

    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["other"]


async def test_stores_an_empty_object(objects: Objects, s3: Any) -> None:
    await put(objects, "empty", b"")

    assert body_of(s3, "empty") == b""


async def test_says_whose_bucket_it_must_be(aws: AwsSession) -> None:
    with pytest.raises(AccessDenied) as refused:
        await put(aws.objects(BUCKET, owner="999999999999"))

    assert refused.value.code == "AccessDenied"


async def test_tells_of_a_missing_bucket(aws: AwsSession) -> None:
    with pytest.raises(NotFound) as refused:
        await put(aws.objects("no-such-bucket-here", owner=None))

    assert refused.value.code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, Throttled),
        ("InternalError", 500, AwsUnavailable),
        ("ServiceUnavailable", 503, AwsUnavailable),
        ("RequestTimeout", 400, AwsUnavailable),
        ("BadDigest", 400, AwsUnavailable),
        ("AccessDenied", 403, AccessDenied),
        ("ExpiredToken", 400, CredentialsError),
        ("InvalidAccessKeyId", 403, CredentialsError),
        ("SignatureDoesNotMatch", 403, CredentialsError),
    ],
)
async def test_raises_the_same_errors_and_repeats_none(
    objects: Objects, fault: Any, code: str, status: int, kind: type[Exception]
) -> None:
    fault(operation="PutObject", kind="error", code=code, status=status, times=1)

    with pytest.raises(kind) as refused:
        await put(objects)

    assert type(refused.value) is kind
    assert code in str(refused.value)
    await put(objects)


@pytest.mark.parametrize("kind", ["status", "reset_before", "reset_after"])
async def test_a_broken_answer_may_pass(objects: Objects, fault: Any, kind: str) -> None:
    # aiohttp repeats a PUT once by itself when the connection drops.
    fault(operation="PutObject", kind=kind, status=502 if kind == "status" else None, times=2)

    with pytest.raises(AwsUnavailable):
        await put(objects)


async def test_nobody_listening_may_pass() -> None:
    for engine in ("aioboto3", "obstore"):
        async with AwsSession(region="us-east-1", endpoint_url="http://127.0.0.1:9", engine=engine) as aws:
            with pytest.raises(AwsUnavailable):
                await put(aws.objects(BUCKET, owner=None))


async def test_says_that_there_are_no_credentials(
    aws: AwsSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(CredentialsError):
        await put(aws.objects(BUCKET, owner=None))


async def test_asks_for_credentials_again_before_they_end(
    sandbox: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Credentials are botocore's at each time, not those of the first put.
    """
    asked = 0
    real = objects_obstore._credentials

    async def counted(session: Any) -> Any:
        nonlocal asked
        asked += 1
        return await real(session) | {"expires_at": datetime.now(UTC) + timedelta(milliseconds=1)}

    monkeypatch.setattr(objects_obstore, "_credentials", counted)
    async with AwsSession(region="us-east-1", endpoint_url=sandbox.url, engine="obstore") as aws:
        objects = aws.objects(BUCKET, owner=None)
        await put(objects)
        first = asked
        await put(objects)

    assert asked > first


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_certificates_are_checked_wherever_there_are_some(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS, as on a sandbox, the authorities need not be read for each client."""
    opened: dict[str, Any] = {}
    monkeypatch.setattr("obstore.store.S3Store", lambda *_, **options: opened.update(options))
    async with AwsSession(
        region="us-east-1", endpoint_url=f"{scheme}://127.0.0.1:9", engine="obstore"
    ) as aws:
        objects = aws.objects(BUCKET, owner=None)
        assert isinstance(objects, ObstoreObjects)
        await objects._opened()

    said = {name for name, on in opened["client_options"].items() if on is True}
    assert said == ({"allow_http", "allow_invalid_certificates"} if scheme == "http" else set())


async def test_many_at_once_open_one_client(objects: Objects, s3: Any) -> None:
    await asyncio.gather(*(put(objects, f"many/{number}") for number in range(40)))

    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")["KeyCount"] == 40


LARGE = PART_BYTES + 7


@pytest.mark.parametrize(
    "sizes",
    [[10], [10, 20, 1], [LARGE, LARGE, 5], [10, LARGE, LARGE], [LARGE, 3, 4, PART_BYTES, 1]],
    ids=["one", "small", "large first", "large last", "mixed"],
)
async def test_concatenates_without_the_last_byte(objects: Objects, s3: Any, sizes: list[int]) -> None:
    bodies = [bytes([65 + number]) * (size - 1) + b"\n" for number, size in enumerate(sizes)]
    parts = [(f"part-{number}", len(body)) for number, body in enumerate(bodies)]
    for (key, _), body in zip(parts, bodies, strict=True):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    await objects.concatenate("whole", parts, cut=1, content_type="application/jsonl")

    assert body_of(s3, "whole") == b"".join(bodies)[:-1]
    assert s3.head_object(Bucket=BUCKET, Key="whole")["ContentType"] == "application/jsonl"


async def test_copies_large_parts_without_fetching_them(objects: Objects, s3: Any, fault: Any) -> None:
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key=f"part-{number}", Body=b"x" * LARGE)
    fault(
        operation="GetObject",
        kind="error",
        code="AccessDenied",
        status=403,
        times=None,
        key_contains="part-0",
    )

    await objects.concatenate(
        "whole", [(f"part-{n}", LARGE) for n in range(3)], cut=1, content_type="text/plain"
    )

    assert s3.head_object(Bucket=BUCKET, Key="whole")["ContentLength"] == 3 * LARGE - 1


async def test_leaves_no_parts_behind_when_an_upload_fails(objects: Objects, s3: Any, fault: Any) -> None:
    for number in range(2):
        s3.put_object(Bucket=BUCKET, Key=f"part-{number}", Body=b"x" * LARGE)
    fault(operation="CompleteMultipartUpload", kind="error", code="AccessDenied", status=403)

    with pytest.raises(AccessDenied):
        await objects.concatenate(
            "whole", [("part-0", LARGE), ("part-1", LARGE)], cut=1, content_type="text/plain"
        )

    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_uses_plain_http_on_this_machine_only() -> None:
    assert unsupported("http://127.0.0.1:5000") is None
    assert unsupported("http://localhost:5000") is None
    assert unsupported("https://s3.us-west-2.amazonaws.com") is None
    assert "neither encrypted nor on this machine" in (unsupported("http://minio:9000") or "")


def test_puts_the_bucket_where_the_server_wants_it() -> None:
    assert (
        addressed("https://s3.us-west-2.amazonaws.com", "b")["endpoint"]
        == "https://b.s3.us-west-2.amazonaws.com"
    )
    assert addressed("https://s3.us-west-2.amazonaws.com", "b")["virtual_hosted_style_request"]
    assert not addressed("https://s3.us-west-2.amazonaws.com", "b.c")["virtual_hosted_style_request"]
    assert addressed("http://127.0.0.1:1", "b") == {
        "endpoint": "http://127.0.0.1:1",
        "virtual_hosted_style_request": False,
    }


@contextlib.asynccontextmanager
async def session(engine: Any) -> AsyncIterator[AwsSession]:
    async with AwsSession(region="us-east-1", endpoint_url="http://minio.invalid:9000", engine=engine) as aws:
        yield aws


async def test_refuses_an_engine_that_cannot_do_it() -> None:
    async with session("obstore") as aws:
        with pytest.raises(ConfigurationError, match=r"upload\.engine"):
            await put(aws.objects(BUCKET, owner=ACCOUNT))


async def test_auto_takes_aioboto3_where_obstore_cannot_do_it(
    sandbox: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_obstore, "unsupported", lambda _: "of this test")
    async with AwsSession(region="us-east-1", endpoint_url=sandbox.url, engine="auto") as aws:
        objects = aws.objects(BUCKET, owner=ACCOUNT)
        await put(objects)

        assert isinstance(objects, ObstoreObjects)
        assert objects._store is None
    assert body_of(s3, "images/train/000.png") == b"body"
