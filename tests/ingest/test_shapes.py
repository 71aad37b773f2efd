"""
Shapes of vision data that people have, written by the ecosystem's own writers.

What comes out equals what went in: pixel for pixel, and letter for letter.
"""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.histories import begun
from vlm_runner.dataset import open_dataset
from vlm_runner.dataset.in_place import bytes_of
from vlm_runner.errors import RowError
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import ImageLimits, prepare
from vlm_runner.ingest.records import write_records
from vlm_runner.lint import lint_dataset
from vlm_runner.models import find
from vlm_runner.spec import DatasetSpec, RunSpec
from vlm_runner.steps.stage import transform_of
from vlm_runner.testing.objects import FakeObjects, FakeS3

from .staging import ACCOUNT, BUCKET, place_of, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMITS = ImageLimits(max_bytes=10_000_000, min_side=1, max_side=8000, formats=("png", "jpeg", "gif", "webp"))
NOVA = "amazon.nova-lite-v1:0:300k"
ANSWERS = ["2024-03-01", "007", "NA"]


def picture(number: int) -> Image.Image:
    return Image.radial_gradient("L").resize((40, 30)).rotate(37 * number).convert("RGB")


def encoded(number: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    picture(number).save(out, kind, **how)
    return out.getvalue()


def text(number: int) -> str:
    return base64.b64encode(encoded(number)).decode()


def placed(number: int, folder: Path) -> str:
    (folder / f"{number}.png").write_bytes(encoded(number))
    return f"{number}.png"


VALUES: dict[str, tuple[Callable[[int, Path], Any], str]] = {
    "bytes": (lambda i, _: encoded(i), "image"),
    "bytes and path": (lambda i, _: {"bytes": encoded(i), "path": f"{i}.png"}, "image"),
    "a path": (placed, "image"),
    "base64": (lambda i, _: text(i), "image"),
    "a data URI": (lambda i, _: f"data:image/png;base64,{text(i)}", "image"),
    "a list": (lambda i, _: [{"bytes": encoded(i), "path": None}], "image"),
    "a list of paths": (lambda i, folder: [placed(i, folder)], "image"),
    "within": (lambda i, _: {"shot": {"bytes": encoded(i), "path": None}, "url": "x"}, "image.shot"),
    "within a list": (lambda i, _: [{"image": encoded(i)}, {"image": encoded(i + 1)}], "image[0].image"),
    "in a conversation": (
        lambda i, _: [{"role": "user", "content": [{"type": "image", "image": text(i)}, {"type": "text"}]}],
        "image[].content[].image",
    ),
}
HOLD_BYTES = {"bytes", "bytes and path", "a list", "within", "within a list"}


def turns(answer: str) -> list[dict[str, str]]:
    said = ("What is it?", answer, "And below?", f"Not {answer}.")
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def rows(value: str, folder: Path) -> list[dict[str, Any]]:
    make, _ = VALUES[value]
    return [
        {"image": make(i, folder), "answer": answer, "turns": turns(answer)}
        for i, answer in enumerate(ANSWERS)
    ]


def by_pandas(folder: Path, made: list[dict[str, Any]]) -> Path:
    import pandas as pd  # type: ignore[import-untyped]

    pd.DataFrame(made).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def by_datasets(folder: Path, made: list[dict[str, Any]]) -> Path:
    import datasets

    datasets.Dataset.from_list(made).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def saved(folder: Path, made: list[dict[str, Any]]) -> Path:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(made)}).save_to_disk(folder)
    return folder


def json_lines(folder: Path, made: list[dict[str, Any]]) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder / "rows.jsonl"


def json_list(folder: Path, made: list[dict[str, Any]]) -> Path:
    (folder / "rows.json").write_text(json.dumps(made))
    return folder / "rows.json"


def csv_by_pandas(folder: Path, made: list[dict[str, Any]]) -> Path:
    import pandas as pd

    pd.DataFrame(made).drop(columns="turns").to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def by_webdataset(folder: Path, made: list[dict[str, Any]], ending: str = "tar") -> Path:
    """The samples' files are named by their columns; a shard of two and one of the rest."""
    import webdataset  # type: ignore[import-untyped]

    for number, some in enumerate((made[:2], made[2:])):
        with webdataset.TarWriter(str(folder / f"train-{number:06d}.{ending}")) as shard:
            for i, row in enumerate(some):
                shard.write(
                    {"__key__": f"{i:06d}", "png": row["image"], "answer.txt": row["answer"]}
                    | {"turns.json": row["turns"]}
                )
    return folder


def by_webdataset_packed(folder: Path, made: list[dict[str, Any]]) -> Path:
    return by_webdataset(folder, made, "tar.gz")


