"""
What an image is and what is wrong with it, as fast as it can be known for sure.

A plain PNG is verified without decoding it: every checksum, and the pixels' own stream to its last byte.
Everything else is decoded by Pillow. Nothing is allocated for pixels before their number is known.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from vlm_runner.lint.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from vlm_runner.lint.finding import Finding, Location
    from vlm_runner.models import ModelProfile
    from vlm_runner.spec import ImagesSpec

MAX_PIXELS: Final = 89_478_485
MAX_BYTES: Final = 128 * 1024 * 1024
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF")
DAMAGED: Final = {"JPEG": "I124", "GIF": "I125", "WEBP": "I126", "PNG": "I127"}
PLAIN_CHUNKS: Final = frozenset(
    [
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"pHYs",
        b"tIME",
        b"bKGD",
        b"sBIT",
    ]
)
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
PIECE: Final = 1 << 20
EXTENSIONS: Final = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}
OTHERS: Final = (
    (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"%PDF", "PDF"), (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\x8aMNG", "MNG"),
    (b"qoif", "QOI"), (b"P6", "PPM"), (b"P5", "PGM"), (b"DDS ", "DDS"), (b"\x76\x2f\x31\x01", "OpenEXR"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageFacts:
    format: str
    """In Bedrock's words: png, jpeg, gif, webp."""
    width: int
    height: int
    size: int
    mode: str = "RGB"
    plain: bool = True
    """Nothing about it must be converted."""
    odd: tuple[tuple[str, str], ...] = field(default=())
    """Codes of what is special about it, each with its words."""


class ImageDefect(Exception):
    """The image cannot be used: the rule's code, and what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow's warnings are errors inside; once around all threads, since the filters are the process's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"PIL\.")
        yield


def inspect(body: bytes) -> ImageFacts:
    """
    What `body` is.

    Raises:
        Flawed: it is no whole image.
    """
    if not body:
        raise ImageDefect("I102", "the image has no bytes")
    if len(body) > MAX_BYTES:
        raise ImageDefect("I135", f"the image has {len(body):,} bytes")
    if body.startswith(SIGNATURE):
        facts, sure = _png(body)
        if sure:
            return facts
        return _decoded(body, facts.odd)
    return _decoded(body, ())


def _png(body: bytes) -> tuple[ImageFacts, bool]:
    """Facts from the chunks; and whether they are all that there is to know."""
    view, position, header, data, plain = memoryview(body), len(SIGNATURE), b"", [], True
    while True:
        if position + 12 > len(body):
            raise ImageDefect(
                "I120", f"the PNG ends at byte {len(body):,}, in the middle of a chunk or before its end"
            )
        length, kind = struct.unpack_from(">I4s", body, position)
        end = position + 12 + length
        if end > len(body):
            raise ImageDefect(
                "I120", f"the PNG ends at byte {len(body):,}; its chunk {_name(kind)} goes on to {end:,}"
            )
        if isal_zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", body, end - 4)[0]:
            raise ImageDefect("I121", f"the checksum of chunk {_name(kind)} at byte {position:,} is wrong")
        content = view[position + 8 : end - 4]
        if not header:
            header = _header(kind, bytes(content))
        elif kind == b"IHDR":
            raise ImageDefect("I123", "the PNG has two headers")
        if kind == b"IDAT":
            data.append(content)
        plain = plain and kind in PLAIN_CHUNKS
        position = end
        if kind == b"IEND":
            break
    if not data:
        raise ImageDefect("I122", "the PNG holds no pixels")
    odd = (("I128", f"{len(body) - position:,} bytes after the image's end"),) if position < len(body) else ()
    return _pixels(header, data, len(body), odd, plain=plain)


def _header(kind: bytes, content: bytes) -> bytes:
    if kind != b"IHDR" or len(content) != 13:
        raise ImageDefect("I123", "the PNG does not begin with a header")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    possible = depth in DEPTHS.get(colour, set()) and (compression, filtering) == (0, 0) and interlace <= 1
    if not possible or not width or not height:
        raise ImageDefect(
            "I123", f"the PNG's header says {width}x{height}, depth {depth}, colour type {colour}"
        )
    if width * height > MAX_PIXELS:
        raise ImageDefect("I134", f"the image is {width:,}x{height:,} pixels")
    return content


def _pixels(
    header: bytes, data: list[memoryview], size: int, odd: tuple[tuple[str, str], ...], *, plain: bool
) -> tuple[ImageFacts, bool]:
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    facts = ImageFacts("png", width, height, size, mode=str(colour), plain=not odd, odd=odd)
    if not plain or interlace or depth == 16 or colour == 3:
        return facts, False
    stride = 1 + (width * CHANNELS[colour] * depth + 7) // 8
    more = _inflate(data, stride, height)
    if more:
        odd = (*odd, ("I136", "the PNG holds more pixels than its header says"))
    return ImageFacts("png", width, height, size, mode=str(colour), plain=not odd, odd=odd), True


def _inflate(data: list[memoryview], stride: int, height: int) -> bool:
    """Read the pixels' stream to its end, a piece at a time; whether there were more than there should be."""
    expected, done, stream = stride * height, 0, isal_zlib.decompressobj()
    try:
        for chunk in data:
            rest: bytes | memoryview = chunk
            while rest:
                piece = stream.decompress(rest, PIECE)
                rest = stream.unconsumed_tail
                first = -done % stride
                if max(piece[first : max(first, expected - done) : stride], default=0) > 4:
                    raise ImageDefect(
                        "I122", f"the PNG's line {(done + first) // stride} or a later one is damaged"
                    )
                done += len(piece)
                if done > expected:
                    return True
                if not piece and not rest:
                    break
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stubs call the class an instance
        raise ImageDefect("I122", f"the PNG's pixels cannot be decompressed ({error})") from None
    if done < expected:
        raise ImageDefect("I122", f"the PNG holds {done:,} of {expected:,} bytes of pixels")
    return False


