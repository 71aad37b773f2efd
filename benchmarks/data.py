"""The data sets of the benchmarks: 1280x800 pages with a photo, as PNG, JPEG and WebP, and pages of HTML."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from vlm_runner.sample import sample_folder

SIZE = (1280, 800)
DISTINCT = 48
SAVE: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG", "quality": 90},
    "webp": {"format": "WEBP", "quality": 85},
}


def page(seed: int) -> Image.Image:
    """A page of the sample where there is one, with a photo-like part, so that its PNG has some 465 KB."""
    random = np.random.default_rng(seed)
    image = _screenshot(seed)
    width, height = int(random.integers(380, 560)), int(random.integers(300, 420))
    coarse = random.integers(0, 255, (height // 30, width // 30, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = photo.astype(np.int16) + random.integers(-3, 4, photo.shape)
    at = (int(random.integers(0, SIZE[0] - width)), int(random.integers(0, SIZE[1] - height)))
    image.paste(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), at)
    return image


def _screenshot(seed: int) -> Image.Image:
    table = pq.read_table(sample_folder() / "train.parquet", columns=["image"])
    held = table.column("image")[seed % len(table)].as_py()
    image = Image.open(io.BytesIO(held["bytes"])).convert("RGB").resize(SIZE)
    draw = ImageDraw.Draw(image)
    for line in range(12):
        draw.text(
            (40, 60 * line),
            f"{seed} {line} The quick brown fox jumps over the lazy dog. " * 3,
            fill=(20, 20, 60),
        )
    return image


def encoded(form: str, count: int = DISTINCT) -> list[bytes]:
    """As a data set of that form holds them; `tiny` ones cost nothing, and show what a row costs."""
    bodies = []
    if form == "tiny":
        for shade in range(count):
            out = io.BytesIO()
            Image.new("RGB", (64, 64), (shade, 2, 3)).save(out, "PNG")
            bodies.append(out.getvalue())
        return bodies
    for seed in range(count):
        out = io.BytesIO()
        page(seed).save(out, **SAVE[form])
        bodies.append(out.getvalue())
    return bodies


def build(folder: Path, form: str, rows: int, html_bytes: int = 2000) -> Path:
    """A parquet folder of `rows` rows; made once."""
    path = folder / f"{form}-{rows}-{html_bytes}"
    if (path / "train.parquet").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    bodies = encoded(form, min(DISTINCT, rows))
    findings = json.dumps(
        [{"rationale": "r " * 80, "eval_items": "1.1.1", "eval_reason": "no alt", "plan": "add alt"}] * 3
    )
    html = ("<div class='card'>\n  <p title=\"a\">The quick brown fox</p>\n</div>\n" * 400)[:html_bytes]
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("html", pa.string()),
            ("output", pa.string()),
        ]
    )
    with pq.ParquetWriter(path / "part.tmp", schema, compression="NONE", use_dictionary=False) as writer:
        for start in range(0, rows, 64):
            numbers = range(start, min(start + 64, rows))
            writer.write_table(
                pa.table(
                    {
                        "image": [{"bytes": bodies[n % len(bodies)], "path": None} for n in numbers],
                        "html": [f"<!-- {n} -->{html}" for n in numbers],
                        "output": [findings for _ in numbers],
                    },
                    schema,
                )
            )
    (path / "part.tmp").rename(path / "train.parquet")
    return path
