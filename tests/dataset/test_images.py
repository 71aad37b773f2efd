"""Image values that are no images: refused with a code and a short sentence, never with a traceback."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.dataset.fingerprint import FileDigests
from vlm_runner.dataset.images import NoImageError, images_of
from vlm_runner.dataset.source import _Reader
from vlm_runner.dataset.storage import LocalStorage

from .world import png

if TYPE_CHECKING:
    from pathlib import Path


def reader(root: Path) -> _Reader:
    return _Reader(LocalStorage(root, FileDigests(root / "digests.json")), None)


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (None, "I101", "is missing"),
        ([], "I101", "is missing"),
        ({"bytes": None, "path": None}, "I102", "is empty"),
        (b"", "I102", "is empty"),
        ({"bytes": [137, 80, 78, 71], "path": None}, "I106", "is a list, not the bytes of an image"),
        ({"bytes": "no base64!", "path": None}, "I106", "the bytes are not base64"),
        ("data:image/png,raw", "I106", "is not a data URI of an image in base64"),
        ("data:image/png;base64,???", "I106", "the data URI is not base64"),
        ("https://example.com/0.png", "I107", "dataset.fetch_images is not set"),
        ("x" * 5000, "I106", "is text of 5,000 characters, neither a path nor an image in base64"),
        ("C:\\shots\\0.png", "I104", "is a path of a Windows machine"),
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
        images_of(value, reader(tmp_path))

    assert refused.value.code == code
    assert words in str(refused.value)


def test_a_whole_image_as_text_is_not_printed(tmp_path: Path) -> None:
    """The message says how long it is."""
    with pytest.raises(NoImageError) as refused:
        images_of("iVBORw0KGgo." * 100_000, reader(tmp_path))

    assert len(str(refused.value)) < 250


def test_which_of_several_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoImageError, match=r"is empty \(image 2 of 2\)") as refused:
        images_of([b"x", b""], reader(tmp_path))

    assert refused.value.code == "I102"


BODY = png(7) + b"\xff\xfe"
TEXT = base64.b64encode(BODY).decode()


@pytest.mark.parametrize(
    "value",
    [
        BODY,
        {"bytes": BODY, "path": "a.png"},
        {"bytes": list(BODY), "path": None},
        {"bytes": TEXT, "path": None},
        {"bytes": f"data:image/png;base64,{TEXT}"},
        list(BODY),
        [BODY],
        TEXT,
        TEXT + "\n",
        base64.urlsafe_b64encode(BODY).decode(),
        "\n".join(TEXT[i : i + 60] for i in range(0, len(TEXT), 60)),
        f"data:image/png;base64,{TEXT}",
        f"data:image/png;charset=utf-8;base64,{TEXT}",
        {"url": f"data:image/png;base64,{TEXT}"},
        "shots/7.png",
        "shots\\7.png",
        {"bytes": None, "path": "shots/7.png"},
    ],
)
def test_every_way_to_hold_an_image_gives_the_same_bytes(value: Any, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "7.png").write_bytes(BODY)

    ((body, _),) = images_of(value, reader(tmp_path))

    assert body == BODY


def test_a_long_path_of_base64_letters_is_a_path(tmp_path: Path) -> None:
    name = "screenshots/of/the/whole/page/with/a/long/name/but/no/ending/whatsoever/0"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(BODY)

    assert images_of(name, reader(tmp_path)) == [(BODY, name)]
