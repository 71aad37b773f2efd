from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from vlm_runner.sandbox import images
from vlm_runner.sandbox.images import NotAnImage, inspect_image

from .desk import png

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has been opened, in a sandbox that has seen no image yet."""
    opened: list[object] = []
    usual: Callable[..., Image.Image] = Image.open

    def counted(file: object) -> Image.Image:
        opened.append(file)
        return usual(file)

    monkeypatch.setattr(images, "_known", {})
    monkeypatch.setattr(Image, "open", counted)
    return opened


def test_an_image_of_several_runs_is_decoded_once(decoded: list[object]) -> None:
    first, other = inspect_image(png(7)), inspect_image(png(9))

    assert inspect_image(png(7)) == first != other
    assert len(decoded) == 2


def test_a_damaged_image_is_one_each_time(decoded: list[object]) -> None:
    for _ in range(2):
        with pytest.raises(NotAnImage, match="truncated"):
            inspect_image(png(7)[:-30])


def test_what_is_remembered_has_a_limit(decoded: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "REMEMBERED", 1)
    for _ in range(2):
        inspect_image(png(7))
        inspect_image(png(9))

    assert len(decoded) == 3
