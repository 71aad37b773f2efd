"""
What an image's bytes say without decoding them: 0.1 ms where decoding takes 5 to 25.

Bytes come from strangers. Whatever is damaged, unusual or only doubtful is `None` or not `certain`, and is
then for a decoder to judge, away from this process.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isal.isal_zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS: Final = 65_536
"""A chunk is 12 bytes at least: a hostile file of 128 MiB could hold eleven million."""
DEFLATE_RATIO: Final = 1032
"""One byte of deflate unfolds to this many at most, says zlib's documentation: less data is cut short."""
PNG_DEPTHS: Final = {0: {1, 2, 4, 8}, 2: {8}, 3: {1, 2, 4, 8}, 4: {8}, 6: {8}}
"""Bit depths by colour type (PNG specification, 11.2.1), without 16 bits, which models do not need."""
PNG_CRITICAL: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
TURNING: Final = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")
"""Text chunks in which Pillow, and with it `datasets`, looks for an orientation."""
WEBP_UNUSUAL: Final = 0b0000_1110
"""Flags of VP8X for EXIF (8), XMP (4) and animation (2), says the WebP container specification."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image whose container is whole."""

    format: str
    """In Bedrock's words: png, jpeg, gif, webp."""
    width: int
    height: int
    certain: bool
    """It shows the same to everybody as it is: still, upright, of a common colour model."""


class _Damaged(Exception):
    """It is no whole image of its format."""


def inspect(body: bytes) -> Seen | None:
    """What `body` is; None if it is no whole image of a known format. Takes any bytes, raises nothing."""
    try:
        if body.startswith(PNG_SIGNATURE):
            return _png(body)
        if body.startswith(b"\xff\xd8\xff"):
            return _jpeg(body)
        if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
            return _webp(body)
        if body[:6] in {b"GIF87a", b"GIF89a"}:
            return _gif(body)
    except (_Damaged, struct.error, IndexError):
        return None
    return None


def _demand(*conditions: bool) -> None:
    if not all(conditions):
        raise _Damaged


def _png(body: bytes) -> Seen:
    """
    Every chunk's checksum is verified, which finds what Pillow's `verify` misses, ten times as fast.

    The order of chunks is that of the PNG specification, 5.6, as far as decoders rest on it.
    """
    header, palette, certain, data, runs, before = b"", False, True, [], 0, b""
    for kind, start, end in _png_chunks(body):
        if kind == b"IHDR":
            header = body[start:end]
        elif kind == b"IDAT":
            data.append((start, end))
            runs += before != kind
        elif kind == b"PLTE":
            palette = True
            _demand(not data, (end - start) % 3 == 0, 3 <= end - start <= 768)
        elif _may_turn(kind, body[start : start + 24]):
            certain = False
        before = kind
    _demand(runs == 1 and data[0][1] - data[0][0] >= 2, len(header) == 13)
    size, unfolded = _png_header(header, palette=palette)
    first, second = body[data[0][0] : data[0][1]][:2]
    _demand(first & 15 == 8, (first * 256 + second) % 31 == 0, not second & 32)  # RFC 1950, 2.2
    _demand(unfolded <= DEFLATE_RATIO * sum(end - start for start, end in data))
    return Seen("png", *size, certain)


