"""What a place in S3 tells of its rows: a dataset that has grown continues it, another one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_runner.ingest.stored import begins_with, first_digest, held_digests

from .pictures import SOURCES
from .staging import opened, place_of, stage, write_dataset, write_several

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.aws.ports import Objects

GOOD, OTHER = SOURCES["png-L"], SOURCES["png-RGB"]
ALIKE = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
"""As long as GOOD, and another image."""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


async def test_rows_that_were_skipped_are_known_to_a_dataset_that_has_grown(
    objects: Objects, cache: Path, tmp_path: Path
) -> None:
    rows = [GOOD, b"not an image", None, OTHER]
    subset = opened(write_dataset(tmp_path / "first", rows), cache)
    await stage(subset, objects, skip=True)

    digests = await held_digests(objects, place_of(subset), len(rows))

    assert digests is not None
    assert len(digests) == len(rows)
    assert begins_with(subset, digests)
    assert begins_with(opened(write_dataset(tmp_path / "grown", [*rows, GOOD]), cache), digests)
    assert begins_with(opened(write_dataset(tmp_path / "shorter", rows[:3]), cache), digests)
    for place, image in enumerate((OTHER, b"no image either", GOOD, GOOD)):
        changed = [*rows[:place], image, *rows[place + 1 :]]
        assert not begins_with(opened(write_dataset(tmp_path / f"{place}", changed), cache), digests)


async def test_rows_that_were_never_staged_are_not_known(
    objects: Objects, cache: Path, tmp_path: Path
) -> None:
    subset = opened(write_dataset(tmp_path / "d", [GOOD, OTHER]), cache)
    assert await held_digests(objects, place_of(subset), 2) is None
    await stage(subset, objects)

    assert await held_digests(objects, place_of(subset), 2) is not None
    assert await held_digests(objects, place_of(subset), 3) is None


@pytest.mark.parametrize(
    "images",
    [[ALIKE, OTHER], [OTHER, GOOD], [GOOD], [GOOD, OTHER, OTHER], [GOOD + OTHER]],
    ids=["one of equal length", "another order", "fewer", "more", "one after another"],
)
def test_a_row_is_told_by_each_of_its_images(images: list[bytes | None], cache: Path, tmp_path: Path) -> None:
    def digest(name: str, images: list[bytes | None]) -> str:
        return first_digest(opened(write_several(tmp_path / name, [images]), cache))

    assert digest("other", images) != digest("one", [GOOD, OTHER])
    assert digest("same", [GOOD, OTHER]) == digest("one", [GOOD, OTHER])