WRITERS = (
    by_pandas, by_datasets, saved, json_lines, json_list, csv_by_pandas, by_webdataset, by_webdataset_packed,
)  # fmt: skip
SHARDS = (by_webdataset, by_webdataset_packed)


def possible(write: Callable[..., Path], value: str) -> bool:
    if write in SHARDS:
        return value == "bytes"
    if write is csv_by_pandas:
        return value in {"a path", "base64", "a data URI"}
    return value not in HOLD_BYTES or write in {by_pandas, by_datasets, saved}


SHAPES = [(write, value) for write in WRITERS for value in VALUES if possible(write, value)]


@pytest.fixture(scope="module")
def converters() -> Iterator[Converters]:
    with Converters() as started:
        yield started


def shown(body: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(body)) as image:
        return image.size, image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("write", "value"), SHAPES, ids=[f"{write.__name__}: {value}" for write, value in SHAPES]
)
async def test_what_comes_out_is_what_went_in(
    write: Callable[[Path, list[dict[str, Any]]], Path], value: str, tmp_path: Path
) -> None:
    """What is read, what lint says of it, and what lies in S3 in the end: images and records."""
    data = tmp_path / "data"
    data.mkdir()
    spec = spec_of(write, write(data, rows(value, data)), value)
    opened = open_dataset(spec.dataset, cache_dir=tmp_path / "cache", required=())
    s3 = FakeS3()
    s3.make_bucket(BUCKET, ACCOUNT)

    read = list(opened.train.rows())
    report = lint_dataset(opened, spec, find(NOVA), today=None, threads=1)
    objects, place = FakeObjects(s3, BUCKET), place_of(opened.train)
    made = transform_of(begun(spec=spec), find(NOVA), "train")
    await stage(opened.train, objects, made=made, place=place)
    uri = (await write_records(objects, place, "train", len(ANSWERS))).uri

    assert [row.images for row in read] == [(encoded(i),) for i in range(len(ANSWERS))]
    assert [row.fields["answer.txt" if write in SHARDS else "answer"] for row in read] == ANSWERS
    assert not [found for found in report.findings if found.row is not None and found.code != "D406"]
    for i, (line, answer) in enumerate(zip(lines_at(s3, uri), ANSWERS, strict=True)):
        expected = turns(answer) if write is not csv_by_pandas else turns(answer)[:2]
        assert [(turn["role"], text_of(turn)) for turn in line["messages"]] == [
            (turn["role"], turn["content"]) for turn in expected
        ]
        assert [body_at(s3, uri) for uri in images_of(line)] == [encoded(i)]


def spec_of(write: Callable[..., Path], source: Path, value: str) -> RunSpec:
    prompt = {"preset": "messages"}
    columns = {"image": VALUES[value][1], "messages": "turns"}
    if write in SHARDS:
        columns = {"image": "png", "messages": "turns.json"}
    elif write is csv_by_pandas:
        prompt, columns = {"user": "What is it?", "assistant": "{{ answer }}"}, {"image": VALUES[value][1]}
    return RunSpec.from_table(
        {
            "dataset": {"source": str(source), "columns": columns},
            "prompt": prompt,
            "model": {"base": NOVA},
            "training": {"role_arn": f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"},
        }
    )


def body_at(s3: FakeS3, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return s3.buckets[bucket][key]


def lines_at(s3: FakeS3, uri: str) -> list[Any]:
    return [json.loads(line) for line in body_at(s3, uri).splitlines()]


def text_of(turn: dict[str, Any]) -> str:
    return "".join(block["text"] for block in turn["content"] if "text" in block)


def images_of(line: dict[str, Any]) -> list[str]:
    """Their places, of the whole record: none stands in a later turn than the first."""
    first, *later = line["messages"]
    assert not [block for turn in later for block in turn["content"] if "image" in block]
    return [block["image"]["source"]["s3Location"]["uri"] for block in first["content"] if "image" in block]


def test_the_matrix_is_as_wide_as_the_field() -> None:
    assert len(SHAPES) >= 30


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_each_lossless_format_keeps_its_pixels(kind: str, tmp_path: Path, converters: Converters) -> None:
    made = [{"image": {"bytes": encoded(i, kind), "path": None}, "answer": "x"} for i in range(2)]
    spec = DatasetSpec(source=str(by_datasets(tmp_path, made)))

    for row in open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.scan():
        assert not isinstance(row, RowError)
        prepared = prepare(bytes_of(row.image), LIMITS, keep_format=False, fit=False, convert=converters)

        assert prepared.format == "png"
        assert shown(prepared.body) == shown(encoded(row.index, "PNG"))
