"""Sources in S3, over HTTP from a sandbox: the same rows as on a disk, and no more bytes than they need."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.credentials import sandbox_credentials
from vlm_runner.aws.reading import S3Reader
from vlm_runner.core.retry import SOURCE
from vlm_runner.dataset import Opened, open_dataset
from vlm_runner.dataset.buckets import look_up
from vlm_runner.dataset.in_place import InPlace
from vlm_runner.dataset.source import peek
from vlm_runner.errors import (
    AccessDenied,
    AwsUnavailable,
    ConfigurationError,
    DataError,
    NotFound,
    RowError,
    VlmRunnerError,
)
from vlm_runner.sandbox import Sandbox
from vlm_runner.spec import DatasetSpec

from . import test_sources as local
from .world import FINDING, png, row, write_jsonl, write_parquet, write_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUCKET, OTHER = "data-of-tests", "data-of-others"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


class Counting(S3Reader):
    """What a dataset is read with, and how many bytes it asked for."""

    asked = 0

    def read(self, bucket: str, key: str, **more: Any) -> bytes:
        body = super().read(bucket, key, **more)
        self.asked += len(body)
        return body


class Bucket:
    def __init__(self, url: str, cache: Path) -> None:
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        self.s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=url, **keys)
        self.cache = cache
        self.reader = Counting(region="us-east-1", endpoint_url=url)
        for name in (BUCKET, OTHER):
            self.s3.create_bucket(Bucket=name)
            for item in self.s3.list_objects_v2(Bucket=name).get("Contents", ()):
                self.s3.delete_object(Bucket=name, Key=item["Key"])

    def put(self, key: str, body: bytes, bucket: str = BUCKET) -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def upload(self, root: Path, prefix: str = "a/b") -> str:
        for file in root.rglob("*"):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(root).as_posix()}", file.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def open(self, source: str, **settings: Any) -> Opened:
        spec = DatasetSpec(source=source, **settings)
        return open_dataset(spec, cache_dir=self.cache, required=(), s3=self.reader)


@pytest.fixture
def bucket(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    sandbox_credentials(monkeypatch)
    return Bucket(sandbox.url, tmp_path / "cache")


def card(root: Path) -> Path:
    write_parquet(root / "one" / "rows.parquet", [row(i) for i in range(4)])
    write_parquet(root / "two" / "rows.parquet", [row(i) for i in range(4, 9)])
    config = "- config_name: {0}\n  data_files:\n  - split: train\n    path: {0}/*.parquet\n"
    text = "---\nconfigs:\n" + config.format("one") + config.format("two") + "---\n"
    (root / "README.md").write_text(text)
    return root


def bare_images(root: Path) -> Path:
    write_pictures(root / "cats", range(3))
    write_pictures(root / "dogs", range(3, 6))
    return root


def gzipped(root: Path) -> Path:
    write_pictures(root, range(5))
    rows = [row(i, image=f"{i}.png") for i in range(5)]
    (root / "train.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return root


def csv_file(root: Path) -> Path:
    write_pictures(root / "pictures", range(5))
    lines = "".join(f"pictures/{i}.png,0{i},\n" for i in range(5))
    (root / "rows.csv").write_text(f"image,answer,empty\n{lines}")
    return root / "rows.csv"


SHAPES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "parquet, sharded": (local.parquet_folder, {"validation_split": "validation"}),
    "a parquet file": (local.parquet_file, {}),
    "plain bytes": (local.raw_binary, {}),
    "JSON lines and images": (local.jsonl_file, {}),
    "a CSV file and images": (csv_file, {}),
    "gzip": (gzipped, {}),
    "an image folder": (local.image_folder, {}),
    "bare images": (bare_images, {}),
    "save_to_disk": (local.saved_dict, {}),
    "a copy of the Hub": (card, {"config": "two"}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_prefix_or_an_object_gives_the_rows_that_the_folder_or_file_gives(
    name: str, bucket: Bucket, tmp_path: Path
) -> None:
    make, settings = SHAPES[name]
    (tmp_path / "data").mkdir()
    made = make(tmp_path / "data")
    source = bucket.upload(tmp_path / "data") + ("" if made.is_dir() else f"/{made.name}")
    expected = open_dataset(
        DatasetSpec(source=str(made), **settings), cache_dir=tmp_path / "other", required=()
    )

    opened = bucket.open(source, **settings)

    for mine, theirs in ((opened.train, expected.train), (opened.validation, expected.validation)):
        if theirs is not None:
            assert mine is not None
            assert list(mine.rows()) == list(theirs.rows())
    assert bucket.open(source, **settings).fingerprint == opened.fingerprint


def test_a_slice_costs_its_row_groups(bucket: Bucket, tmp_path: Path) -> None:
    rows = [row(i, pad=os.urandom(5000)) for i in range(400)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=20, compression="none")
    body = (tmp_path / "a.parquet").read_bytes()
    bucket.put("a.parquet", body)
    group = pq.read_metadata(io.BytesIO(body)).row_group(0)
    needed = sum(group.column(i).total_compressed_size for i in range(group.num_columns))

    read = list(bucket.open(f"s3://{BUCKET}/a.parquet", max_rows=20).train.rows())

    assert [each.image for each in read] == [png(i) for i in range(20)]
    assert bucket.reader.asked < 1.3 * needed + 32 * 1024  # and the footer
    assert bucket.reader.asked < len(body) / 5


@pytest.mark.parametrize("changed", ["data/rows.jsonl", "data/pictures/3.png"])
def test_what_has_changed_has_another_fingerprint_and_is_not_read_as_what_it_was(
    changed: str, bucket: Bucket, tmp_path: Path
) -> None:
    local.jsonl_file(tmp_path)
    source = f"{bucket.upload(tmp_path, 'data')}/rows.jsonl"
    opened = bucket.open(source)
    before = list(opened.train.rows(0, 2))

    bucket.put(changed, (tmp_path / "rows.jsonl").read_bytes() + b"\n" if "rows" in changed else png(99))

    assert bucket.open(source).fingerprint != opened.fingerprint
    assert list(opened.train.rows(0, 2)) == before
    if "3.png" in changed:
        with pytest.raises(DataError, match=r"pictures/3.png has changed"):
            list(opened.train.rows())


def test_images_are_fetched_once_however_often_their_rows_are_read(bucket: Bucket) -> None:
    for number in range(40):
        bucket.put(f"in/{number}.png", png(number))
    rows = [{"image": f"{number}.png", "output": "x"} for number in range(40)] + [
        {"image": "7.png", "output": "y"}
    ]
    bucket.put("in/rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    opened = bucket.open(f"s3://{BUCKET}/in/rows.jsonl")
    bucket.reader.asked = 0

    for _ in range(2):
        held = [row.image for row in opened.train.rows()]

        assert held == [*map(png, range(40)), png(7)]

    assert bucket.reader.asked == sum(len(png(number)) for number in range(40))


def bedrock(uri: str, owner: str | None = None) -> dict[str, Any]:
    location = {"uri": uri} | ({} if owner is None else {"bucketOwner": owner})
    return {"image": {"s3Location": location}, "output": "x"}


ROWS: dict[str, tuple[Any, str | None]] = {
    "beside": ("0.png", None),
    "by its address": (f"s3://{BUCKET}/in/0.png", None),
    "with its account": (bedrock(f"s3://{BUCKET}/in/0.png", "123456789012")["image"], None),
    "of another account": (
        bedrock(f"s3://{BUCKET}/in/0.png", "9" * 12)["image"], "is not of the account 999999999999",
    ),
    "an account that is none": (bedrock(f"s3://{BUCKET}/in/0.png", "me")["image"], "not 12 digits"),
    "above": ("../secret.png", "lies outside the dataset's folder"),
    "above, in the middle": ("x/../../secret.png", "lies outside the dataset's folder"),
    "from the root": ("/secret.png", "lies outside the dataset's folder"),
    "elsewhere in the bucket": (f"s3://{BUCKET}/secret.png", "fetch_images is not set"),
    "of another bucket": (f"s3://{OTHER}/0.png", "fetch_images is not set"),
    "that is not there": ("9.png", "there is no such object"),
    "as Windows writes it": (".\\0.png", None),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_names_images_below_the_source_and_no_others(name: str, bucket: Bucket) -> None:
    value, refused = ROWS[name]
    bucket.put("in/0.png", png(0))
    bucket.put("secret.png", png(7))
    bucket.put("in/rows.jsonl", json.dumps({"image": value, "output": "x"}).encode())

    (read,) = bucket.open(f"s3://{BUCKET}/in/").train.scan()

    if refused is None:
        assert not isinstance(read, RowError)
        assert read.image == png(0)
    else:
        assert isinstance(read, RowError)
        assert refused in read.reason


def test_with_fetch_images_a_row_of_any_source_names_objects_of_any_bucket(
    bucket: Bucket, tmp_path: Path
) -> None:
    """And they are part of what the run is pinned to."""
    bucket.put("x/0.png", png(0), OTHER)
    bucket.put("x/1.png", png(1), OTHER)
    names = ["x/0.png", "x/1.png", "x/2.png"]
    source = write_jsonl(tmp_path / "rows.jsonl", [bedrock(f"s3://{OTHER}/{name}") for name in names])
    again: list[str] = []

    for change in (None, png(5)):
        if change is not None:
            bucket.put("x/1.png", change, OTHER)
        opened = bucket.open(str(source), fetch_images=True)
        again.append(opened.fingerprint)
        first, second, third = opened.train.scan()
        assert not isinstance(first, RowError)
        assert not isinstance(second, RowError)
        assert isinstance(third, RowError)
        assert (first.image, second.image) == (png(0), change or png(1))

    assert again[0] != again[1]
    refused = next(iter(bucket.open(str(source)).train.scan()))
    assert isinstance(refused, RowError)


@pytest.mark.parametrize("where", ["on this machine", "in S3"])
def test_an_image_in_place_is_known_by_its_ends_and_pinned(
    where: str, bucket: Bucket, tmp_path: Path
) -> None:
    """However long it is; the rows name it by its address, or in S3 by its path too."""
    long = png(0) + bytes(1_000_000)
    bucket.put("in/photos/0.png", long)
    bucket.put("in/photos/1.png", png(1))
    bucket.put("in/other/2.png", png(2))
    address = f"s3://{BUCKET}/in/"
    rows = [{"image": f"{address}photos/{name}", "output": "x"} for name in ("0.png", "1.png", "9.png")]
    if where == "in S3":
        rows += [{"image": name, "output": "x"} for name in ("photos/1.png", "other/2.png")]
        bucket.put("in/rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
        source = f"{address}rows.jsonl"
    else:
        source = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    places = (f"{address}photos",)

    opened = bucket.open(source, images_in_place=places)
    bucket.reader.asked = 0
    first, second, third, *more = opened.train.scan()

    assert isinstance(third, RowError)
    assert "there is no such object" in third.reason
    assert not isinstance(first, RowError)
    assert not isinstance(second, RowError)
    assert isinstance(first.image, InPlace)
    assert isinstance(second.image, InPlace)
    assert (first.image.uri, first.image.size) == (f"{address}photos/0.png", len(long))
    assert (first.image.head, first.image.tail) == (long[:65_536], bytes(12))
    assert second.image.tail == png(1)[-12:]
    assert bucket.reader.asked < 66_000
    assert first.image.whole() == long
    kinds = [type(row.image) for row in more if not isinstance(row, RowError)]
    assert kinds == ([InPlace, bytes] if where == "in S3" else [])
    assert opened.fingerprint == bucket.open(source, images_in_place=places).fingerprint
    bucket.put("in/photos/1.png", png(5))
    assert opened.fingerprint != bucket.open(source, images_in_place=places).fingerprint
    with pytest.raises(DataError, match=r"photos/1.png has changed"):
        list(opened.train.scan())


REFUSED: dict[str, tuple[str, dict[str, Any], type[VlmRunnerError], str]] = {
    "no bucket": ("s3://no-such-bucket-here/a/", {}, ConfigurationError, "no bucket no-such-bucket-here"),
    "nothing there": (f"s3://{BUCKET}/nothing/", {}, ConfigurationError, "nothing at"),
    "no object": (f"s3://{BUCKET}/nothing.jsonl", {}, ConfigurationError, "nothing at"),
    "no rows": (f"s3://{BUCKET}/odd", {}, DataError, "holds no rows"),
    "not an address": ("s3://Bucket!/a", {}, ConfigurationError, "not a valid S3 address"),
    "a revision": (f"s3://{BUCKET}/odd", {"revision": "main"}, ConfigurationError, "no revision"),
    "a config": (f"s3://{BUCKET}/rows", {"config": "x"}, ConfigurationError, "no config 'x'"),
    "a split": (f"s3://{BUCKET}/rows", {"split": "dev"}, ConfigurationError, "no split 'dev'"),
    "damaged": (f"s3://{BUCKET}/bad", {}, DataError, "a.parquet is not a Parquet file"),
    "another scheme": ("gs://bucket/a", {}, ConfigurationError, "gs://"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_named(name: str, bucket: Bucket) -> None:
    source, settings, kind, said = REFUSED[name]
    bucket.put("odd/x.txt", b"x")
    bucket.put("odd/.hidden.jsonl", b"{}")
    bucket.put("rows/train.jsonl", b'{"image": "0.png"}')
    bucket.put("bad/a.parquet", b"PAR1 and then nothing that is one")

    with pytest.raises(kind, match=said):
        bucket.open(source, **settings)


def test_the_right_that_is_missing_is_named(bucket: Bucket) -> None:
    """A policy that denies reading: what S3 says, and not a row that is skipped."""
    bucket.put("rows.jsonl", json.dumps({"image": "0.png", "output": "x"}).encode())
    bucket.put("0.png", png(0))
    opened = bucket.open(f"s3://{BUCKET}/")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/0.png",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})

    with _policy(bucket, policy), pytest.raises(AccessDenied, match=f"GetObject s3://{BUCKET}/0.png"):
        list(opened.train.scan())


@contextmanager
def _policy(bucket: Bucket, policy: str) -> Iterator[None]:
    bucket.s3.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    try:
        yield
    finally:
        bucket.s3.delete_bucket_policy(Bucket=BUCKET)


def test_a_body_that_breaks_off_is_asked_for_again(bucket: Bucket) -> None:
    """As often as the policy says; botocore itself repeats requests, and no bodies."""
    bucket.put("a", b"x" * 100)
    slept: list[float] = []
    reader = S3Reader(region="us-east-1", endpoint_url=bucket.s3.meta.endpoint_url, sleep=slept.append)
    asked = reader._asked

    def broken(*given: Any) -> Any:
        answer = asked(*given)
        body = answer._members["Body"]
        body._content_length = "200"
        return answer

    reader._asked = broken  # type: ignore[assignment,method-assign]

    with pytest.raises(AwsUnavailable):
        reader.read(BUCKET, "a")
    assert len(slept) == SOURCE.attempts - 1


class Portal(BaseHTTPRequestHandler):
    """Answers everything with a page, as a captive portal does; `/object` with more than was asked for."""

    def do_GET(self) -> None:
        body = b"<html>Log in</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/bucket/object"):
            self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


ASKED: dict[str, Callable[[S3Reader], Any]] = {
    "list": lambda reader: list(reader.list("bucket", "a/")),
    "look": lambda reader: reader.look("bucket", "a"),
    "read": lambda reader: reader.read("bucket", "a"),
    "read a part": lambda reader: reader.read("bucket", "object", start=0, stop=4),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_page_in_place_of_an_answer_is_no_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        reader = S3Reader(region="us-east-1", endpoint_url=url, sleep=lambda _: None)

        with pytest.raises(AwsUnavailable):
            ASKED[name](reader)
        server.shutdown()


def test_a_peek_reads_a_few_rows(bucket: Bucket, tmp_path: Path) -> None:
    local.parquet_folder(tmp_path)
    source = bucket.upload(tmp_path)

    looked = peek(DatasetSpec(source=source), 3, cache_dir=bucket.cache, s3=bucket.reader)

    assert looked.splits == ("train", "validation")
    assert [each["output"] for each in looked.rows] == [[FINDING]] * 3


def test_nothing_is_found_in_a_bucket_that_does_not_exist() -> None:
    class Nowhere:
        def list(self, *_: Any, **__: Any) -> Iterator[Any]:
            raise NotFound("ListObjectsV2: NoSuchBucket: no message.")

    nowhere: Any = Nowhere()

    assert look_up(nowhere, "nowhere", "images/", ["images/0.png"]) == {}
