"""
Formats that no model takes: what the notebook's way ("PIL to PNG") made of them is what is staged.

Each is decoded in a process of its own, and hostile files of each cost a row and no more.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageOps

from vlm_runner.image_limits import MAX_PIXELS
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import Handling, ImageLimits, examine, prepare
from vlm_runner.ingest.inspect import ImageDefect, converted_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = ImageLimits(max_bytes=10_000_000, min_side=1, max_side=8000, formats=("png", "jpeg", "gif", "webp"))
FORMATS = ("BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM")


def picture(mode: str = "RGB") -> Image.Image:
    image = Image.linear_gradient("L").resize((48, 32))
    merged = Image.merge("RGB", (image, image.rotate(180), image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))
    return merged.convert(mode)


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def pages() -> bytes:
    return saved(
        picture(), "TIFF", save_all=True, append_images=[picture().rotate(90), picture().rotate(180)]
    )


def lying(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(), kind, exif=exif)


SOUND = {
    "BMP": saved(picture(), "BMP"),
    "BMP of a palette": saved(picture().quantize(16), "BMP"),
    "BMP grey": saved(picture("L"), "BMP"),
    "TIFF": saved(picture(), "TIFF"),
    "TIFF deflated": saved(picture(), "TIFF", compression="tiff_adobe_deflate"),
    "TIFF of LZW": saved(picture(), "TIFF", compression="tiff_lzw"),
    "TIFF of a fax": saved(picture("1"), "TIFF", compression="group4"),
    "TIFF for print": saved(picture("CMYK"), "TIFF"),
    "TIFF transparent": saved(picture("RGBA"), "TIFF"),
    "TIFF of several pages": pages(),
    "TIFF lying": lying("TIFF"),
    "AVIF": saved(picture(), "AVIF"),
    "AVIF transparent": saved(picture("RGBA"), "AVIF"),
    "AVIF lying": lying("AVIF"),
    "JPEG 2000": saved(picture(), "JPEG2000"),
    "JPEG 2000 without a box": saved(picture(), "JPEG2000", no_jp2=True),
    "ICO": saved(picture(), "ICO", sizes=[(16, 16), (32, 32)]),
    "PPM": saved(picture(), "PPM"),
    "PGM": saved(picture("L"), "PPM"),
    "PBM": saved(picture("1"), "PPM"),
}


@pytest.fixture(scope="module")
def converters() -> Iterator[Converters]:
    with Converters(seconds=20) as started:
        yield started


@pytest.mark.parametrize("name", SOUND)
def test_the_pixels_are_those_that_pillow_shows(name: str, converters: Converters) -> None:
    body = SOUND[name]
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        expected = ImageOps.exif_transpose(image)
        expected = expected.convert("RGBA" if image.mode in {"RGBA", "LA"} else "RGB")

    made = prepare(body, LIMITS, keep_format=False, fit=False, convert=converters)
    examined = examine(body, LIMITS, keep_format=False, fit=False, convert=converters)

    assert (made.format, made.way, examined.way) == ("png", Handling.CONVERTED, Handling.CONVERTED)
    with Image.open(io.BytesIO(made.body), formats=["PNG"]) as shown:
        assert (shown.size, made.width, made.height) == (expected.size, *expected.size)
        assert shown.convert(expected.mode).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", SOUND)
def test_none_of_them_is_decoded_in_this_process(name: str) -> None:
    for look in (prepare, examine):
        with pytest.raises(ImageDefect, match="which is not read here") as refused:
            look(SOUND[name], LIMITS, keep_format=False, fit=False)
        assert refused.value.code == "I113"


def test_even_when_formats_are_kept_a_png_is_made(converters: Converters) -> None:
    made = prepare(SOUND["BMP"], LIMITS, keep_format=True, fit=False, convert=converters)

    assert (made.format, made.way) == ("png", Handling.CONVERTED)


def test_sixteen_bits_become_eight(converters: Converters) -> None:
    deep = Image.frombytes("I;16", (2, 1), struct.pack("<HH", 0, 65_535))

    made = prepare(saved(deep, "TIFF"), LIMITS, keep_format=False, fit=False, convert=converters)

    with Image.open(io.BytesIO(made.body)) as shown:
        assert list(shown.convert("L").tobytes()) == [0, 255]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_that_have_no_white_are_refused(mode: str, converters: Converters) -> None:
    image = Image.new(mode, (4, 4), 100_000)

    with pytest.raises(ImageDefect, match=r"32 bits a pixel|fractions"):
        prepare(saved(image, "TIFF"), LIMITS, keep_format=False, fit=False, convert=converters)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def ico_of(body: bytes) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(body), 22) + body


def tiff_of(width: int, height: int) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 64)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + entries + bytes(4 + 64)


def endless_tiff() -> bytes:
    """Its page is followed by itself."""
    body = bytearray(tiff_of(8, 8))
    at = 8 + 2 + 9 * 12
    body[at : at + 4] = struct.pack("<I", 8)
    return bytes(body)


BOMBS = {
    "BMP": saved(picture(), "BMP")[:18] + struct.pack("<ii", 40_000, 40_000) + saved(picture(), "BMP")[26:],
    "TIFF": tiff_of(60_000, 60_000),
    "PPM": b"P6 60000 60000 255\n" + bytes(100),
    "ICO": ico_of(png_bomb(20_000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_for_its_size_before_it_is_unpacked(name: str, converters: Converters) -> None:
    assert converted_kind(BOMBS[name]) == name

    with pytest.raises(ImageDefect, match=r"pixels|decompression bomb") as refused:
        prepare(BOMBS[name], _any_side(), keep_format=False, fit=True, convert=converters)

    assert refused.value.code == "I134"


def _any_side() -> ImageLimits:
    return ImageLimits(max_bytes=10**9, min_side=1, max_side=MAX_PIXELS, formats=("png",))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_cut_file_costs_its_row(kind: str, keep: float, converters: Converters) -> None:
    whole = saved(picture(), kind)
    cut = whole[: int(len(whole) * keep)]

    with pytest.raises(ImageDefect) as refused:
        prepare(cut, LIMITS, keep_format=False, fit=False, convert=converters)

    assert refused.value.code in {"I129", "I110", "I113"}
    assert prepare(SOUND["BMP"], LIMITS, keep_format=False, fit=False, convert=converters).format == "png"


@pytest.mark.parametrize(
    "body",
    [
        endless_tiff(),
        b"BM" + bytes(64),
        b"II*\0" + b"\xff" * 64,
        b"\0\0\1\0" + b"\xff" * 64,
        b"P6 -1 5 255\n",
        b"P7 1 1 1 1\n",
        b"\0\0\0\x20ftypavif" + b"\xff" * 64,
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff" * 64,
        ico_of(b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_a_hostile_header_costs_its_row_at_most(body: bytes, converters: Converters) -> None:
    try:
        prepare(body, LIMITS, keep_format=False, fit=False, convert=converters)
    except ImageDefect as refused:
        assert refused.code  # noqa: PT017 - some decoders show a page in spite of what follows it

    assert prepare(SOUND["BMP"], LIMITS, keep_format=False, fit=False, convert=converters).format == "png"


def test_heic_is_converted_with_its_extra(converters: Converters) -> None:
    import pillow_heif as heif

    buffer = io.BytesIO()
    heif.from_pillow(picture()).save(buffer, quality=-1)

    made = prepare(buffer.getvalue(), LIMITS, keep_format=False, fit=False, convert=converters)

    assert (made.format, made.width, made.height) == ("png", 48, 32)


def test_heic_without_the_extra_says_what_to_install() -> None:
    body = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)

    with (
        Converters(prelude="import sys; sys.modules['pillow_heif'] = None") as without,
        pytest.raises(ImageDefect, match="HEIC, whose decoder is not installed") as refused,
    ):
        prepare(body, LIMITS, keep_format=False, fit=False, convert=without)

    assert "vlm-runner[heic]" in str(refused.value.hint)


def test_further_pages_of_a_tiff_are_told(converters: Converters) -> None:
    examined = examine(pages(), LIMITS, keep_format=False, fit=False, convert=converters)

    assert examined.facts.notes == (("I143", "3 pages"),)