def _png_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk's data; a whole file has IHDR first, IEND last, and no more."""
    view, position, last = memoryview(body), len(PNG_SIGNATURE), len(body)
    for _ in range(MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", body, position)
        start, end = position + 8, position + 8 + length
        (checksum,) = struct.unpack_from(">I", body, end)
        _demand(crc32(view[start - 4 : end]) == checksum, (kind == b"IHDR") == (start == 16))
        _demand(kind[0] & 32 != 0 or kind in PNG_CRITICAL)
        yield kind, start, end
        position = end + 4
        if kind == b"IEND":
            _demand(length == 0, position == last)
            return
    raise _Damaged


def _may_turn(kind: bytes, beginning: bytes) -> bool:
    """True of what animates the image or may hold an orientation."""
    texts = kind in {b"tEXt", b"zTXt", b"iTXt"}
    return kind in {b"acTL", b"eXIf"} or (texts and beginning.startswith(TURNING))


def _png_header(header: bytes, *, palette: bool) -> tuple[tuple[int, int], int]:
    """Width and height, and the bytes of the unfolded data at least."""
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    _demand(depth in PNG_DEPTHS.get(colour, ()), not compression, not filtering, interlace <= 1)
    _demand(0 < width < 2**31, 0 < height < 2**31)
    _demand(palette if colour == 3 else not palette or colour in {2, 6})
    return (width, height), height * ((width * depth * PNG_CHANNELS[colour] + 7) // 8)


def _jpeg(body: bytes) -> Seen:
    """Segments up to the first scan, and the end; damage in the scan only a decoder sees, if at all."""
    size, certain = (0, 0), True
    for kind, segment in _jpeg_segments(body):
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            depth, height, width, components = struct.unpack_from(">BHHB", segment)
            size = (width, height)
            certain &= kind <= 0xC2 and depth == 8 and components in {1, 3}
        elif kind == 0xE1:
            certain &= _upright(segment)
        elif kind == 0xE2 and segment.startswith(b"MPF\0"):
            certain = False
    _demand(body.endswith(b"\xff\xd9"), min(size) > 0)
    return Seen("jpeg", *size, certain)


def _jpeg_segments(body: bytes) -> Iterator[tuple[int, bytes]]:
    position = 2
    for _ in range(MOST_CHUNKS):
        lead, kind, length = struct.unpack_from(">BBH", body, position)
        if lead == kind == 0xFF:
            position += 1
            continue
        end = position + 2 + length
        _demand(lead == 0xFF, length >= 2, end <= len(body), kind >= 0xC0, not 0xD0 <= kind <= 0xD9)
        yield kind, body[position + 4 : end]
        if kind == 0xDA:
            return
        position = end
    raise _Damaged


def _upright(segment: bytes) -> bool:
    """False where EXIF or XMP may turn the image; a camera's usual orientation of 1 is read."""
    if not segment.startswith(b"Exif\0\0"):
        return b"Orientation" not in segment
    order = {b"II": "<", b"MM": ">"}.get(segment[6:8])
    if order is None:
        return False
    (first,) = struct.unpack_from(f"{order}I", segment, 10)
    (count,) = struct.unpack_from(f"{order}H", segment, 6 + first)
    for entry in range(min(count, 256)):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", segment, 8 + first + 12 * entry)
        if tag == 0x0112:
            return bool(kind == 3 and value == 1)
    return True


def _webp(body: bytes) -> Seen:
    kind, data, length = body[12:16], 20, int.from_bytes(body[4:8], "little")
    _demand(length + 8 == len(body))
    _webp_chunks(body)
    certain = True
    if kind == b"VP8X":
        certain = not body[data] & WEBP_UNUSUAL
        size = (1 + int.from_bytes(body[24:27], "little"), 1 + int.from_bytes(body[27:30], "little"))
    elif kind == b"VP8 ":
        _demand(body[data + 3 : data + 6] == b"\x9d\x01\x2a")
        width, height = struct.unpack_from("<HH", body, data + 6)
        size = (width & 0x3FFF, height & 0x3FFF)
    else:
        _demand(kind == b"VP8L", body[data] == 0x2F)
        (bits,) = struct.unpack_from("<I", body, data + 1)
        size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    _demand(min(size) > 0)
    return Seen("webp", *size, certain)


def _webp_chunks(body: bytes) -> None:
    position = 12
    for _ in range(MOST_CHUNKS):
        if position == len(body):
            return
        (length,) = struct.unpack_from("<I", body, position + 4)
        position += 8 + length + (length & 1)
        _demand(position <= len(body))
    raise _Damaged


def _gif(body: bytes) -> Seen:
    width, height = struct.unpack_from("<HH", body, 6)
    _demand(width > 0, height > 0, body[-1] == 0x3B)
    # Whether a second image makes it move is behind blocks of 255 bytes: decoding is not slower than a walk.
    return Seen("gif", width, height, certain=False)
