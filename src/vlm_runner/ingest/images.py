"""
One image: pass through what is right already, convert what is not, refuse what cannot be used.

`prepare` is what staging does; `examine` is the same verdict for lint, without writing what would be
written. Bytes come from strangers: format, size and pixels are checked before anything is allocated for them.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from vlm_runner.image_limits import MAX_PIXELS, MAX_SOURCE_BYTES, READABLE
from vlm_runner.ingest.inspect import (
    CONVERT,
    DAMAGED,
    DOWNSCALE,
    ImageDefect,
    ImageFacts,
    check_png_pixels,
    converted_kind,
    inspect,
    kind_of,
    not_an_image,
    too_many_pixels,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlm_runner.ingest.inspect import Note
    from vlm_runner.models import ModelProfile

EXTENSIONS: Final = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif"}
ORIENTATION: Final = 0x0112
NEVER_LARGER: Final = 4096
"""Bytes that a PNG may take beyond its pixels unpacked."""


class Handling(StrEnum):
    PASSED_THROUGH = "passed through"
    CONVERTED = "converted"
    IN_PLACE = "in place"
    """Nothing is uploaded: its record names it where it lies."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Of the base model; sides in pixels."""

    max_bytes: int
    min_side: int
    max_side: int
    formats: tuple[str, ...]
    """In Bedrock's words: png, jpeg, gif, webp."""
    per_record: int = 1
    fit_side: int | None = None
    """What `fit` downscales to, where that is less than `max_side`."""

    def longest_side(self, *, fit: bool) -> int:
        return self.fit_side if fit and self.fit_side is not None else self.max_side


def limits_of(profile: ModelProfile) -> ImageLimits:
    """
    What the base model takes in training.

    Sides that training does not limit are limited by what is decoded; `fit` makes them fit a call.
    """
    images = profile.images
    return ImageLimits(
        max_bytes=images.max_bytes,
        min_side=images.min_side or 1,
        max_side=images.max_side or MAX_PIXELS,
        formats=images.formats,
        per_record=images.per_record,
        fit_side=images.max_side or profile.inference.max_image_side,
    )


ANY_SIZE: Final = ImageLimits(
    max_bytes=MAX_SOURCE_BYTES, min_side=1, max_side=MAX_PIXELS, formats=("png", "jpeg", "gif", "webp")
)
"""For an image that is sent as it is, whatever its size."""


@dataclass(frozen=True, slots=True)
class Prepared:
    body: bytes
    format: str
    """As the record names it."""
    width: int
    height: int
    way: Handling
    frames: int = 1
    """Of the image that this was made of: frames, or a TIFF's pages. It shows the first."""

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.format]


@dataclass(frozen=True, slots=True)
class Examined:
    """What staging will do with an image that it can use."""

    facts: ImageFacts
    """Of the image as it is."""
    way: Handling


