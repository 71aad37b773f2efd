"""
What an image's bytes say without decoding them: 0.1 ms where decoding takes 5 to 25.

Bytes come from strangers. Whatever is damaged, unusual or only doubtful is `None` or not `certain`, and is
then for a decoder to judge, away from this process.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from isal.isal_zlib import crc32

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS: Final = 65_536
"""A chunk is 12 bytes at least: a hostile file of 128 MiB could hold eleven million."""
DEFLATE_RATIO: Final = 1032
"""One byte of deflate unfolds to this many at most, says zlib's documentation: less data is cut short."""
PNG_DEPTHS: Final = {0: {1, 2, 4, 8}, 2: {8}, 3: {1, 2, 4, 8}, 4: {8}, 6: {8}}
"""Bit depths by colour type (PNG specification, 11.2.1), without 16 bits, which models do not need."""
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
    except (struct.error, IndexError):
        return None
    return None


def _png(body: bytes) -> Seen | None:
    """
    Every chunk's checksum is verified, which finds what Pillow's `verify` misses, ten times as fast.

    The order of chunks is that of the PNG specification, 5.6, as far as decoders rest on it.
    """
    view, position, header, palette, certain = memoryview(body), 8, b"", False, True
    data_bytes, data_first, after_data = 0, b"", False
    for _ in range(MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", body, position)
        end = position + 12 + length
        if end > len(body) or crc32(view[position + 4 : end - 4]) != int.from_bytes(body[end - 4 : end]):
            return None
        if (kind == b"IHDR") != (position == 8):
            return None
        if kind == b"IDAT":
            if after_data:
                return None
            data_first = data_first or body[position + 8 : position + 10]
            data_bytes += length
        elif data_bytes:
            after_data = True
        if kind == b"IHDR":
            header = body[position + 8 : end - 4]
        elif kind == b"PLTE":
            palette = True
            if data_bytes or length % 3 or not 3 <= length <= 768:
                return None
        elif kind == b"IEND":
            size = _png_size(header, palette=palette, data_bytes=data_bytes, data_first=data_first)
            whole = size is not None and length == 0 and end == len(body)
            return Seen("png", *size, certain) if size is not None and whole else None
        elif kind[:1].isupper() and kind != b"IDAT":
            return None
        elif kind in {b"acTL", b"eXIf"} or (
            kind in {b"tEXt", b"zTXt", b"iTXt"} and body[position + 8 : end].startswith(TURNING)
        ):
            certain = False
        position = end
    return None


def _png_size(
    header: bytes, *, palette: bool, data_bytes: int, data_first: bytes
) -> tuple[int, int] | None:
    if len(header) != 13 or len(data_first) != 2:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        return None
    if not 0 < width < 2**31 or not 0 < height < 2**31 or palette < (colour == 3) or (palette and colour in {0, 4}):
        return None
    unfolded = height * (1 + (width * depth * PNG_CHANNELS[colour] + 7) // 8)
    first, second = data_first
    plain_zlib = first & 15 == 8 and (first * 256 + second) % 31 == 0 and not second & 32
    return (width, height) if plain_zlib and unfolded <= data_bytes * DEFLATE_RATIO else None


def _jpeg(body: bytes) -> Seen | None:
    """Segments up to the first scan, and the end; the scan itself shows damage to a decoder only, if at all."""
    if not body.endswith(b"\xff\xd9"):
        return None
    position, size, certain = 2, None, True
    while True:
        if body[position] != 0xFF:
            return None
        kind = body[position + 1]
        if kind == 0xFF:
            position += 1
            continue
        (length,) = struct.unpack_from(">H", body, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(body):
            return None
        segment = body[position + 4 : end]
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            depth, height, width, components = struct.unpack_from(">BHHB", segment)
            size = (width, height)
            certain &= kind <= 0xC2 and depth == 8 and components in {1, 3}
        elif kind == 0xE1:
            certain &= _upright(segment)
        elif kind == 0xE2 and segment.startswith(b"MPF\0"):
            certain = False
        elif kind == 0xDA:
            return Seen("jpeg", *size, certain) if size is not None and min(size) > 0 else None
        elif kind in {0x00, 0x01, 0xD8, 0xD9} or 0xD0 <= kind <= 0xD7:
            return None
        position = end


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


def _webp(body: bytes) -> Seen | None:
    if int.from_bytes(body[4:8], "little") + 8 != len(body):
        return None
    kind, data = body[12:16], 20
    certain, canvas = True, None
    if kind == b"VP8X":
        certain = not body[20] & WEBP_UNUSUAL
        canvas = (1 + int.from_bytes(body[24:27], "little"), 1 + int.from_bytes(body[27:30], "little"))
        return Seen("webp", *canvas, certain) if _webp_chunks(body) else None
    if not _webp_chunks(body):
        return None
    if kind == b"VP8 " and body[data + 3 : data + 6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, data + 6)
        size = (width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L" and body[data] == 0x2F:
        bits = int.from_bytes(body[data + 1 : data + 5], "little")
        size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    else:
        return None
    return Seen("webp", *size, certain) if min(size) > 0 else None


def _webp_chunks(body: bytes) -> bool:
    position = 12
    for _ in range(MOST_CHUNKS):
        if position == len(body):
            return True
        (length,) = struct.unpack_from("<I", body, position + 4)
        position += 8 + length + (length & 1)
        if position > len(body):
            return False
    return False


def _gif(body: bytes) -> Seen | None:
    """Whole if it ends as it must; a second image in it makes it animated."""
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    if not width or not height or body[-1] != 0x3B:
        return None
    # Walking 255-byte blocks in Python would cost more than decoding: it is never certain.
    return Seen("gif", width, height, certain=False) if flags & 0x80 else None
