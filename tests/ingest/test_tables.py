"""Numbers that come from the formats' own specifications, and what a decoder process is given."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.lint.pictures import by_hand
from vlm_runner.ingest.converters import Converters, _environment
from vlm_runner.ingest.images import ImageLimits, _eight_bits, prepare
from vlm_runner.ingest.inspect import ImageDefect, converted_kind, inspect
from vlm_runner.ingest.pipeline import RecordLine, Transform

from .pictures import SOURCES, saved

POSSIBLE = {
    (0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8),
    (4, 8), (4, 16), (6, 8), (6, 16),
}  # fmt: skip
"""Colour type and bit depth (PNG specification, table 11.1)."""


@pytest.mark.parametrize("colour", range(8))
def test_a_png_has_the_depths_that_its_colour_type_allows(colour: int) -> None:
    refused = set()
    for depth in range(18):
        try:
            inspect(by_hand(16, 16, zlib.compress(b""), depth=depth, colour=colour))
        except ImageDefect as error:
            if error.code == "I123":
                refused.add(depth)

    assert {(colour, depth) for depth in range(18)} - POSSIBLE == {(colour, depth) for depth in refused}


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [
        (0, 1, "I123"),
        (1, 0, "I123"),
        (2**31, 1, "I123"),
        (1, 2**31, "I123"),
        (2**31 - 1, 1, "I134"),
        (1, 2**31 - 1, "I134"),
    ],
)
def test_the_sides_of_a_png_have_31_bits(width: int, height: int, code: str) -> None:
    with pytest.raises(ImageDefect) as refused:
        inspect(by_hand(width, height, b""))

    assert refused.value.code == code


def test_sixteen_bits_are_scaled_to_the_nearest_of_eight() -> None:
    """65535 is 257 times 255."""
    deep = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], np.uint16)

    shallow = _eight_bits(Image.fromarray(deep))

    assert np.asarray(shallow).tolist() == [[0, 0, 1, 1, 2, 254, 255, 255]]


def test_an_image_that_is_shrunk_keeps_its_proportions() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 128, 3), np.uint8))
    limits = ImageLimits(max_bytes=6000, min_side=1, max_side=500, formats=("png",))

    fitted = prepare(saved(noise, "PNG"), limits, keep_format=False, fit=True)

    assert (fitted.width, fitted.height) == (54, 27)
    assert len(fitted.body) <= 6000


def test_a_decoder_gets_of_the_environment_what_a_python_needs_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = {"PATH": "a", "LD_LIBRARY_PATH": "b", "SYSTEMROOT": "c", "TZ": "d"}
    for name, value in needed.items():
        monkeypatch.setenv(name, value)

    given = _environment()

    assert {name: given.get(name) for name in needed} == needed
    assert set(given) - set(needed) == {
        "PYTHONPATH", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip


@pytest.fixture
def limits_of_a_decoder() -> dict[str, str]:
    with Converters() as converters:
        converters(SOURCES["jpeg"], ImageLimits(10**6, 1, 1000, ("png",)), keep_format=False, fit=False)
        lines = Path(f"/proc/{converters._idle[0]._process.pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def test_a_decoder_may_take_four_gigabytes_and_write_no_more_than_an_image(
    limits_of_a_decoder: dict[str, str],
) -> None:
    assert int(limits_of_a_decoder["Max address space"]) == 4 * 1024**3
    assert int(limits_of_a_decoder["Max file size"]) == 128 * 1024**2


def test_staging_reads_the_pixels_unless_it_is_told_that_lint_has() -> None:
    limits = ImageLimits(10**6, 1, 1000, ("png",))

    assert not Transform(limits, keep_format=False, fit=False, line=lambda *_: RecordLine(b"")).verified


def test_a_chunk_is_named_as_it_is_written_and_its_bytes_shown_where_they_are_no_letters() -> None:
    whole = by_hand(16, 16, zlib.compress(b""))
    said = []
    for name in (b"IDAT", b"I\0AT"):
        with pytest.raises(ImageDefect) as refused:
            inspect(whole.replace(b"IDAT" + zlib.compress(b""), name + b"x" * len(zlib.compress(b""))))
        said.append(str(refused.value))

    assert "chunk IDAT at" in said[0]
    assert r"chunk b'I\x00AT' at" in said[1]


@pytest.mark.parametrize("fill", [1, 2, 3, 7])
def test_any_number_of_fill_bytes_may_precede_a_marker_of_a_jpeg(fill: int) -> None:
    """ITU-T T.81, B.1.1.2."""
    plain = saved(Image.new("RGB", (40, 30), "teal"), "JPEG")
    at = plain.index(b"\xff\xdb")

    facts = inspect(plain[:at] + b"\xff" * fill + plain[at:])

    assert facts is not None
    assert facts == inspect(plain)
    assert (facts.width, facts.height) == (40, 30)


@pytest.mark.parametrize(
    ("size", "at", "found"),
    [(28, 16, True), (28, 24, True), (28, 28, False), (400, 252, True), (400, 256, False)],
)
def test_a_brand_is_looked_for_in_the_file_type_box_and_no_further_than_256_bytes(
    size: int, at: int, found: bool
) -> None:
    body = bytearray(size.to_bytes(4, "big") + b"ftypmif1" + bytes(500))
    body[at : at + 4] = b"avif"

    assert (converted_kind(bytes(body)) == "AVIF") is found