class Convert(Protocol):
    """`convert_here`, in this process or in one that may die of it."""

    def __call__(self, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared: ...


def prepare(
    body: bytes,
    limits: ImageLimits,
    *,
    keep_format: bool,
    fit: bool,
    verified: bool = False,
    convert: Convert | None = None,
) -> Prepared:
    """
    The image as it goes to S3. Takes CPU time when it converts: call it in a worker thread.

    `verified`: `examine` has read the pixels of all images of this dataset, so that one that passes through
    need not be read again.

    Raises:
        ImageDefect: it is damaged, hostile, or beyond `limits` where `fit` is false.
    """
    facts = inspect(body)
    if (
        facts is not None
        and may_pass(facts, len(body), limits, keep_format=keep_format, fit=fit)
        and (verified or (facts.format == "png" and check_png_pixels(body, facts) is None))
    ):
        return Prepared(body, facts.format, facts.width, facts.height, Handling.PASSED_THROUGH)
    return (convert or convert_here)(body, limits, keep_format=keep_format, fit=fit)


def examine(
    body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool, convert: Convert | None = None
) -> Examined:
    """
    What `prepare` makes of the image, found out without writing it wherever that is possible.

    `convert`, in a process of its own, is for formats that are not decoded in this one; without it they are
    refused.

    Raises:
        ImageDefect: `prepare` refuses it, for the same reason.
    """
    facts = inspect(body)
    surplus: Note | None = None
    passes = facts is not None and may_pass(facts, len(body), limits, keep_format=keep_format, fit=fit)
    if facts is not None and passes and facts.format == "png":
        surplus = check_png_pixels(body, facts)
        if surplus is None:
            return Examined(facts, Handling.PASSED_THROUGH)
    if convert is not None and (kind := converted_kind(body)) is not None:
        made = convert(body, limits, keep_format=keep_format, fit=fit)
        notes = tuple(_frames_note(kind, made.frames))
        known = ImageFacts(kind.lower(), made.width, made.height, certain=False, notes=notes)
        return Examined(known, Handling.CONVERTED)
    examined, image = _decoded(body, facts, limits, READABLE, keep_format=keep_format, fit=fit)
    # Only a large image can be too large when it is written; what is written is not kept.
    if (
        image is not None
        and not fit
        and image.width * image.height * 4 + image.height + NEVER_LARGER > limits.max_bytes
    ):
        _encode(image, limits, fit=False)
    if surplus is None:
        return examined
    return replace(examined, facts=replace(examined.facts, notes=(*examined.facts.notes, surplus)))


def size_defects(width: int, height: int, size: int, limits: ImageLimits, *, fit: bool) -> list[ImageDefect]:
    """Why an image of so many pixels a side and bytes cannot be used; `fit` mends what is too large."""
    found: list[ImageDefect] = []
    mend = "Set fit = true under [images]: it is downscaled, the source is not touched."
    if min(width, height) < limits.min_side:
        found.append(
            ImageDefect(
                "I133", f"the image is {width}x{height} pixels; the model wants {limits.min_side} a side"
            )
        )
    if fit:
        return found
    for code, word, pixels in (("I131", "wide", width), ("I132", "high", height)):
        if pixels > limits.max_side:
            found.append(
                ImageDefect(
                    code, f"the image is {pixels:,} pixels {word}; the model takes {limits.max_side:,}", mend
                )
            )
    if size > limits.max_bytes:
        found.append(
            ImageDefect("I130", f"the image has {size:,} bytes; the model takes {limits.max_bytes:,}", mend)
        )
    return found


def may_pass(facts: ImageFacts, size: int, limits: ImageLimits, *, keep_format: bool, fit: bool) -> bool:
    """Whether an image of `size` bytes needs no conversion; its pixels are still to be looked at."""
    return (
        facts.certain
        and _fitting_format(facts.format, limits, keep_format=keep_format)
        and limits.min_side <= min(facts.width, facts.height)
        and max(facts.width, facts.height) <= limits.longest_side(fit=fit)
        and size <= limits.max_bytes
        and facts.width * facts.height <= MAX_PIXELS
    )


def _fitting_format(image_format: str, limits: ImageLimits, *, keep_format: bool) -> bool:
    return image_format == "png" or (keep_format and image_format in limits.formats)


def convert_here(
    body: bytes,
    limits: ImageLimits,
    *,
    keep_format: bool,
    fit: bool,
    formats: tuple[str, ...] = READABLE,
) -> Prepared:
    """Decode the image, and write it as PNG unless it can stay as it is; see `prepare`."""
    examined, image = _decoded(body, inspect(body), limits, formats, keep_format=keep_format, fit=fit)
    if image is None:
        facts = examined.facts
        return Prepared(body, facts.format, facts.width, facts.height, examined.way)
    return replace(_encode(image, limits, fit=fit), frames=examined.facts.frames)


def _decoded(
    body: bytes,
    container: ImageFacts | None,
    limits: ImageLimits,
    formats: tuple[str, ...],
    *,
    keep_format: bool,
    fit: bool,
) -> tuple[Examined, Image | None]:
    """What it is, and its pixels as they are to be written; None where it stays as it is."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where something must be decoded

    known = kind_of(body) or converted_kind(body)
    if known is not None and known not in formats:
        raise _not_read(known, body)
    try:
        with warnings.catch_warnings():
            # Of damaged metadata, which decide nothing; of large images, which are measured below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(body), formats=formats) as image:
                return _rendered(image, body, container, limits, keep_format=keep_format, fit=fit)
    except ImageDefect:
        raise
    except Image.DecompressionBombError as error:
        raise ImageDefect("I134", str(error), DOWNSCALE) from None
    except UnidentifiedImageError:
        raise (
            ImageDefect(DAMAGED.get(known, "I129"), f"the {known}'s header is damaged")
            if known
            else not_an_image(body)
        ) from None
    except MemoryError:
        raise ImageDefect("I134", "decoding the image takes too much memory", DOWNSCALE) from None
    # On damaged files Pillow raises far more than it documents (SyntaxError, TypeError, struct.error, ...).
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        code = "I137" if "too large" in said.lower() else DAMAGED.get(known, "I129") if known else "I110"
        raise ImageDefect(code, f"the image cannot be decoded ({type(error).__name__}: {said})") from error


def _rendered(
    image: Image,
    body: bytes,
    container: ImageFacts | None,
    limits: ImageLimits,
    *,
    keep_format: bool,
    fit: bool,
) -> tuple[Examined, Image | None]:
    # Before pixels are allocated.
    if image.width * image.height > MAX_PIXELS:
        raise too_many_pixels(*image.size)
    if defects := size_defects(*image.size, len(body), limits, fit=fit):
        raise defects[0]
    longest = limits.longest_side(fit=fit)
    oversize = max(image.size) > longest or len(body) > limits.max_bytes
    original, frames = (image.format or "").lower(), getattr(image, "n_frames", 1)
    image.load()
    if image.width * image.height > MAX_PIXELS:  # an ICO's header may say less than the image in it
        raise too_many_pixels(*image.size)
    turn = _orientation(image)
    facts = ImageFacts(
        original,
        *image.size,
        certain=False,
        frames=frames,
        notes=(*(container.notes if container is not None else ()), *_notes(image, original, frames, turn)),
    )
    as_it_is = (
        container is not None
        and not any(code == "I128" for code, _ in container.notes)
        and frames == 1
        and turn == 1
        and image.mode != "CMYK"
        and not image.mode.startswith("I")
    )
    if as_it_is and not oversize and _fitting_format(original, limits, keep_format=keep_format):
        return Examined(facts, Handling.PASSED_THROUGH), None
    plain = _plain_mode(_upright(image, turn))
    if max(plain.size) > longest:
        plain.thumbnail((longest, longest))
    return Examined(facts, Handling.CONVERTED), plain


def _not_read(kind: str, body: bytes) -> ImageDefect:
    if kind == "HEIF":
        hint = "Install it with: pip install 'vlm-runner[heic]'; or convert the image to PNG in the dataset."
        return ImageDefect("I113", "the image is HEIC, whose decoder is not installed", hint)
    return not_an_image(body)


def _orientation(image: Image) -> int:
    """EXIF's orientation; 1 (upright) where its block cannot be read, since then nobody turns the image."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises whatever a broken block makes it stumble over
        return 1
    return turn if turn in range(2, 9) else 1


def _upright(image: Image, turn: int) -> Image:
    from PIL import ImageOps  # noqa: PLC0415

    return image if turn == 1 else ImageOps.exif_transpose(image)


def _frames_note(kind: str, frames: int) -> list[Note]:
    return [("I143", f"{frames} {'pages' if kind.lower() == 'tiff' else 'frames'}")] if frames > 1 else []


def _notes(image: Image, kind: str, frames: int, turn: int) -> list[Note]:
    found = _frames_note(kind, frames)
    if turn != 1:
        found.append(("I144", f"EXIF orientation {turn}"))
    if image.mode in {"CMYK", "YCCK"}:
        found.append(("I140", f"colours are {image.mode}"))
    return found


def _plain_mode(image: Image) -> Image:
    """L or RGB, or RGBA where something may be transparent; what every decoder shows alike."""
    if image.mode in {"RGB", "RGBA", "L"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode == "F":
        raise ImageDefect("I113", "the pixels of the image are fractions", CONVERT)
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    transparent = image.mode in {"LA", "PA"} or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _eight_bits(image: Image) -> Image:
    """
    16 bits scaled to 8, which Pillow's own convert("L") clips.

    Raises:
        ImageDefect: its numbers have more than 16 bits, and nobody knows which of them is white.
    """
    import numpy as np  # noqa: PLC0415 - see `vlm_runner.ingest.png`
    from PIL import Image as Images  # noqa: PLC0415

    numbers = np.asarray(image)
    if numbers.min() < 0 or numbers.max() > 65_535:
        raise ImageDefect("I113", "the image has 32 bits a pixel", CONVERT)
    scaled = (numbers.astype(np.uint32) + 128) // 257
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
            raise ImageDefect(
                "I138",
                f"the image is {len(body):,} bytes as PNG; the model takes {limits.max_bytes:,}",
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
