"""What lint calls an error is what staging refuses, for the same reason, and the reverse."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.ingest.pictures import SOURCES, saved
from tests.ingest.test_formats import SOUND
from vlm_runner.ingest.decoder import _formats
from vlm_runner.ingest.images import ImageLimits, convert_here, examine, prepare
from vlm_runner.ingest.inspect import ImageDefect, check_png_pixels, inspect

from .pictures import BAD, GOOD, by_hand, chunk, rows_of

if TYPE_CHECKING:
    from vlm_runner.ingest.images import Convert

LIMITS = ImageLimits(max_bytes=10_000_000, min_side=1, max_side=8000, formats=("png", "jpeg", "gif", "webp"))
SMALL = replace(LIMITS, max_bytes=3000, min_side=20, max_side=60)

WAYS: list[dict[str, Any]] = [
    {"keep_format": False, "fit": False},
    {"keep_format": True, "fit": False},
    {"keep_format": False, "fit": True},
]


def staged(
    body: bytes, limits: ImageLimits, way: dict[str, Any], convert: Convert = convert_here, **known: bool
) -> str:
    """The code for which staging refuses it, else how it handles it."""
    try:
        return prepare(body, limits, convert=convert, **way, **known).way.value
    except ImageDefect as error:
        return error.code


def linted(body: bytes, limits: ImageLimits, way: dict[str, Any], convert: Convert | None = None) -> str:
    try:
        return examine(body, limits, convert=convert, **way).way.value
    except ImageDefect as error:
        return error.code


def damaged(name: str, body: bytes, rng: random.Random, times: int) -> dict[str, bytes]:
    """It whole, extended, and so many times cut and with one bit flipped."""
    found = {name: body}
    for number in range(times):
        cut, at = rng.randrange(1, len(body)), rng.randrange(len(body))
        found[f"{name}, cut {number}"] = body[:cut]
        found[f"{name}, flipped {number}"] = (
            body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
        )
    return {**found, f"{name}, extended": body + b"PK\3\4"}


@cache
def corpus() -> dict[str, bytes]:
    """Sound and damaged images of every format: what the other tests have, each cut, flipped and extended."""
    rng = random.Random(13)
    whole = {**SOURCES, **GOOD, **{name: body for name, (body, _) in BAD.items() if len(body) < 10_000_000}}
    found = dict(whole)
    for name, body in whole.items():
        if len(body) >= 40:
            found |= damaged(name, body, rng, 4)
    return found


def test_the_corpus_is_large() -> None:
    assert len(corpus()) >= 300


@pytest.mark.parametrize("way", WAYS, ids=["png", "keep", "fit"])
@pytest.mark.parametrize("limits", [LIMITS, SMALL], ids=["usual", "small"])
def test_lint_and_staging_say_the_same_of_every_image(limits: ImageLimits, way: dict[str, Any]) -> None:
    differ = {
        name: (said, done)
        for name, body in corpus().items()
        if (said := linted(body, limits, way)) != (done := staged(body, limits, way))
    }

    assert differ == {}


@cache
def converted() -> dict[str, bytes]:
    """Of the formats that are only read to be converted: whole, cut, flipped and extended."""
    rng = random.Random(13)
    return {
        each: body for name, whole in SOUND.items() for each, body in damaged(name, whole, rng, 6).items()
    }


@pytest.mark.parametrize("way", WAYS, ids=["png", "keep", "fit"])
@pytest.mark.parametrize("limits", [LIMITS, SMALL], ids=["usual", "small"])
def test_they_say_the_same_of_formats_that_are_converted(limits: ImageLimits, way: dict[str, Any]) -> None:
    """Both by the same decoder, which is in a process of its own where a run stages."""
    convert = partial(convert_here, formats=_formats())
    assert len(converted()) >= 250

    differ = {
        name: (said, done)
        for name, body in converted().items()
        if (said := linted(body, limits, way, convert)) != (done := staged(body, limits, way, convert))
    }

    assert differ == {}


@pytest.mark.parametrize("way", WAYS, ids=["png", "keep", "fit"])
def test_what_lint_has_verified_staging_need_not_read_again(way: dict[str, Any]) -> None:
    """A dataset in which lint found nothing in any image's content is staged to the same result, unread."""
    unread = {"I122", "I124", "I125", "I126", "I127", "I136"}
    for name, body in corpus().items():
        said = linted(body, LIMITS, way)
        if said in unread or "I136" in _notes(body, way):
            continue
        assert staged(body, LIMITS, way, verified=True) == said, name


