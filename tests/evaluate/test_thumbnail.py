"""Small pictures of a report: how large, how many bytes, and which part of a long page."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from vlm_runner.evaluate.thumbnail import ALL_BYTES, LARGEST, SIDES, TALLEST, budget, thumbnail

AMPLE = 10**6


def image(width: int, height: int, kind: str = "PNG") -> bytes:
    """Noise, which no format makes much smaller."""
    out = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(out, kind)
    return out.getvalue()


def size_of(body: bytes | None) -> tuple[int, int]:
    assert body is not None
    with Image.open(io.BytesIO(body)) as opened:
        assert opened.format == "WEBP"
        return opened.size


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(0, LARGEST), (1, LARGEST), (192, LARGEST), (193, ALL_BYTES // 193), (9216, 1024), (10**6, 1024)],
)
def test_all_thumbnails_of_a_report_share_nine_megabytes_and_none_takes_more_than_48_kb(
    rows: int, expected: int
) -> None:
    assert (ALL_BYTES, LARGEST) == (9 * 1024 * 1024, 48 * 1024)
    assert budget(rows) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((100, 1000), (100, 160), id="of a long page the upper part"),
        pytest.param((100, 161), (100, 160), id="one row too many"),
        pytest.param((100, 160), (100, 160), id="as tall as may be"),
        pytest.param((1200, 600), (560, 280), id="as wide as may be"),
        pytest.param((30, 20), (30, 20), id="a small one stays as it is"),
        pytest.param((1, 40), (1, 1), id="a line"),
    ],
)
def test_a_thumbnail_is_at_most_560_wide_and_1_6_times_as_tall(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert (SIDES[0], TALLEST) == (560, 1.6)
    assert size_of(thumbnail(image(*size), AMPLE)) == expected


def test_a_long_page_shows_its_upper_part() -> None:
    page = Image.new("RGB", (50, 400), "white")
    page.paste("red", (0, 0, 50, 80))
    out = io.BytesIO()
    page.save(out, "PNG")

    small = thumbnail(out.getvalue(), AMPLE)

    assert small is not None
    with Image.open(io.BytesIO(small)) as opened:
        shown = opened.convert("RGB")
    assert shown.getpixel((25, 78))[0] > 200  # type: ignore[index]
    assert shown.getpixel((25, 78))[1] < 60  # type: ignore[index]


def test_a_thumbnail_may_use_its_last_byte_and_becomes_coarser_before_it_becomes_smaller() -> None:
    body = image(800, 800)
    best = thumbnail(body, AMPLE)
    assert best is not None

    same, coarser = thumbnail(body, len(best)), thumbnail(body, len(best) - 1)
    smaller = thumbnail(body, 20_000)

    assert same == best
    assert size_of(coarser) == size_of(best) == (560, 560)
    assert size_of(smaller) < (560, 560)


def test_a_photo_is_decoded_at_no_more_than_it_needs_and_comes_out_as_large() -> None:
    """JPEG's draft mode may halve the picture, but never below twice the widest thumbnail."""
    assert size_of(thumbnail(image(2400, 1200, "JPEG"), AMPLE)) == (560, 280)


def test_without_room_for_the_smallest_there_is_none() -> None:
    assert thumbnail(image(400, 400), 100) is None


def test_looking_at_an_image_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS, which is a program, to Ghostscript, if that is installed."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", started)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)

    assert (
        thumbnail(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n", AMPLE
        )
        is None
    )


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_decoded_has_no_thumbnail_whatever_the_decoder_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise NotImplementedError("this pixel format")

    assert thumbnail(b"DDS |\0\0\0" + bytes(120), AMPLE) is None
    out = io.BytesIO()
    Image.new("1", (9500, 9500)).save(out, "PNG")
    assert thumbnail(out.getvalue(), AMPLE) is None
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", broken)
    assert thumbnail(image(40, 30), AMPLE) is None