def _decoded(body: bytes, odd: tuple[tuple[str, str], ...]) -> ImageFacts:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where something must be decoded

    known = _known(body)
    try:
        with Image.open(io.BytesIO(body), formats=READABLE) as image:
            return _facts(image, len(body), odd)
    except ImageDefect:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageDefect("I134", str(error)) from None
    except UnidentifiedImageError:
        raise (
            ImageDefect(DAMAGED[known], f"the {known}'s header is damaged") if known else _foreign(body)
        ) from None
    # On damaged files Pillow raises far more than it documents (SyntaxError, TypeError, struct.error, …).
    except Exception as error:  # noqa: BLE001
        if "too large" in str(error).lower():
            raise ImageDefect("I137", f"{error}") from None
        kind = DAMAGED.get(known or "", "I110")
        raise ImageDefect(kind, f"the image cannot be decoded ({type(error).__name__}: {error})") from None


def _facts(image: Image, size: int, odd: tuple[tuple[str, str], ...]) -> ImageFacts:
    if image.width * image.height > MAX_PIXELS:
        raise ImageDefect("I134", f"the image is {image.width:,}x{image.height:,} pixels")
    found, original = list(odd), (image.format or "").lower()
    if (frames := getattr(image, "n_frames", 1)) > 1:
        found.append(("I143", f"{frames} frames"))
    mode = image.mode
    # Older than EXIF in PNG: the orientation is read before the pixels, where it stands first.
    image.load()
    if image.getexif().get(0x0112, 1) not in {0, 1}:
        found.append(("I144", f"EXIF orientation {image.getexif()[0x0112]}"))
    if mode in {"CMYK", "YCCK"}:
        found.append(("I140", f"colours are {mode}"))
    if mode == "I" or mode.startswith("I;16"):
        found.append(("I141", f"mode {mode}"))
    if mode == "P" and "transparency" in image.info:
        found.append(("I142", "a palette with transparency"))
    return ImageFacts(original, image.width, image.height, size, mode=mode, plain=not found, odd=tuple(found))


def _known(body: bytes) -> str | None:
    if body.startswith(SIGNATURE):
        return "PNG"
    if body.startswith(b"\xff\xd8"):
        return "JPEG"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WEBP" if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


def _foreign(body: bytes) -> ImageDefect:
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if body.startswith(b"version https://git-lfs"):
        return ImageDefect("I114", "the file is a Git LFS pointer")
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        return ImageDefect("I111", "the file is an SVG")
    if re.match(rb"<(!doctype html|html|head|body)|\{|not found|error", head):
        return ImageDefect("I112", f"the file is a text: {body[:40].decode('utf-8', 'replace')!r}")
    for magic, name in OTHERS:
        if body.startswith(magic):
            return ImageDefect("I113", f"the image is {name}")
    if body[4:8] == b"ftyp":
        return ImageDefect(
            "I113", f"the image is {body[8:12].decode('latin-1').strip().upper()} (AVIF or HEIC)"
        )
    return ImageDefect("I110", f"the file begins with {body[:8]!r}, which is no image that is read")


def _name(kind: bytes) -> str:
    return kind.decode("latin-1") if kind.isalpha() else repr(kind)


def check_size(
    facts: ImageFacts, profile: ModelProfile, images: ImagesSpec | None, at: Location
) -> Iterator[Finding]:
    """
    Findings about an image's bytes and sides.

    `images` is how the spec treats it; None: it is sent as it is.
    """
    rules = profile.images
    fit = images is not None and images.fit
    mend = (
        None
        if images is None
        else "Set fit = true under [images]: it is downscaled, the source is not touched."
    )
    longest = rules.max_side or profile.inference.max_image_side
    side = rules.source_of("max_side") if rules.max_side else profile.inference.source_of("max_image_side")
    for code, word, pixels in (("I131", "wide", facts.width), ("I132", "high", facts.height)):
        if pixels > longest and not fit:
            yield rule(code).found(
                f"{pixels:,} pixels {word}; {profile.name} takes {longest:,}",
                source=side, fix=mend, fixes="fit" if images is not None else None, at=at,
            )  # fmt: skip
    if facts.size > rules.max_bytes and not fit:
        yield rule("I130").found(
            f"{facts.size:,} bytes; {profile.name} takes {rules.max_bytes:,}",
            source=rules.source_of("max_bytes"), fix=mend, fixes="fit" if images is not None else None, at=at,
        )  # fmt: skip
    least = rules.min_side or 1
    if min(facts.width, facts.height) < least:
        yield rule("I133").found(
            f"{facts.width}x{facts.height} pixels; {profile.name} wants {least} a side",
            source=rules.source_of("min_side"), fixes="skip" if images is not None else None, at=at,
        )  # fmt: skip
    limits = profile.inference
    if facts.size > limits.max_image_bytes or max(facts.width, facts.height) > limits.max_image_side:
        yield rule("I150").found(
            f"{facts.width:,}x{facts.height:,} pixels, {facts.size:,} bytes; a call takes "
            f"{limits.max_image_side:,} a side and {limits.max_image_bytes:,} bytes",
            source=limits.source_of("max_image_bytes"), at=at,
        )  # fmt: skip
