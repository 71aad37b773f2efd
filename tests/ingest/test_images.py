"""What an image becomes on its way to S3."""

import io
from dataclasses import replace

import numpy as np
import png as pypng  # type: ignore[import-untyped]
import pytest
from PIL import Image

from vlm_runner.ingest.images import Handling, Prepared, downscaled, prepare
from vlm_runner.ingest.inspect import ImageDefect, inspect

from .pictures import LIMITS, SOURCES, Shown, picture, saved, shown, srgb_profile


def made(body: bytes, *, keep_format: bool = False, fit: bool = False) -> Prepared:
    return prepare(body, LIMITS, keep_format=keep_format, fit=fit)


def by_another_decoder(body: bytes) -> Shown:
    """Pixels as pypng reads them, which shares no code with Pillow."""
    width, height, rows, _ = pypng.Reader(bytes=body).asRGBA8()
    return (width, height), b"".join(bytes(row) for row in rows)


@pytest.mark.parametrize("name", SOURCES)
def test_shows_the_same_as_before(name: str) -> None:
    """
    Equal pixel for pixel, by two decoders, whatever the source was.
    """
    prepared = made(SOURCES[name])

    assert prepared.format == "png"
    assert (prepared.width, prepared.height) == shown(prepared.body)[0]
    assert shown(prepared.body) == shown(SOURCES[name])
    if prepared.way is Handling.CONVERTED:
        assert by_another_decoder(prepared.body) == shown(SOURCES[name])
        seen = inspect(prepared.body)
        assert seen is not None
        assert seen.certain


UNCHANGED = {name for name in SOURCES if name.startswith("png")} - {"png-16", "png-exif-6", "png-animated"}


@pytest.mark.parametrize("name", SOURCES)
def test_passes_through_what_is_right_already(name: str) -> None:
    prepared = made(SOURCES[name])

    assert (prepared.body == SOURCES[name]) == (name in UNCHANGED)
    assert prepared.way is (Handling.PASSED_THROUGH if name in UNCHANGED else Handling.CONVERTED)


KEPT = UNCHANGED | {
    "jpeg",
    "jpeg-progressive",
    "jpeg-grey",
    "jpeg-icc",
    "jpeg-exif-1",
    "webp",
    "webp-lossless",
    "webp-RGBA",
    "gif",
    "gif-transparent",
}


@pytest.mark.parametrize("name", SOURCES)
def test_keeps_a_format_that_the_model_takes_if_asked(name: str) -> None:
    prepared = made(SOURCES[name], keep_format=True)

    assert (prepared.body == SOURCES[name]) == (name in KEPT)
    assert prepared.format == (name.partition("-")[0] if name in KEPT else "png")
    assert shown(prepared.body) == shown(SOURCES[name])


def test_converts_a_format_that_the_model_does_not_take() -> None:
    limits = replace(LIMITS, formats=("png", "jpeg"))

    assert prepare(SOURCES["webp"], limits, keep_format=True, fit=False).format == "png"


def test_keeps_the_colour_profile_of_a_converted_image() -> None:
    body = made(SOURCES["jpeg-icc"]).body

    with Image.open(io.BytesIO(body)) as image:
        assert image.info["icc_profile"] == srgb_profile()


def test_drops_a_profile_that_is_not_of_these_colours() -> None:
    profile = srgb_profile()
    cmyk = saved(picture("CMYK"), "JPEG", icc_profile=profile[:16] + b"CMYK" + profile[20:])

    with Image.open(io.BytesIO(made(cmyk).body)) as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("mode", "form", "kept"), [("L", "JPEG", True), ("LA", "WEBP", False), ("RGB", "JPEG", False)]
)
def test_a_grey_profile_stays_with_grey_pixels_alone(mode: str, form: str, kept: bool) -> None:
    """Grey with transparency is written as RGBA, whose profile it cannot be."""
    grey = srgb_profile()[:16] + b"GRAY" + srgb_profile()[20:]
    body = saved(picture(mode).convert("RGBA" if form == "WEBP" else mode), form, icc_profile=grey)

    with Image.open(io.BytesIO(made(body).body)) as image:
        assert ("icc_profile" in image.info) is kept


def test_writes_large_images_in_bands() -> None:
    """
    Beyond a band's size the pixels are the same, and so is every row at a border.
    """
    large = picture(size=(2100, 2050), seed=3)
    body = made(saved(large, "WEBP", lossless=True, quality=0, method=0)).body

    with Image.open(io.BytesIO(body)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(large))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a PNG, JPEG, WebP or GIF"),
        (saved(picture(), "BMP"), "BMP, which is not read"),
        (saved(picture(), "TIFF"), "TIFF, which is not read"),
        (SOURCES["jpeg"][:400], "cannot be decoded"),
        (SOURCES["png-RGB"][:-40], "the PNG ends at byte"),
        (bytes(128 * 1024 * 1024 + 1), "the most that is read"),
    ],
    ids=["empty", "text", "bmp", "tiff", "cut jpeg", "cut png", "huge"],
)
def test_says_why_it_cannot_use_an_image(body: bytes, reason: str) -> None:
    with pytest.raises(ImageDefect, match=reason) as refused:
        made(body)

    assert refused.value.hint


def test_refuses_what_is_larger_than_the_model_takes_unless_told_to_fit() -> None:
    limits = replace(LIMITS, max_side=20)
    with pytest.raises(ImageDefect, match="37 pixels wide") as refused:
        prepare(SOURCES["png-RGB"], limits, keep_format=False, fit=False)

    assert "fit = true" in (refused.value.hint or "")
    fitted = prepare(SOURCES["png-RGB"], limits, keep_format=False, fit=True)
    assert max(fitted.width, fitted.height) == 20


def test_shrinks_until_the_bytes_fit() -> None:
    noisy = Image.frombytes("RGB", (64, 64), np.random.default_rng(1).bytes(64 * 64 * 3))
    limits = replace(LIMITS, max_bytes=4000)

    fitted = prepare(saved(noisy, "PNG"), limits, keep_format=False, fit=True)

    assert len(fitted.body) <= 4000


def test_refuses_what_is_too_small() -> None:
    with pytest.raises(ImageDefect, match="wants 30"):
        prepare(SOURCES["png-RGB"], replace(LIMITS, min_side=30), keep_format=False, fit=True)


def test_downscales_for_a_test_call_only_what_needs_it() -> None:
    body = SOURCES["jpeg"]

    assert downscaled(body, "jpeg", 10_000, 100) == (body, "jpeg")
    smaller, form = downscaled(body, "jpeg", 10_000, 10)
    assert form == "png"
    assert max(shown(smaller)[0]) == 10
