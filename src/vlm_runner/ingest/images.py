"""
One image: pass through what is right already, convert what is not.

Bytes come from strangers: format, size and pixels are checked before anything is allocated for them.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS: Final = 89_478_485
"""Pillow's own line between an image and a decompression bomb."""
MAX_SOURCE_BYTES: Final = 128 * 1024 * 1024
READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF")
"""What Pillow is allowed to open: its other decoders are where its security advisories are."""
EXTENSIONS: Final = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif"}


class Way(StrEnum):
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


@dataclass(frozen=True, slots=True)
class Prepared:
    body: bytes
    format: str
    """As the record names it."""
    width: int
    height: int
    way: Way

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.format]


class UnusableImage(ValueError):
    """Why an image cannot be used, as half a sentence; `hint` is what can be done."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def prepare(body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
    """
    The image as it goes to S3. Takes CPU time when it converts: call it in a worker thread.

    Raises:
        UnusableImage: it is broken, hostile, or beyond `limits` where `fit` is false.
    """
    if not body:
        raise UnusableImage("the image is empty")
    if len(body) > MAX_SOURCE_BYTES:
        raise UnusableImage(f"the image has {len(body)} bytes; {MAX_SOURCE_BYTES} are the most that is read")
    size = verified_png(body)
    if size is not None and _within(size, len(body), limits):
        return Prepared(body, "png", *size, Way.PASSED_THROUGH)
    return _convert(body, limits, keep_format=keep_format, fit=fit)


def verified_png(body: bytes) -> tuple[int, int] | None:  # noqa: PLR0911 - one way out a defect
    """
    Width and height, if `body` is a whole and plain PNG that needs no conversion; else None.

    Every chunk's checksum is verified, which finds what Pillow's `verify` misses. None for an animated
    PNG, for one with an EXIF orientation, for 16 bits a channel, and for trailing bytes.
    """
    if not body.startswith(PNG_SIGNATURE):
        return None
    view, position, size, data = memoryview(body), len(PNG_SIGNATURE), None, False
    while position + 12 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, position)
        end = position + 12 + length
        if end > len(body):
            return None
        (expected,) = struct.unpack_from(">I", body, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != expected:
            return None
        if size is None:
            size = _header(kind, body[position + 8 : end - 4])
            if size is None:
                return None
        elif kind in {b"acTL", b"eXIf", b"IHDR"}:
            return None
        data = data or kind == b"IDAT"
        position = end
        if kind == b"IEND":
            return size if data and length == 0 and position == len(body) else None
    return None


def _header(kind: bytes, data: bytes) -> tuple[int, int] | None:
    if kind != b"IHDR" or len(data) != 13:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data)
    plain = colour in {0, 2, 3, 4, 6} and depth <= 8 and (compression, filtering) == (0, 0) and interlace <= 1
    return (width, height) if plain and width > 0 and height > 0 else None


def _within(size: tuple[int, int], length: int, limits: ImageLimits) -> bool:
    return (
        limits.min_side <= min(size)
        and max(size) <= limits.max_side
        and length <= limits.max_bytes
        and size[0] * size[1] <= MAX_PIXELS
    )


def _convert(body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where something must be converted

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(body), formats=READABLE) as image:
                return _render(image, body, limits, keep_format=keep_format, fit=fit)
    except UnusableImage:
        raise
    except UnidentifiedImageError:
        raise UnusableImage(
            "the image is no PNG, JPEG, WebP or GIF, or its header is damaged",
            "Convert it to PNG in the dataset.",
        ) from None
    # On damaged files Pillow raises far more than it documents (SyntaxError, TypeError, struct.error, ...).
    except Exception as error:
        raise UnusableImage(f"the image cannot be decoded ({type(error).__name__}: {error})") from error


def _render(image: Image, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
    from PIL import ImageOps  # noqa: PLC0415

    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage(
            f"the image has {image.width}x{image.height} pixels, which is a decompression bomb or close to it"
        )
    oversize = max(image.size) > limits.max_side or len(body) > limits.max_bytes
    if oversize and not fit:
        raise UnusableImage(
            f"the image is {image.width}x{image.height} pixels and {len(body)} bytes; the model takes "
            f"{limits.max_side} pixels a side and {limits.max_bytes} bytes",
            "Set fit = true under [images] to downscale.",
        )
    if min(image.size) < limits.min_side:
        raise UnusableImage(
            f"the image is {image.width}x{image.height} pixels; the model wants {limits.min_side} a side"
        )
    original = (image.format or "").lower()
    turned = image.getexif().get(0x0112, 1) != 1
    animated = getattr(image, "n_frames", 1) > 1
    image.load()
    if keep_format and original in limits.formats and not (oversize or turned or animated):
        return Prepared(body, original, *image.size, Way.PASSED_THROUGH)
    upright = ImageOps.exif_transpose(image)
    plain = _plain_mode(upright)
    if max(plain.size) > limits.max_side:
        plain.thumbnail((limits.max_side, limits.max_side))
    return _encode(plain, limits, fit=fit)


def _plain_mode(image: Image) -> Image:
    """RGB, or RGBA where something is transparent; what every decoder shows alike."""
    if image.mode in {"RGB", "RGBA", "L"} and "transparency" not in image.info:
        return image
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _eight_bits(image)
    transparent = image.mode in {"LA", "PA", "La", "RGBa"} or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _eight_bits(image: Image) -> Image:
    # Pillow's own convert("L") clips 16 bits instead of scaling them.
    return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")


def _encode(image: Image, limits: ImageLimits, *, fit: bool) -> Prepared:
    while True:
        out = io.BytesIO()
        # Level 1 is three times as fast as Pillow's default, for files 2 % larger.
        image.save(out, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
        body = out.getvalue()
        if len(body) <= limits.max_bytes:
            return Prepared(body, "png", *image.size, Way.CONVERTED)
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
