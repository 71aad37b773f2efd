"""Image values that are no images: refused with a code and a short sentence, never with a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.dataset.images import NoImageError, images_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (None, "I101", "is missing"),
        ([], "I101", "is missing"),
        ({"bytes": None, "path": None}, "I102", "is empty"),
        (b"", "I102", "is empty"),
        ({"bytes": [137, 80, 78, 71], "path": None}, "I106", "is a list, not the bytes of an image"),
        ({"bytes": "iVBORw0KGgo=", "path": None}, "I106", "is a str, not the bytes of an image"),
        ({"bytes": None, "path": 7}, "I106", "has a int for its path"),
        (42, "I106", "is a int, not the bytes of an image"),
        ("missing.png", "I103", "cannot be read from 'missing.png'"),
        ("../secret.png", "I104", "lies outside the dataset's folder"),
        ("a\0b", "I104", "lies outside the dataset's folder"),
    ],
)
def test_a_value_that_is_no_image_has_a_code_and_a_reason(
    value: Any, code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(NoImageError) as refused:
        images_of(value, tmp_path)

    assert refused.value.code == code
    assert words in str(refused.value)


def test_a_whole_image_as_text_is_not_printed(tmp_path: Path) -> None:
    """base64 in the image column is taken for a path; the message shows where it begins."""
    with pytest.raises(NoImageError) as refused:
        images_of("iVBORw0KGgo" * 100_000, tmp_path)

    assert len(str(refused.value)) < 250


def test_which_of_several_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoImageError, match=r"is empty \(image 2 of 2\)") as refused:
        images_of([b"x", b""], tmp_path)

    assert refused.value.code == "I102"
