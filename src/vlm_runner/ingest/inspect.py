"""
What an image's bytes say without decoding them: 0.1 ms where decoding takes 5 to 25. The one inspector, for
lint and for staging.

Bytes come from strangers. What is damaged for certain is an `ImageDefect`; what is unusual, or only
doubtful, is not `certain`, and is then for a decoder to judge, away from this process.
"""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from isal import isal_zlib
from isal.isal_zlib import crc32

from vlm_runner.image_limits import MAX_PIXELS, MAX_SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PNG_END: Final = b"\0\0\0\0IEND" + crc32(b"IEND").to_bytes(4, "big")
NO_PIXELS: Final = b"\0\0\0\0IDAT" + crc32(b"IDAT").to_bytes(4, "big")
JPEG_END: Final = b"\xff\xd9"
MOST_CHUNKS: Final = 65_536
"""A chunk is 12 bytes at least: a hostile file of 128 MiB could hold eleven million."""
PNG_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
"""Bit depths by colour type (PNG specification, 11.2.1)."""
PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_PACKED: Final = {b"zTXt", b"iTXt", b"iCCP"}
"""Chunks whose content may be compressed."""
MOST_UNPACKED_TOGETHER: Final = 64 * 1024 * 1024
"""Bytes of all such chunks of an image; Pillow refuses more text (PngImagePlugin.MAX_TEXT_MEMORY)."""
MOST_UNPACKED: Final = 1024 * 1024
"""Bytes of one such chunk's content; Pillow refuses more (PngImagePlugin.MAX_TEXT_CHUNK)."""
ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column, first row, and steps of the passes of an interlaced PNG (PNG specification, 8.2)."""
PIECE: Final = 1 << 20
"""Bytes of pixels that are inflated at once."""
TURNING: Final = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")
"""Text chunks in which Pillow, and with it `datasets`, looks for an orientation."""
WEBP_UNUSUAL: Final = 0b0000_1110
"""Flags of VP8X for EXIF (8), XMP (4) and animation (2), says the WebP container specification."""
DAMAGED: Final = {"JPEG": "I124", "GIF": "I125", "WEBP": "I126", "PNG": "I127"}
CONVERTED: Final = (
    (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
)  # fmt: skip
"""How formats begin that are only read to be converted, in another process, and their names in Pillow."""
BRANDS: Final = {
    b"avif": "AVIF", b"avis": "AVIF",
    b"heic": "HEIF", b"heix": "HEIF", b"heim": "HEIF", b"heis": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF",
}  # fmt: skip
"""Of the file format that AVIF and HEIC share (ISO/IEC 23008-12, section 10)."""
OTHERS: Final = (
    (b"%PDF", "PDF"), (b"8BPS", "PSD"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\x8aMNG", "MNG"), (b"qoif", "QOI"), (b"DDS ", "DDS"), (b"\x76\x2f\x31\x01", "OpenEXR"),
)  # fmt: skip
REPLACE: Final = "Replace it, or leave the row out."
DOWNSCALE: Final = "Downscale it in the dataset."
CONVERT: Final = "Convert it to PNG in the dataset."

Note = tuple[str, str]
"""The code of a rule of lint, and what was found."""


class ImageDefect(ValueError):
    """
    Why an image cannot be used: the code of a rule (`vlm_runner.lint.rules`), a clause without a final
    period, and what can be done.
    """

    def __init__(self, code: str, reason: str, hint: str | None = REPLACE) -> None:
        super().__init__(reason)
        self.code = code
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image whose container is whole."""

    format: str
    """In Bedrock's words: png, jpeg, gif, webp."""
    width: int
    height: int
    certain: bool
    """It shows the same to everybody as it is: still, upright, of a common colour model."""
    notes: tuple[Note, ...] = ()
    """What is special about it."""
    data: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    """Of a PNG, where its pixels' stream begins and ends in each chunk."""
    frames: int = 1


class _Damaged(Exception):
    """It is not a whole image of its format."""


