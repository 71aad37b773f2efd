"""
One way of getting a data set into S3, in a process of its own: `python ways.py WAY DATASET ROWS URL`.

Prints one JSON object: images and seconds (without imports and opening the data set), CPU seconds of the
process and its children, and peak memory.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

from vlm_runner.spec import BadRows, DatasetSpec, PromptSpec

BUCKET = "bench"
KEYS = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK", "region_name": "us-east-1"}
IN_FLIGHT = 64


def main() -> None:
    way, source, rows, url = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    go = WAYS[way](source, rows, url)
    before, began = cpu(), time.perf_counter()
    with Memory() as memory:
        go()
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "way": way,
                "images": rows,
                "seconds": seconds,
                "rate": rows / seconds,
                "cpu_ms": (cpu() - before) / rows * 1000,
                "rss_mb": memory.rss,
                "anon_mb": memory.anonymous,
                "pss_mb": memory.proportional,
            }
        )
    )


def cpu() -> float:
    return sum(
        use.ru_utime + use.ru_stime
        for use in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


class Memory:
    """
    Peak memory of this process and its children, in MB.

    Resident, which counts a shared page in each process; proportional (PSS), which counts it once in all, and
    takes longer to ask for; and anonymous, which is without pages of files.
    """

    def __enter__(self) -> Self:
        self.rss = self.anonymous = self.proportional = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        look = 0
        while not self._stop.wait(0.1):
            processes = _processes()
            self.rss = max(self.rss, _sum(processes, "status", "VmRSS"))
            self.anonymous = max(self.anonymous, _sum(processes, "status", "RssAnon"))
            if look % 10 == 4:
                self.proportional = max(self.proportional, _sum(processes, "smaps_rollup", "Pss:"))
            look += 1


def _processes() -> list[int]:
    us = _command(os.getpid())
    # A child that is about to become another program still looks like us, and shares our memory.
    children = [child for child in _children(os.getpid()) if _command(child) not in {"", us}]
    return [os.getpid(), *children]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _sum(processes: list[int], file: str, field: str) -> float:
    total = 0.0
    for pid in processes:
        try:
            lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)
    return total


# The notebook and its relatives: decode with Pillow, encode with Pillow, send.


def opened(source: Path) -> Any:
    import datasets

    return datasets.load_dataset(
        "parquet", data_files=str(source / "train.parquet"), split="train"
    ).cast_column("image", datasets.Image())


def encoded(dataset: Any, index: int) -> bytes:
    out = io.BytesIO()
    dataset[index]["image"].save(out, format="PNG")
    return out.getvalue()


def boto3_client(url: str, connections: int = 10) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", endpoint_url=url, config=Config(max_pool_connections=connections), **KEYS)


def notebook(source: Path, rows: int, url: str) -> Callable[[], None]:
    dataset, client = opened(source), boto3_client(url)

    def go() -> None:
        for index in range(rows):
            client.put_object(
                Bucket=BUCKET, Key=f"images/train/{index:03d}.png", Body=encoded(dataset, index)
            )

    return go


def boto3_threads(threads: int, source: Path, rows: int, url: str) -> Callable[[], None]:
    dataset, client = opened(source), boto3_client(url, threads)

    def put(index: int) -> None:
        client.put_object(Bucket=BUCKET, Key=f"images/train/{index:03d}.png", Body=encoded(dataset, index))

    def go() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(put, range(rows)))

    return go


async def _aioboto3_all(url: str, rows: int, body_of: Callable[[int], bytes]) -> None:
    import aioboto3
    from aiobotocore.config import AioConfig

    slots = asyncio.Semaphore(IN_FLIGHT)
    config = AioConfig(max_pool_connections=IN_FLIGHT)
    async with aioboto3.Session().client("s3", endpoint_url=url, config=config, **KEYS) as client:

        async def put(index: int) -> None:
            async with slots:
                body = await asyncio.to_thread(body_of, index)
                await client.put_object(
                    Bucket=BUCKET, Key=f"images/train/{index:03d}.png", Body=io.BytesIO(body)
                )

        await asyncio.gather(*(put(index) for index in range(rows)))


def aioboto3_pillow(source: Path, rows: int, url: str) -> Callable[[], None]:
    import aioboto3  # noqa: F401 - not measured

    dataset = opened(source)
    return lambda: asyncio.run(_aioboto3_all(url, rows, partial(encoded, dataset)))


def aioboto3_as_is(source: Path, rows: int, url: str) -> Callable[[], None]:
    """The same pass-through, unverified, on plain aioboto3."""
    import aioboto3  # noqa: F401 - not measured
    import datasets

    raw = opened(source).cast_column("image", datasets.Image(decode=False))
    return lambda: asyncio.run(_aioboto3_all(url, rows, lambda index: bytes(raw[index]["image"]["bytes"])))


def obstore_pillow(source: Path, rows: int, url: str) -> Callable[[], None]:
    import obstore
    from obstore.store import S3Store

    dataset = opened(source)
    store = S3Store(
        BUCKET, endpoint=url, region="us-east-1", access_key_id="AK", secret_access_key="SK",
        client_options={"allow_http": True},
    )  # fmt: skip

    async def all_of_them() -> None:
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def put(index: int) -> None:
            async with slots:
                body = await asyncio.to_thread(encoded, dataset, index)
                await obstore.put_async(store, f"images/train/{index:03d}.png", body, use_multipart=False)

        await asyncio.gather(*(put(index) for index in range(rows)))

    return lambda: asyncio.run(all_of_them())


def aws_sync(source: Path, rows: int, url: str) -> Callable[[], None]:
    dataset = opened(source)

    def go() -> None:
        with tempfile.TemporaryDirectory() as folder:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                bodies = pool.map(partial(encoded, dataset), range(rows))
                for index, body in enumerate(bodies):
                    (Path(folder) / f"{index:03d}.png").write_bytes(body)
            command = [
                "aws",
                "s3",
                "sync",
                folder,
                f"s3://{BUCKET}/images/train/",
                "--endpoint-url",
                url,
                "--quiet",
            ]
            subprocess.run(command, check=True)

    return go


# Ours.


def line_of() -> Callable[..., Any]:
    from vlm_runner.ingest.pipeline import RecordLine
    from vlm_runner.models import record_line
    from vlm_runner.prompts.templates import compile_prompt

    prompt = compile_prompt(PromptSpec(preset="accessibility"))

    def line(row: Any, uri: str, image_format: str, more: Any = ()) -> Any:
        made = prompt.render(row.fields, subset="train", row=row.index)
        written = record_line(
            made.conversation, [(uri, image_format), *more], bucket_owner="123456789012", image_first=True,
        )  # fmt: skip
        return RecordLine(written, made.accepted)

    return line


def staging_of(subset: Any, objects: Any, fingerprint: str, *, keep: bool = False) -> Any:
    from vlm_runner.clock import SystemClock
    from vlm_runner.core import places
    from vlm_runner.ingest.images import ImageLimits
    from vlm_runner.ingest.pipeline import SubsetStaging, Transform
    from vlm_runner.settings import UploadSettings

    limits = ImageLimits(10_000_000, 1, 8000, ("png", "jpeg", "gif", "webp"))
    return SubsetStaging(
        subset,
        objects,
        Transform(
            limits=limits,
            keep_format=keep,
            fit=False,
            line=line_of(),
            verified=True,  # as in `start`, where lint has read the pixels
        ),
        places.place("", places.content_folder(fingerprint), subset.name, fingerprint),
        upload=UploadSettings(),
        bad_rows=BadRows(skip=False, most=None),
        clock=SystemClock(),
        progress=lambda _: None,
    )


def ours(
    source: Path, rows: int, url: str, *, engine: Any = "auto", keep: bool = False
) -> Callable[[], None]:
    import aioboto3  # noqa: F401 - not measured
    import anyio
    import obstore.store  # noqa: F401 - not measured
    import uvloop  # noqa: F401 - not measured

    from vlm_runner.aws.session import AwsSession
    from vlm_runner.dataset.source import open_dataset

    subset = open_dataset(DatasetSpec(source=str(source), max_rows=rows)).train
    staging_of(subset, None, "")  # for its imports, which are not measured

    async def stage() -> None:
        async with AwsSession(
            region="us-east-1", endpoint_url=url, connections=IN_FLIGHT, engine=engine
        ) as aws:
            objects = aws.objects(BUCKET, owner="123456789012")
            await staging_of(subset, objects, os.urandom(16).hex(), keep=keep).run()

    return lambda: anyio.run(stage, backend_options={"use_uvloop": True})


def cpu_bound(source: Path, rows: int, url: str) -> Callable[[], None]:  # noqa: ARG001
    """Decode, filter and deflate alone, on all cores, in processes that hold the bytes already."""
    import multiprocessing

    import datasets

    raw = opened(source).cast_column("image", datasets.Image(decode=False))
    bodies = [bytes(raw[index]["image"]["bytes"]) for index in range(min(rows, 64))]
    processes = os.cpu_count() or 1
    pool = multiprocessing.get_context("fork").Pool(processes, _ready, (bodies,))
    pool.map(_convert, range(processes * 4), chunksize=1)

    def go() -> None:
        pool.map(_convert, range(rows), chunksize=4)
        pool.close()
        pool.join()

    return go


_bodies: list[bytes] = []


def _ready(bodies: list[bytes]) -> None:
    _bodies[:] = bodies


def _convert(index: int) -> int:
    from vlm_runner.ingest.images import ImageLimits, convert_here

    limits = ImageLimits(10_000_000, 1, 8000, ("png",))
    return len(convert_here(_bodies[index % len(_bodies)], limits, keep_format=False, fit=False).body)


WAYS: dict[str, Callable[[Path, int, str], Callable[[], None]]] = {
    "notebook": notebook,
    "boto3-16": partial(boto3_threads, 16),
    "boto3-64": partial(boto3_threads, 64),
    "aioboto3": aioboto3_pillow,
    "aioboto3-as-is": aioboto3_as_is,
    "obstore": obstore_pillow,
    "aws-sync": aws_sync,
    "ours": ours,
    "ours-aioboto3": partial(ours, engine="aioboto3"),
    "ours-keep": partial(ours, keep=True),
    "cpu-bound": cpu_bound,
}

if __name__ == "__main__":
    main()