def _notes(body: bytes, way: dict[str, Any]) -> set[str]:
    try:
        return {code for code, _ in examine(body, LIMITS, **way).facts.notes}
    except ImageDefect:
        return set()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_is_done_to_an_image_lint_and_staging_agree(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SOURCES)))
    body = bytearray(SOURCES[name])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert", "end"])):
            case "change":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at : at + data.draw(st.integers(1, 20))]
            case "insert":
                body[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                del body[max(1, at) :]
        if not body:
            return
    way = data.draw(st.sampled_from(WAYS))
    limits = data.draw(st.sampled_from([LIMITS, SMALL]))

    assert linted(bytes(body), limits, way) == staged(bytes(body), limits, way)


def one_idat(width: int, height: int, data: bytes) -> bytes:
    return by_hand(width, height, data)


@pytest.mark.parametrize("side", [1023, 1024, 1025, 2048, 3000])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_a_sound_png_is_sound_whatever_its_size(side: int, level: int) -> None:
    """Output that the decompressor holds back because a piece is full is asked for, not missed."""
    body = one_idat(side, side, zlib.compress((b"\0" + b"\xff" * side) * side, level))

    facts = inspect(body)

    assert facts is not None
    assert check_png_pixels(body, facts) is None
    assert linted(body, LIMITS, WAYS[0]) == "passed through"


@pytest.mark.parametrize("missing", [1, 100, 3000])
def test_a_png_whose_pixels_are_too_few_is_refused_by_both(missing: int) -> None:
    """Its chunks are whole, their checksums right, and Bedrock would get it."""
    pixels = (b"\0" + bytes(64)) * 64
    body = one_idat(64, 64, zlib.compress(pixels[:-missing]))

    assert linted(body, LIMITS, WAYS[0]) == "I122"
    assert staged(body, LIMITS, WAYS[0]) == "I122"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (8, 8), (37, 23), (100, 1)])
@pytest.mark.parametrize("depth", [1, 8])
def test_the_bytes_of_an_interlaced_png_are_counted_exactly(size: tuple[int, int], depth: int) -> None:
    from vlm_runner.ingest.inspect import _unfolded

    expected = _unfolded(*size, depth)
    whole = by_hand(*size, zlib.compress(bytes(expected)), depth=depth, interlace=1)
    short = by_hand(*size, zlib.compress(bytes(expected - 1)), depth=depth, interlace=1)

    with Image.open(io.BytesIO(whole)) as image:
        image.load()
    assert linted(whole, LIMITS, WAYS[0]) == "passed through"
    assert linted(short, LIMITS, WAYS[0]) == "I122"


def with_exif(block: bytes, form: str = "JPEG") -> bytes:
    return saved(Image.new("RGB", (64, 48), (200, 90, 20)), form, exif=b"Exif\0\0" + block)


BROKEN_EXIF = {
    "cut off": b"II*\0\x08\0\0\0\x05\0",
    "an offset beyond the end": b"II*\0\xff\xff\0\0",
    "a count beyond the end": b"MM\0*\0\0\0\x08\xff\xff" + bytes(12),
    "an unknown type": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIH", 0x0112, 99, 1, 6) + bytes(6),
    "an orientation of 42": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 42, 0) + bytes(4),
}


@pytest.mark.parametrize("name", BROKEN_EXIF)
@pytest.mark.parametrize("way", WAYS, ids=["png", "keep", "fit"])
def test_a_sound_jpeg_with_a_broken_exif_block_is_taken_by_both(name: str, way: dict[str, Any]) -> None:
    body = with_exif(BROKEN_EXIF[name])

    assert linted(body, LIMITS, way) in {"passed through", "converted"}
    assert linted(body, LIMITS, way) == staged(body, LIMITS, way)


def test_an_image_grows_by_the_writer_that_staging_uses() -> None:
    """Near the limit on either side, lint and staging measure the same bytes."""
    rng = np.random.default_rng(3)
    side = 400
    pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    body = saved(Image.fromarray(pixels), "JPEG", quality=40)
    size = len(prepare(body, LIMITS, keep_format=False, fit=False, convert=convert_here).body)

    for most, verdict in ((size, "converted"), (size - 1, "I138")):
        limits = replace(LIMITS, max_bytes=most)
        assert linted(body, limits, WAYS[0]) == verdict
        assert staged(body, limits, WAYS[0]) == verdict


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize(("size", "code"), [(1024 * 1024, "passed through"), (1024 * 1024 + 1, "I137")])
def test_a_packed_chunk_may_unpack_to_a_mebibyte_and_no_more(kind: bytes, size: int, code: str) -> None:
    packed = zlib.compress(bytes(size), 9)
    content = {
        b"zTXt": b"Comment\0\0" + packed,
        b"iTXt": b"Comment\0\1\0\0\0" + packed,
        b"iCCP": b"profile\0\0" + packed,
    }[kind]
    body = by_hand(16, 16, rows_of(16, 16), extra=chunk(kind, content))

    assert linted(body, LIMITS, WAYS[0]) == code
    assert staged(body, LIMITS, WAYS[0]) == code
