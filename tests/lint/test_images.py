from __future__ import annotations

import io
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm_runner.ingest.images import ANY_SIZE, examine
from vlm_runner.ingest.inspect import ImageDefect, ImageFacts

from .pictures import BAD, GOOD, png


def look(body: bytes) -> ImageFacts:
    return examine(body, ANY_SIZE, keep_format=True, fit=False).facts


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_has_no_flaw(name: str) -> None:
    facts = look(GOOD[name])

    assert (facts.width, facts.height) == (64, 48)
    assert facts.notes == ()


@pytest.mark.parametrize("name", BAD)
def test_a_flaw_is_found_by_its_code(name: str) -> None:
    body, code = BAD[name]
    try:
        found = {code for code, _ in look(body).notes}
    except ImageDefect as flaw:
        found = {flaw.code}

    assert code in found or code == "I150"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_png_that_passes_can_be_decoded(data: st.DataObject) -> None:
    """
    Whatever bytes are changed, put in or cut off: what is not decoded here is decodable there.
    """
    body = bytearray(png())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at : at + data.draw(st.integers(1, 20))]
            case _:
                body[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        if not body:
            return
    try:
        facts = look(bytes(body))
    except ImageDefect:
        return

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(bytes(body))) as image:
            image.load()
    assert image.size == (facts.width, facts.height)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_no_bytes_crash_it(body: bytes) -> None:
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8 "):
        try:
            look(start + body)
        except ImageDefect as flaw:
            assert flaw.code.startswith("I")
