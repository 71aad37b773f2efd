"""S3 as strict as S3 where moto is not."""

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .desk import BUCKET, Desk
from .test_refusals import refusal


def test_one_of_sixteen_conditional_writers_wins(desk: Desk) -> None:
    """Twenty rounds of 16 threads, on If-None-Match and on If-Match in turn."""
    desk.make_bucket()

    def write(condition: dict[str, str], key: str, body: bytes) -> int:
        try:
            desk.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **condition)
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    with ThreadPoolExecutor(16) as pool:
        for number in range(10):
            key = f"lease-{number}"
            first = list(pool.map(lambda n, k=key: write({"IfNoneMatch": "*"}, k, b"a%d" % n), range(16)))
            etag = desk.s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
            second = list(pool.map(lambda n, k=key, e=etag: write({"IfMatch": e}, k, b"b%d" % n), range(16)))
            assert sorted(first) == sorted(second) == [200] + [412] * 15


def test_a_condition_on_an_etag_that_must_not_match_is_not_implemented(desk: Desk) -> None:
    desk.make_bucket()

    found = refusal(desk.s3.put_object, Bucket=BUCKET, Key="k", Body=b"x", IfNoneMatch='"abc"')

    assert (found[0], found[2]) == ("NotImplemented", 501)


def test_conditions_on_missing_and_stale_objects(desk: Desk) -> None:
    desk.make_bucket()
    missing = refusal(desk.s3.put_object, Bucket=BUCKET, Key="k", Body=b"x", IfMatch='"abc"')
    desk.s3.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    stale = refusal(desk.s3.delete_object, Bucket=BUCKET, Key="k", IfMatch='"abc"')

    assert (missing[0], missing[2]) == ("NoSuchKey", 404)
    assert (stale[0], stale[2]) == ("PreconditionFailed", 412)
    assert desk.s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"x"


def test_buckets_of_others_are_refused(desk: Desk) -> None:
    desk.make_bucket()
    owner = {"Bucket": BUCKET, "ExpectedBucketOwner": "999999999999"}

    assert refusal(desk.s3.put_object, Key="k", Body=b"x", **owner)[0] == "AccessDenied"
    assert refusal(desk.s3.head_bucket, **owner)[2] == 403
    assert refusal(desk.s3.list_objects_v2, **owner)[2] == 403
    assert desk.s3.head_bucket(Bucket=BUCKET, ExpectedBucketOwner="123456789012")


def test_damaged_bodies_are_refused(desk: Desk) -> None:
    desk.make_bucket()
    good = base64.b64encode(hashlib.sha256(b"good").digest()).decode()
    md5 = base64.b64encode(hashlib.md5(b"good").digest()).decode()
    bad: list[dict[str, Any]] = [{"ChecksumSHA256": good}, {"ContentMD5": md5}, {"ChecksumCRC32": "AAAAAA=="}]

    for digest in bad:
        found = refusal(desk.s3.put_object, Bucket=BUCKET, Key="k", Body=b"evil", **digest)
        assert (found[0], found[2]) == ("BadDigest", 400)
    desk.s3.put_object(Bucket=BUCKET, Key="k", Body=b"good", ChecksumSHA256=good)


# Of b"123456789", as the catalogue of parametrised CRC algorithms gives them.
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("CRC32", b"\xcb\xf4\x39\x26"),
        ("CRC32C", b"\xe3\x06\x92\x83"),
        ("CRC64NVME", b"\xae\x8b\x14\x86\x0a\x79\x98\x88"),
    ],
)
def test_a_crc_is_held_against_the_body(desk: Desk, name: str, check: bytes) -> None:
    desk.make_bucket()
    declared = {f"Checksum{name}": base64.b64encode(check).decode()}

    desk.s3.put_object(Bucket=BUCKET, Key="k", Body=b"123456789", **declared)
    found = refusal(desk.s3.put_object, Bucket=BUCKET, Key="k", Body=b"123456780", **declared)
    assert (found[0], found[2]) == ("BadDigest", 400)


def test_large_bodies_and_multipart_uploads_arrive_whole(desk: Desk) -> None:
    desk.make_bucket()
    body = bytes(range(256)) * 40_000
    desk.s3.put_object(Bucket=BUCKET, Key="large", Body=body)
    upload = desk.s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    part = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
    etag = desk.s3.upload_part(PartNumber=1, Body=body, **part)["ETag"]
    desk.s3.complete_multipart_upload(
        MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]}, IfNoneMatch="*", **part
    )

    assert desk.s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body
    assert desk.s3.head_object(Bucket=BUCKET, Key="parts")["ContentLength"] == len(body)
    counts = desk.call("GET", "calls")["counts"]
    assert counts["CompleteMultipartUpload"] == counts["UploadPart"] == 1


def test_sixty_four_clients_write_at_once(desk: Desk) -> None:
    desk.make_bucket()
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda n: desk.s3.put_object(Bucket=BUCKET, Key=f"k{n}", Body=b"x" * 1000), range(128)))

    assert desk.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 128


def test_other_services_are_there(desk: Desk) -> None:
    queue = desk.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    desk.client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
    got = desk.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=5)

    assert desk.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert queue.startswith(desk.sandbox.url)
    assert got["Messages"][0]["Body"] == "hello"
