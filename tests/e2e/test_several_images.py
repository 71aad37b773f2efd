"""A page and its regions: several images a row, from the dataset to the report."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from .laptop import LLAMA, Laptop, finding, picture

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "vlm-accessibility-123456789012-us-east-1"


def images_of(number: int) -> list[bytes]:
    """One to three: the page, and regions of it; the last of three is a JPEG."""
    kinds = ("PNG", "PNG", "JPEG")[: 1 + number % 3]
    return [picture(100 * place + number, kind) for place, kind in enumerate(kinds)]


def pages_with_regions(folder: Path, rows: int = 9, held_out: int = 4) -> Path:
    text = Value("string")
    output = List({"rationale": text, "eval_items": text, "eval_reason": text, "plan": text})
    features = Features({"images": List(ImageFeature()), "html": text, "output": output})
    folder.mkdir()
    for split, start, count in (("train", 0, rows), ("validation", rows, held_out)):
        table = [
            {
                "images": [{"bytes": body, "path": None} for body in images_of(number)],
                "html": f"<main><h1>Page {number}</h1></main>",
                "output": [finding(number)],
            }
            for number in range(start, start + count)
        ]
        Dataset.from_list(table, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


def pixels(body: bytes) -> bytes:
    with Image.open(io.BytesIO(body)) as image:
        return image.convert("RGB").tobytes()


def test_every_image_of_a_row_is_trained_on_asked_about_and_shown(laptop: Laptop, tmp_path: Path) -> None:
    folder = pages_with_regions(tmp_path / "pages")
    spec = laptop.spec(
        folder, prompt='preset = "accessibility-regions"', test="rows = 4\ncompare_base = true"
    )

    done = laptop.here("start", str(spec), "--yes", "--json", "--run-id", "regions")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"]["train"]["images_uploaded"] == 18
    laptop.assert_paid_once_and_over()
    s3 = laptop.boto("s3")

    def read(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def own(name: str) -> str:
        return str(laptop.checkpoint("regions")["run"]["created"]["folder"]) + name

    for number, line in enumerate(read("data/train.jsonl").splitlines()):
        text, *parts = json.loads(line)["messages"][0]["content"]
        uris = [part["image"]["source"]["s3Location"]["uri"] for part in parts]
        ends = ("", "-1", "-2")[: 1 + number % 3]
        assert uris == [f"s3://{BUCKET}/images/train/{number:03d}{end}.png" for end in ends]
        stored = [pixels(read(uri.removeprefix(f"s3://{BUCKET}/"))) for uri in uris]
        assert stored == [pixels(body) for body in images_of(number)]
        assert ("The image is" in text["text"]) == (number % 3 == 0)
    answers = [json.loads(line) for line in read(own("answers.jsonl")).splitlines()]
    assert [1 + len(row["more_images"]) for row in answers] == [
        len(images_of(number)) for number in range(9, 13)
    ]
    assert all(row["answer"] for row in answers)
    assert [row["base"]["answer"].count("pixels and rather") for row in answers] == [1, 2, 3, 1]
    page = read(own("report.html")).decode()
    assert page.count("data:image/webp;base64,") == 7
    assert 'alt="Image 3 of row 2"' in page


def test_a_model_that_takes_one_image_refuses_the_row_before_anything_is_paid(
    laptop: Laptop, tmp_path: Path
) -> None:
    spec = laptop.spec(
        pages_with_regions(tmp_path / "pages"),
        model=f'base = "{LLAMA}"',
        prompt='preset = "accessibility-regions"',
        aws='region = "us-west-2"',
    )

    said = laptop.here("lint", str(spec), "--json")

    assert said.returncode == 3
    found = [each for each in json.loads(said.stdout)["findings"] if each["code"] == "I105"]
    assert [each["row"] for each in found if each["subset"] == "train"] == [1, 2, 4, 5, 7, 8]
    assert found[0]["message"] == "2 images; Llama 3.2 11B Vision Instruct takes 1 a record"
