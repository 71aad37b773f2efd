"""What the bytes of an image say without decoding them."""

import io
import random
import struct
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from vlm_runner.ingest.inspect import ImageDefect, check_png_pixels, inspect, inspect_ends

from .pictures import SOURCES, exif, picture, saved

TO_JUDGE = {"png-16", "png-animated", "jpeg-cmyk", "gif", "gif-transparent", "gif-animated", "webp-animated"}
"""What no header can promise to be fit as it is; beside them, whatever holds an orientation other than 1."""


@pytest.mark.parametrize("name", SOURCES)
def test_tells_format_and_size_as_pillow_does(name: str) -> None:
    seen = inspect(SOURCES[name])

    with Image.open(io.BytesIO(SOURCES[name])) as image:
        assert seen is not None
        assert (seen.format, seen.width, seen.height) == ((image.format or "").lower(), *image.size)


@pytest.mark.parametrize("name", SOURCES)
def test_is_certain_only_of_what_needs_no_change(name: str) -> None:
    turned = "exif" in name and not name.endswith("jpeg-exif-1")
    seen = inspect(SOURCES[name])

    assert (seen is not None and seen.certain) == (name not in TO_JUDGE and not turned)


def damaged_pngs() -> list[bytes]:
    """Cut, flipped, zeroed, extended: 480 of them, from four PNGs of different making."""
    rng = random.Random(7)
    whole = [
        SOURCES["png-RGB"],
        SOURCES["png-P"],
        SOURCES["png-interlaced"],
        saved(picture(size=(300, 200)), "PNG"),
    ]
    found = []
    for body in whole:
        size = len(body)
        found += [body[: rng.randrange(8, size)] for _ in range(38)] + [body[:-1], body[:-12]]
        for _ in range(50):
            at = rng.randrange(8, size)
            found.append(body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :])
        for _ in range(20):
            at = rng.randrange(30, size - 4)
            found.append(body[:at] + bytes(size - at))
        found += [body + b"x", body + body, body + bytes(16)]
        for _ in range(7):
            at, to = sorted(rng.sample(range(30, size), 2))
            found.append(body[:at] + body[to:])
    return [body for body in found if body not in whole]


def may_pass(body: bytes) -> bool:
    """Whether staging may hand the PNG on without decoding it."""
    try:
        facts = inspect(body)
        return facts is not None and facts.certain and check_png_pixels(body, facts) is None
    except ImageDefect:
        return False


def test_finds_every_damaged_png() -> None:
    damaged = damaged_pngs()

    assert len(damaged) >= 300
    assert [body for body in damaged if may_pass(body)] == []


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


IHDR = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
IDAT = (b"IDAT", zlib.compress(bytes(72)))
IEND = (b"IEND", b"")


def header(
    width: int = 8, height: int = 8, depth: int = 8, colour: int = 0, rest: bytes = bytes(3)
) -> tuple[bytes, bytes]:
    return (b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


@pytest.mark.parametrize(
    "chunks",
    [
        (IHDR, IEND),
        (IHDR, (b"IDAT", b""), IEND),
        (IDAT, IHDR, IEND),
        (IHDR, IHDR, IDAT, IEND),
        (IHDR, IDAT, (b"tEXt", b"a\0b"), IDAT, IEND),
        (IHDR, (b"WILD", b""), IDAT, IEND),
        (IHDR, IDAT),
        (IHDR, IDAT, (b"IEND", b"x")),
        (IHDR, (b"IDAT", b"not zlib"), IEND),
        (IHDR, (b"PLTE", bytes(6)), IDAT, IEND),
        (header(colour=3), IDAT, IEND),
        (header(colour=3), (b"PLTE", bytes(4)), IDAT, IEND),
        (header(colour=1), IDAT, IEND),
        (header(depth=16), IDAT, IEND),
        (header(width=0), IDAT, IEND),
        (header(height=2**31), IDAT, IEND),
        (header(width=60000, height=60000), IDAT, IEND),
        (header(rest=b"\1\0\0"), IDAT, IEND),
        (header(rest=b"\0\0\2"), IDAT, IEND),
    ],
)
def test_does_not_take_what_only_has_right_checksums(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    assert not may_pass(png(*chunks))


def test_takes_a_plain_png_written_by_hand() -> None:
    seen = inspect(png(IHDR, IDAT, IEND))

    assert seen is not None
    assert (seen.format, seen.width, seen.height, seen.certain) == ("png", 8, 8, True)


@pytest.mark.parametrize("text", [b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"])
def test_is_not_certain_of_a_png_whose_text_may_turn_it(text: bytes) -> None:
    seen = inspect(png(IHDR, (b"tEXt", text + b"?"), IDAT, IEND))

    assert seen is not None
    assert not seen.certain


@pytest.mark.parametrize("name", ["jpeg", "webp", "webp-lossless", "gif"])
def test_is_not_certain_of_what_is_cut_short(name: str) -> None:
    cut = [inspect(SOURCES[name][:size]) for size in range(1, len(SOURCES[name]))]

    assert [seen for seen in cut if seen is not None and seen.certain] == []


@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_reads_an_orientation_in_either_byte_order(byte_order: str) -> None:
    order = "<" if byte_order == "II" else ">"
    for orientation, certain in ((1, True), (6, False)):
        tiff = byte_order.encode() + struct.pack(f"{order}HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
        body = saved(picture(), "JPEG", exif=b"Exif\0\0" + tiff)
        seen = inspect(body)

        assert seen is not None
        assert seen.certain == certain
    assert exif(6)[0x0112] == 6


@pytest.mark.parametrize("head", [100, 65_536])
@pytest.mark.parametrize("name", SOURCES)
def test_the_ends_of_an_image_tell_what_all_of_it_tells_or_nothing(name: str, head: int) -> None:
    """Also where little of it is read; `data` is where its pixels lie, which nobody has read."""
    body = SOURCES[name]

    seen = inspect_ends(body[:head], body[-12:], len(body))

    if seen is not None:
        whole = inspect(body)
        assert whole is not None
        assert seen == (whole if len(body) <= head else replace(whole, data=()))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_ends_are_enough_for_a_long_image_and_show_that_it_is_cut_off(form: str) -> None:
    body = saved(picture(size=(900, 700)), form, **({"exif": exif(1)} if form == "JPEG" else {}))

    seen = inspect_ends(body[:1000], body[-12:], len(body))
    cut = body[:-50]

    assert seen is not None
    assert (seen.format, seen.width, seen.height, seen.certain) == (form.lower(), 900, 700, True)
    assert inspect_ends(cut[:1000], cut[-12:], len(cut)) is None


def test_the_ends_show_what_turns_an_image() -> None:
    body = saved(picture(size=(900, 700)), "JPEG", exif=exif(6))

    seen = inspect_ends(body[:1000], body[-12:], len(body))

    assert seen is not None
    assert not seen.certain
