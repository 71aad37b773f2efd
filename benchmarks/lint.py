"""
Lint against decoding: the same PNGs of 1280x800, looked at by `lint` and decoded by Pillow in one process.

    python benchmarks/lint.py --rows 10000

Prints seconds of both, their ratio, and what memory grew by between a tenth of the rows and all of them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

PICTURES = 64
NOVA = "amazon.nova-lite-v1:0:300k"


def page(seed: int) -> bytes:
    """Something like a screenshot: boxes, text, a photograph's noise in one corner."""
    chance = random.Random(seed)
    image = Image.new("RGB", (1280, 800), (250, 250, 250))
    draw = ImageDraw.Draw(image)
    for _ in range(300):
        x, y = chance.randrange(1280), chance.randrange(800)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.rectangle([x, y, x + chance.randrange(200), y + chance.randrange(50)], fill=colour)
        draw.text((x, y), "lorem ipsum dolor sit amet", fill=(0, 0, 0))
    noise = Image.frombytes("RGB", (240, 160), chance.randbytes(240 * 160 * 3))
    image.paste(noise, (chance.randrange(1000), chance.randrange(600)))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def write(folder: Path, rows: int) -> int:
    """A Parquet file of `rows` different images: a few pages, each row with bytes of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pages = [page(seed) for seed in range(PICTURES)]
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("html", pa.string()),
            ("output", pa.string()),
        ]
    )
    total = 0
    with pq.ParquetWriter(folder / "train.parquet", schema) as writer:
        for start in range(0, rows, 64):
            batch = []
            for number in range(start, min(start + 64, rows)):
                body = pages[number % PICTURES]
                total += len(body)
                html = f"<p>{number}</p>" + "<div class='card'>text</div>" * 100
                output = json.dumps(
                    [{"rationale": "", "eval_items": "1", "eval_reason": f"{number}", "plan": ""}]
                )
                batch.append(
                    {"image": {"bytes": body, "path": f"{number}.png"}, "html": html, "output": output}
                )
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return total


def lint(folder: Path, most: int | None) -> dict[str, float]:
    from vlm_runner.dataset import open_dataset
    from vlm_runner.lint import lint_dataset
    from vlm_runner.models import find
    from vlm_runner.spec import RunSpec

    dataset = {"source": str(folder)} | ({"max_rows": most} if most else {})
    role = "arn:aws:iam::123456789012:role/sft"
    spec = RunSpec.from_table({"dataset": dataset, "model": {"base": NOVA}, "training": {"role_arn": role}})
    opened = open_dataset(spec.dataset, cache_dir=folder.parent / f"{folder.name}-cache")
    began = time.perf_counter()
    report = lint_dataset(opened, spec, find(NOVA), today=dt.date(2026, 11, 22))
    seconds = time.perf_counter() - began
    rows = sum(census.rows for census in report.census.values())
    return {"seconds": seconds, "rows": rows, "peak_mb": anonymous_mb()}


def decode(folder: Path, most: int | None) -> dict[str, float]:
    from vlm_runner.dataset import open_dataset
    from vlm_runner.spec import DatasetSpec

    opened = open_dataset(
        DatasetSpec(source=str(folder), max_rows=most), cache_dir=folder.parent / f"{folder.name}-cache"
    )
    began, rows = time.perf_counter(), 0
    for row in opened.train.rows():
        with Image.open(io.BytesIO(row.image)) as image:
            image.load()
        rows += 1
    return {"seconds": time.perf_counter() - began, "rows": rows, "peak_mb": anonymous_mb()}


def anonymous_mb() -> float:
    """What the process holds of its own, without mapped files; elsewhere than on Linux, its peak."""
    status = Path("/proc/self/status")
    if status.exists():
        held = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
        return int(held[0].split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(what: str, folder: Path, most: int | None) -> dict[str, float]:
    """In a process of its own, so that memory is its own too."""
    words = [
        sys.executable,
        __file__,
        "--only",
        what,
        "--folder",
        str(folder),
        *(["--most", str(most)] if most else []),
    ]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    values: dict[str, float] = json.loads(done.stdout)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--only", choices=["lint", "decode"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--most", type=int)
    given = parser.parse_args()
    if given.only:
        print(json.dumps({"lint": lint, "decode": decode}[given.only](given.folder, given.most)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        size = write(folder, given.rows)
        print(f"{given.rows:,} PNGs of 1280x800, {size / 1e9:.2f} GB")
        measured("decode", folder, 64)
        some = measured("lint", folder, max(1, given.rows // 10))
        ours, theirs = measured("lint", folder, None), measured("decode", folder, None)
    print(f"lint:   {ours['seconds']:.1f} s, {ours['seconds'] / ours['rows'] * 1000:.2f} ms a row")
    print(f"Pillow: {theirs['seconds']:.1f} s, {theirs['seconds'] / theirs['rows'] * 1000:.2f} ms a row")
    print(f"ratio:  {theirs['seconds'] / ours['seconds']:.1f} times as fast")
    print(f"memory: {some['peak_mb']:.0f} MB after a tenth of the rows, {ours['peak_mb']:.0f} MB after all")


if __name__ == "__main__":
    main()
