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

from vlm_runner.dataset import open_dataset
from vlm_runner.errors import RowError
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import ImageLimits, prepare
from vlm_runner.spec import Columns, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMITS = ImageLimits(max_bytes=10_000_000, min_side=1, max_side=8000, formats=("png", "jpeg", "gif", "webp"))
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


def rows(value: str, folder: Path) -> list[dict[str, Any]]:
    make, _ = VALUES[value]
    return [{"image": make(i, folder), "answer": answer} for i, answer in enumerate(ANSWERS)]


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

    pd.DataFrame(made).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


WRITERS = (by_pandas, by_datasets, saved, json_lines, json_list, csv_by_pandas)


def possible(write: Callable[..., Path], value: str) -> bool:
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
def test_what_comes_out_is_what_went_in(
    write: Callable[[Path, list[dict[str, Any]]], Path], value: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    source = write(data, rows(value, data))
    spec = DatasetSpec(source=str(source), columns=Columns(image=VALUES[value][1]))

    read = list(open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows())

    assert [row.images for row in read] == [(encoded(i),) for i in range(len(ANSWERS))]
    assert [row.fields["answer"] for row in read] == ANSWERS


def test_the_matrix_is_as_wide_as_the_field() -> None:
    assert len(SHAPES) >= 30


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_each_lossless_format_keeps_its_pixels(kind: str, tmp_path: Path, converters: Converters) -> None:
    made = [{"image": {"bytes": encoded(i, kind), "path": None}, "answer": "x"} for i in range(2)]
    spec = DatasetSpec(source=str(by_datasets(tmp_path, made)))

    for row in open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.scan():
        assert not isinstance(row, RowError)
        prepared = prepare(row.image, LIMITS, keep_format=False, fit=False, convert=converters)

        assert prepared.format == "png"
        assert shown(prepared.body) == shown(encoded(row.index, "PNG"))