def inspect(body: bytes) -> ImageFacts | None:
    """
    What `body` is; None where only a decoder can tell.

    Raises:
        ImageDefect: it is empty, larger than is read, or a damaged PNG.
    """
    if not body:
        raise ImageDefect("I102", "the image is empty")
    if len(body) > MAX_SOURCE_BYTES:
        raise ImageDefect(
            "I135",
            f"the image has {len(body):,} bytes; {MAX_SOURCE_BYTES:,} is the most that is read",
            DOWNSCALE,
        )
    if body.startswith(PNG_SIGNATURE):
        return _png(body)
    try:
        if body.startswith(b"\xff\xd8\xff"):
            return _jpeg(body)
        if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
            return _webp(body)
        if body[:6] in {b"GIF87a", b"GIF89a"}:
            return _gif(body)
    except (_Damaged, struct.error, IndexError):
        return None
    return None


def inspect_ends(head: bytes, tail: bytes, size: int) -> ImageFacts | None:
    """
    What the first and the last bytes of an image of `size` bytes say; None: they do not tell enough.

    Whether it is cut off is seen by its end. What lies between, the pixels, is not looked at.
    """
    if len(head) == size:
        return inspect(head)
    try:
        if head.startswith(PNG_SIGNATURE) and tail == PNG_END:
            # Decoders know by what precedes the pixels how to read them.
            return replace(_png(head[: _first_pixels(head)] + NO_PIXELS + PNG_END), data=())
        if head.startswith(b"\xff\xd8\xff") and tail.endswith(JPEG_END):
            return _jpeg(head + JPEG_END)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp_facts(head, size)
    except (_Damaged, ImageDefect, struct.error, IndexError):
        return None
    return None


