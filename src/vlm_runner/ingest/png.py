"""
Writing PNG fast: a fixed filter and a fast deflate.

Measured (`benchmarks/RESULTS.md`; 1280x800, CPU): Pillow's own writer takes 160 ms at its default and 55 ms
at level 1; the up filter in numpy and ISA-L's deflate at level 1 take 7 to 10 ms, for files some 12 %
larger. ISA-L's higher levels gain 2 % and cost up to 13 ms; other libraries stand between the two.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any, Final

from isal import isal_zlib

from vlm_runner.ingest.inspect import PNG_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    Chunk = tuple[bytes, bytes, bytes, bytes]
    """Length, kind, data and checksum; joined at the end only, for the data are large."""

COLOUR: Final = {"L": 0, "RGB": 2, "RGBA": 6}
UP: Final = 2
"""Filter type (PNG specification, 9.2): each byte as its difference to the one above it."""
BAND_PIXELS: Final = 4_000_000
"""Larger images are written in bands, which costs 15 % and keeps one copy of their pixels in memory less."""


def encode_png(image: Image) -> bytes:
    """`image`, of mode L, RGB or RGBA, as PNG; its pixels and its ICC profile kept."""
    header = struct.pack(">IIBBBBB", *image.size, 8, COLOUR[image.mode], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *_profile(image), _chunk(b"IDAT", _deflated(image)), _chunk(b"IEND")]
    return b"".join((PNG_SIGNATURE, *itertools.chain.from_iterable(chunks)))


def _deflated(image: Image) -> bytes:
    if image.width * image.height <= BAND_PIXELS:
        return isal_zlib.compress(_filtered(image, None)[0], 1)
    packer, packed, above = isal_zlib.compressobj(1), [], None
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        filtered, above = _filtered(band, above)
        packed.append(packer.compress(filtered))
    return b"".join([*packed, packer.flush()])


def _filtered(image: Image, above: Any) -> tuple[Any, Any]:
    """The rows, each behind its filter type, and the last row as it was."""
    import numpy as np  # noqa: PLC0415 - 0.2 s of CPU that only conversions need

    rows = np.asarray(image).reshape(image.height, -1)
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0] = UP
    out[0, 1:] = rows[0] if above is None else rows[0] - above
    np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
    return out, rows[-1]


def _profile(image: Image) -> Iterator[Chunk]:
    """The ICC profile, if it is one for these pixels: that of a CMYK source does not suit its RGB."""
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if image.mode == "L" else b"RGB "):
        yield _chunk(b"iCCP", b"ICC Profile\0\0" + isal_zlib.compress(profile, 1))


def _chunk(kind: bytes, data: bytes = b"") -> Chunk:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
