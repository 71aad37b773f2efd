"""Small pictures, so that a page with a thousand of them is still a page that opens."""

from __future__ import annotations

import io
import warnings
from typing import Final

from PIL import Image, ImageOps

from vlm_runner.image_limits import MAX_PIXELS, READABLE

SIDES: Final = (560, 420, 320, 240, 160, 96)
TALLEST: Final = 1.6
"""Height to width: of a page's long screenshot the upper part is shown."""

ALL_BYTES: Final = 9 * 1024 * 1024
"""For all thumbnails of a report together; base64 makes them a third larger."""
LARGEST: Final = 48 * 1024


def budget(rows: int) -> int:
    """Bytes for each of this many thumbnails."""
    return max(1024, min(LARGEST, ALL_BYTES // max(1, rows)))


def thumbnail(body: bytes, most_bytes: int) -> bytes | None:
    """WebP of at most `most_bytes`; None if it is not an image. Takes CPU time: use a worker thread."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes, which are looked at here
            with Image.open(io.BytesIO(body), formats=READABLE) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    return None
                opened.draft("RGB", (SIDES[0] * 2, SIDES[0] * 2))
                image = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises far more than it documents
        return None
    image = image.crop((0, 0, image.width, min(image.height, max(1, int(image.width * TALLEST)))))
    for side in SIDES:
        image.thumbnail((side, int(side * TALLEST)))
        for quality in (72, 50):
            out = io.BytesIO()
            image.save(out, "WEBP", quality=quality, method=4)
            if out.tell() <= most_bytes:
                return out.getvalue()
    return None
