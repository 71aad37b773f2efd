"""
One image: pass through what is right already, convert what is not.

Bytes come from strangers: format, size and pixels are checked before anything is allocated for them.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from vlm_runner.ingest.inspect import inspect

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS: Final = 89_478_485
"""Pillow's own line between an image and a decompression bomb."""
MAX_SOURCE_BYTES: Final = 128 * 1024 * 1024
READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF")
"""What Pillow is allowed to open: its other decoders are where its security advisories are."""
EXTENSIONS: Final = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif"}
ORIENTATION: Final = 0x0112


class Handling(StrEnum):
    PASSED_THROUGH = "passed through"
    CONVERTED = "converted"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Of the base model; sides in pixels."""

    max_bytes: int
    min_side: int
    max_side: int
    formats: tuple[str, ...]
    """In Bedrock's words: png, jpeg, gif, webp."""
    per_record: int = 1


@dataclass(frozen=True, slots=True)
class Prepared:
    body: bytes
    format: str
    """As the record names it."""
    width: int
    height: int
    way: Handling

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.format]


class UnusableImage(ValueError):
    """Why an image cannot be used, as half a sentence; `hint` is what can be done."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class Convert(Protocol):
    """`convert`, in this process or in one that may die of it."""

    def __call__(self, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared: ...


def prepare(
    body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool, convert: Convert | None = None
) -> Prepared:
    """
    The image as it goes to S3. Takes CPU time when it converts: call it in a worker thread.

    Raises:
        UnusableImage: it is broken, hostile, or beyond `limits` where `fit` is false.
    """
    if not body:
        raise UnusableImage("the image is empty", "Replace it, or leave the row out.")
    if len(body) > MAX_SOURCE_BYTES:
        raise UnusableImage(
            f"the image has {len(body)} bytes; {MAX_SOURCE_BYTES} are the most that is read",
            "Downscale it in the dataset.",
        )
    seen = inspect(body)
    if (
        seen is not None
        and seen.certain
        and _may_pass(seen.format, limits, keep_format=keep_format)
        and limits.min_side <= min(seen.width, seen.height)
        and max(seen.width, seen.height) <= limits.max_side
        and len(body) <= limits.max_bytes
        and seen.width * seen.height <= MAX_PIXELS
    ):
        return Prepared(body, seen.format, seen.width, seen.height, Handling.PASSED_THROUGH)
    return (convert or convert_here)(body, limits, keep_format=keep_format, fit=fit)


def _may_pass(image_format: str, limits: ImageLimits, *, keep_format: bool) -> bool:
    return image_format == "png" or (keep_format and image_format in limits.formats)


def convert_here(body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
    """Decode the image, and write it as PNG unless it can stay as it is; see `prepare`."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where something must be converted

    try:
        with warnings.catch_warnings():
            # Of damaged metadata, which decide nothing; of large images, which are measured below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(body), formats=READABLE) as image:
                return _render(image, body, limits, keep_format=keep_format, fit=fit)
    except UnusableImage:
        raise
    except UnidentifiedImageError:
        raise UnusableImage(
            "the image is no PNG, JPEG, WebP or GIF, or its header is damaged",
            "Convert it to PNG in the dataset.",
        ) from None
    except MemoryError:
        raise UnusableImage("decoding the image takes too much memory", "Downscale it.") from None
    # On damaged files Pillow raises far more than it documents (SyntaxError, TypeError, struct.error, ...).
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UnusableImage(
            f"the image cannot be decoded ({type(error).__name__}: {said})",
            "Replace it, or leave the row out.",
        ) from error


def _render(image: Image, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
    from PIL import ImageOps  # noqa: PLC0415

    oversize = _check_size(image, body, limits, fit=fit)
    original = (image.format or "").lower()
    still = getattr(image, "n_frames", 1) == 1
    image.load()
    upright = image.getexif().get(ORIENTATION, 1) == 1
    if (
        still
        and upright
        and not oversize
        and _may_pass(original, limits, keep_format=keep_format)
        and image.mode != "CMYK"
        and inspect(body) is not None
    ):
        return Prepared(body, original, *image.size, Handling.PASSED_THROUGH)
    plain = _plain_mode(image if upright else ImageOps.exif_transpose(image))
    if max(plain.size) > limits.max_side:
        plain.thumbnail((limits.max_side, limits.max_side))
    return _encode(plain, limits, fit=fit)


def _check_size(image: Image, body: bytes, limits: ImageLimits, *, fit: bool) -> bool:
    """True where the image is larger than the model takes, and may be made smaller."""
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage(
            f"the image has {image.width}x{image.height} pixels; {MAX_PIXELS} are the most that is decoded",
            "Downscale it in the dataset.",
        )
    if min(image.size) < limits.min_side:
        raise UnusableImage(
            f"the image is {image.width}x{image.height} pixels; the model wants {limits.min_side} a side",
            "Replace it, or leave the row out.",
        )
    oversize = max(image.size) > limits.max_side or len(body) > limits.max_bytes
    if oversize and not fit:
        raise UnusableImage(
            f"the image is {image.width}x{image.height} pixels and {len(body)} bytes; the model takes "
            f"{limits.max_side} pixels a side and {limits.max_bytes} bytes",
            "Set fit = true under [images] to downscale.",
        )
    return oversize


def _plain_mode(image: Image) -> Image:
    """L or RGB, or RGBA where something may be transparent; what every decoder shows alike."""
    if image.mode in {"RGB", "RGBA", "L"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    transparent = image.mode in {"LA", "PA"} or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _eight_bits(image: Image) -> Image:
    """16 bits scaled to 8, which Pillow's own convert("L") clips."""
    import numpy as np  # noqa: PLC0415 - see `vlm_runner.ingest.png`
    from PIL import Image as Images  # noqa: PLC0415

    scaled = (np.asarray(image).astype(np.uint32) + 128) // 257
    made = Images.fromarray(scaled.astype(np.uint8))
    made.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return made


def _encode(image: Image, limits: ImageLimits, *, fit: bool) -> Prepared:
    from vlm_runner.ingest.png import encode_png  # noqa: PLC0415

    while True:
        body = encode_png(image)
        if len(body) <= limits.max_bytes:
            return Prepared(body, "png", *image.size, Handling.CONVERTED)
        if not fit:
            raise UnusableImage(
                f"the image is {len(body)} bytes as PNG; the model takes {limits.max_bytes}",
                'Set fit = true under [images] to downscale, or format = "keep".',
            )
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))


def downscaled(body: bytes, image_format: str, max_bytes: int, max_side: int) -> tuple[bytes, str]:
    """
    The image as a model takes it at inference, whose limits are smaller than those of training.

    Untouched where it fits already; else as a PNG, and its new format.
    """
    limits = ImageLimits(max_bytes=max_bytes, min_side=1, max_side=max_side, formats=(image_format,))
    prepared = prepare(body, limits, keep_format=True, fit=True)
    return prepared.body, prepared.format