def _first_pixels(head: bytes) -> int:
    position = len(PNG_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", head, position)
        if kind == b"IDAT":
            return position
        position += 12 + length


def kind_of(body: bytes) -> str | None:
    """The format that the first bytes promise, in Pillow's words."""
    if body.startswith(PNG_SIGNATURE):
        return "PNG"
    if body.startswith(b"\xff\xd8"):
        return "JPEG"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WEBP" if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


def converted_kind(body: bytes) -> str | None:
    """
    The format that the first bytes promise, of those that are only read to be converted, in Pillow's words.

    AVIF's own brand may stand behind a general one.
    """
    if body[4:8] == b"ftyp":
        size = min(int.from_bytes(body[:4], "big"), 256)
        brands = [body[8:12], *(body[at : at + 4] for at in range(16, size - 3, 4))]
        if {b"avif", b"avis"}.intersection(brands):
            return "AVIF"
        return next((BRANDS[brand] for brand in brands if brand in BRANDS), None)
    if re.match(rb"P[1-6][ \t\r\n#]", body):
        return "PPM"
    return next((name for magic, name in CONVERTED if body.startswith(magic)), None)


def not_an_image(body: bytes) -> ImageDefect:
    """What `body` is instead of an image that is read."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if body.startswith(b"version https://git-lfs"):
        return ImageDefect("I114", "the file is a Git LFS pointer", "Run: git lfs pull")
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        return ImageDefect("I111", "the file is an SVG", CONVERT)
    if re.match(rb"<(!doctype html|html|head|body)|\{|not found|error", head):
        return ImageDefect("I112", f"the file is text: {body[:40].decode('utf-8', 'replace')!r}")
    other = next((name for magic, name in OTHERS if body.startswith(magic)), None)
    if (name := converted_kind(body) or other) is not None:
        return ImageDefect(
            "I113", f"the image is {name}, which is not read{'' if other else ' here'}", CONVERT
        )
    if body[4:8] == b"ftyp":
        brand = body[8:12].decode("latin-1").strip().upper()
        return ImageDefect("I113", f"the file is {brand} (a video, or an image that is not read)", CONVERT)
    return ImageDefect("I110", f"the file begins with {body[:8]!r}, which is not a PNG, JPEG, WebP or GIF")


def too_many_pixels(width: int, height: int) -> ImageDefect:
    return ImageDefect(
        "I134",
        f"the image has {width:,}x{height:,} pixels; {MAX_PIXELS:,} is the most that is decoded",
        DOWNSCALE,
    )


def _demand(*conditions: bool) -> None:
    if not all(conditions):
        raise _Damaged


def _png(body: bytes) -> ImageFacts:
    """
    Every chunk's checksum is verified, which finds what Pillow's `verify` misses, ten times as fast.

    The order of chunks is that of the PNG specification, 5.6, as far as decoders rest on it; another order
    is for a decoder to judge.
    """
    header, palette, certain, data, runs, before, last = b"", False, True, [], 0, b"", 0
    packed = _Packed()
    notes: list[Note] = []
    for kind, start, end in _png_chunks(body):
        if kind == b"IHDR":
            header = body[start:end]
        elif kind == b"IDAT":
            data.append((start, end))
            runs += before != kind
        elif kind == b"PLTE":
            palette = True
            certain &= not data and (end - start) % 3 == 0 and 3 <= end - start <= 768
        elif kind == b"tRNS" and header[9:10] == b"\3":
            notes.append(("I142", "a palette with transparency"))
        elif kind != b"IEND" or start != end:
            certain &= _harmless(kind, body, start, end, packed)
        before = kind
        last = end + 4
    if not data:
        raise ImageDefect("I122", "the PNG holds no pixels")
    if last < len(body):
        notes.append(("I128", f"{len(body) - last:,} bytes after the image's end"))
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", header)
    if depth == 16:
        notes.append(("I141", "16 bits a channel"))
    certain &= runs == 1 and depth != 16 and last == len(body)
    certain &= palette if colour == 3 else not palette or colour in {2, 6}
    return ImageFacts("png", width, height, certain, tuple(notes), tuple(data))


def _harmless(kind: bytes, body: bytes, start: int, end: int, packed: _Packed) -> bool:
    """False of a chunk that decoders must know, that animates, or that may hold an orientation."""
    if kind in PNG_PACKED:
        packed.add(kind, body[start:end])
    return bool(kind[0] & 32) and not _may_turn(kind, body[start : start + 24])


def _png_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """
    Kind, start and end of each chunk's data, up to IEND.

    Raises:
        ImageDefect: the file is cut off, a checksum is wrong, or the header is missing or impossible.
    """
    view, position, size = memoryview(body), len(PNG_SIGNATURE), len(body)
    for number in range(MOST_CHUNKS):
        if position + 12 > size:
            raise ImageDefect("I120", f"the PNG ends at byte {size:,}, in a chunk or before its end")
        length, kind = struct.unpack_from(">I4s", body, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > size:
            raise ImageDefect(
                "I120", f"the PNG ends at byte {size:,}; its chunk {_name(kind)} goes on to {end + 4:,}"
            )
        if crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ImageDefect("I121", f"the checksum of chunk {_name(kind)} at byte {position:,} is wrong")
        if (kind == b"IHDR") != (number == 0):
            raise ImageDefect(
                "I123", "the PNG has two headers" if number else "the PNG does not begin with a header"
            )
        if number == 0:
            _check_png_header(body[start:end])
        yield kind, start, end
        if kind == b"IEND":
            return
        position = end + 4
    raise ImageDefect("I120", f"the PNG has more than {MOST_CHUNKS:,} chunks and no end")


def _check_png_header(header: bytes) -> None:
    if len(header) != 13:
        raise ImageDefect("I123", f"the PNG's header has {len(header)} bytes instead of 13")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    possible = (
        depth in PNG_DEPTHS.get(colour, set()) and (compression, filtering) == (0, 0) and interlace <= 1
    )
    if not possible or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise ImageDefect(
            "I123", f"the PNG's header says {width}x{height}, depth {depth}, colour type {colour}"
        )
    if width * height > MAX_PIXELS:
        raise too_many_pixels(width, height)


def check_png_pixels(body: bytes, facts: ImageFacts) -> Note | None:
    """
    Read the pixels' stream of a PNG to its end, a piece at a time: some 2 ms for a page of 1280x800.

    Returns a note where it holds more than the header says.

    Raises:
        ImageDefect: I122, it cannot be inflated, is too short, or names an unknown filter.
    """
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", body, 16)
    bits = depth * PNG_CHANNELS[colour]
    stride = 1 + (width * bits + 7) // 8
    expected, done = _unfolded(width, height, bits) if interlace else stride * height, 0
    view = memoryview(body)
    try:
        for piece in _inflated(view[start:end] for start, end in facts.data):
            if not interlace:
                first = -done % stride
                if max(piece[first : max(first, expected - done) : stride], default=0) > 4:
                    raise ImageDefect(
                        "I122", f"the PNG's line {(done + first) // stride} or a later one is damaged"
                    )
            done += len(piece)
            if done > expected:
                return ("I136", "the PNG holds more pixels than its header says")
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stubs call the class an instance
        raise ImageDefect("I122", f"the PNG's pixels cannot be decompressed ({error})") from None
    if done < expected:
        raise ImageDefect("I122", f"the PNG holds {done:,} of {expected:,} bytes of pixels")
    return None


def _unfolded(width: int, height: int, bits: int) -> int:
    """Bytes of an interlaced PNG's pixels: those of its seven passes."""
    total = 0
    for left, top, across, down in ADAM7:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and lines > 0:
            total += lines * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(chunks: Iterable[memoryview]) -> Iterator[bytes]:
    """The stream's content in pieces; it may end before the stream does, and then it was cut off."""
    stream = isal_zlib.decompressobj()
    # The empty piece at the end: output that was held back because a piece was full comes when asked for.
    for chunk in itertools.chain(chunks, [memoryview(b"")]):
        rest: bytes | memoryview = chunk
        while not stream.eof:
            piece = stream.decompress(rest, PIECE)
            rest = stream.unconsumed_tail
            if piece:
                yield piece
            elif not rest:
                break


@dataclass(slots=True)
class _Packed:
    """The texts and profiles of one PNG."""

    unpacked: int = 0

    def add(self, kind: bytes, content: bytes) -> None:
        self.unpacked += _unpacked(kind, content)
        if self.unpacked > MOST_UNPACKED_TOGETHER:
            raise ImageDefect("I137", "the PNG's texts and profiles unpack to more than 64 MiB")


def _unpacked(kind: bytes, content: bytes) -> int:
    """
    To how many bytes a text or profile unpacks; every reader would unpack it.

    Raises:
        ImageDefect: to far more than it is.
    """
    _, _, rest = content.partition(b"\0")
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.split(b"\0", 2)[-1] if packed else b""
    else:
        rest = rest[1:]
    try:
        unpacked = isal_zlib.decompressobj().decompress(rest, MOST_UNPACKED + 1) if rest else b""
    except isal_zlib.IsalError:  # type: ignore[misc]  # its stubs call the class an instance
        return 0  # damaged metadata decide nothing
    if len(unpacked) > MOST_UNPACKED:
        raise ImageDefect("I137", f"chunk {_name(kind)} of {len(content):,} bytes unpacks to more than 1 MiB")
    return len(unpacked)


def _name(kind: bytes) -> str:
    return kind.decode("latin-1") if kind.isalpha() else repr(kind)


def _may_turn(kind: bytes, beginning: bytes) -> bool:
    """True of what animates the image or may hold an orientation."""
    texts = kind in {b"tEXt", b"zTXt", b"iTXt"}
    return kind in {b"acTL", b"eXIf"} or (texts and beginning.startswith(TURNING))


def _jpeg(body: bytes) -> ImageFacts:
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
    _demand(body.endswith(JPEG_END), min(size) > 0)
    return ImageFacts("jpeg", *size, certain)


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


def _webp(body: bytes) -> ImageFacts:
    _webp_chunks(body)
    return _webp_facts(body, len(body))


def _webp_facts(body: bytes, file_size: int) -> ImageFacts:
    """By its first bytes."""
    kind, data, length = body[12:16], 20, int.from_bytes(body[4:8], "little")
    _demand(length + 8 == file_size)
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
    return ImageFacts("webp", *size, certain)


def _webp_chunks(body: bytes) -> None:
    position = 12
    for _ in range(MOST_CHUNKS):
        if position == len(body):
            return
        (length,) = struct.unpack_from("<I", body, position + 4)
        position += 8 + length + (length & 1)
        _demand(position <= len(body))
    raise _Damaged


def _gif(body: bytes) -> ImageFacts:
    width, height = struct.unpack_from("<HH", body, 6)
    _demand(width > 0, height > 0, body[-1] == 0x3B)
    # Whether a second image makes it move is behind blocks of 255 bytes: decoding is not slower than a walk.
    return ImageFacts("gif", width, height, certain=False)
