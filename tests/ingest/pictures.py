"""Pictures for tests, in every format and mode that a dataset may hold."""

import io
from functools import cache
from typing import Any

import numpy as np
import png as pypng  # type: ignore[import-untyped]
from PIL import Image, ImageCms

from vlm_runner.ingest.images import ImageLimits

LIMITS = ImageLimits(
    max_bytes=10_000_000, min_side=1, max_side=8000, formats=("png", "jpeg", "gif", "webp"), per_record=3
)


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 23), seed: int = 0) -> Image.Image:
    """Smooth here and noisy there, no two sides alike, so that a turn or a lost row shows."""
    random = np.random.default_rng(seed)
    width, height = size
    ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3).astype(np.int64)
    bands = {"1": 1, "L": 1, "P": 3, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = np.stack(
        [(ramp * (band + 1) + random.integers(0, 9, ramp.shape)) % 256 for band in range(bands)], -1
    )
    plain = pixels.astype(np.uint8)
    if mode == "P":
        return Image.fromarray(plain).quantize(16)
    if mode in {"1", "L"}:
        return Image.fromarray(plain[:, :, 0]).convert(mode)
    return Image.frombytes(mode, size, plain.tobytes())


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def interlaced_png() -> bytes:
    image = picture()
    out = io.BytesIO()
    pypng.Writer(*image.size, greyscale=False, interlace=True).write(
        out, np.asarray(image).reshape(image.height, -1).tolist()
    )
    return out.getvalue()


def deep_png() -> bytes:
    """16 bits of grey, from one end to the other."""
    values = np.linspace(0, 65535, 37 * 23).astype(np.uint16).reshape(23, 37)
    return saved(Image.fromarray(values), "PNG")


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _palette_png(**options: Any) -> bytes:
    return saved(picture("P"), "PNG", **options)


def _animated(form: str) -> bytes:
    return saved(
        picture(), form, save_all=True, append_images=[picture(seed=1), picture(seed=2)], duration=100
    )


SOURCES: dict[str, bytes] = {
    "png-1": saved(picture("1"), "PNG"),
    "png-L": saved(picture("L"), "PNG"),
    "png-LA": saved(picture("LA"), "PNG"),
    "png-P": _palette_png(),
    "png-P-index-transparent": _palette_png(transparency=3),
    "png-P-alpha": _palette_png(transparency=bytes(range(0, 256, 16))),
    "png-RGB": saved(picture(), "PNG"),
    "png-RGB-key": saved(picture(), "PNG", transparency=(3, 5, 7)),
    "png-RGBA": saved(picture("RGBA"), "PNG"),
    "png-16": deep_png(),
    "png-interlaced": interlaced_png(),
    "png-icc": saved(picture(), "PNG", icc_profile=srgb_profile()),
    "png-exif-1": saved(picture(), "PNG", exif=exif(1)),
    "png-exif-6": saved(picture(), "PNG", exif=exif(6)),
    "png-animated": _animated("PNG"),
    "jpeg": saved(picture(), "JPEG", quality=90),
    "jpeg-progressive": saved(picture(), "JPEG", progressive=True),
    "jpeg-grey": saved(picture("L"), "JPEG"),
    "jpeg-cmyk": saved(picture("CMYK"), "JPEG"),
    "jpeg-icc": saved(picture(), "JPEG", icc_profile=srgb_profile()),
    "jpeg-exif-1": saved(picture(), "JPEG", exif=exif(1)),
    **{f"jpeg-exif-{turn}": saved(picture(), "JPEG", exif=exif(turn)) for turn in (2, 3, 5, 6, 8)},
    "webp": saved(picture(), "WEBP", quality=80),
    "webp-lossless": saved(picture(), "WEBP", lossless=True),
    "webp-RGBA": saved(picture("RGBA"), "WEBP", lossless=True),
    "webp-exif-6": saved(picture(), "WEBP", exif=exif(6)),
    "webp-animated": _animated("WEBP"),
    "gif": saved(picture("P"), "GIF"),
    "gif-transparent": saved(picture("P"), "GIF", transparency=2),
    "gif-animated": _animated("GIF"),
}


Shown = tuple[tuple[int, int], bytes]
"""Size, and pixels as RGBA."""


def shown(body: bytes) -> Shown:
    """What a viewer shows of an image file, by Pillow's own conversions: upright, its first frame."""
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        if image.mode.startswith("I"):
            return seen(Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)))
        turns = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }
        turn = turns.get(image.getexif().get(0x0112, 1))
        upright = image if turn is None else image.transpose(turn)
        return seen(upright.convert("RGB") if upright.mode == "CMYK" else upright)


def seen(image: Image.Image) -> Shown:
    return image.size, image.convert("RGBA").tobytes()
