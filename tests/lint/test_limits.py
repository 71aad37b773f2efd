"""At each limit and one beyond it: what is allowed is not refused, and the reverse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm_runner.ingest.images import ImageLimits, size_defects
from vlm_runner.ingest.inspect import ImageDefect, check_png_pixels, inspect
from vlm_runner.lint.finding import LintReport, Location, SubsetStats
from vlm_runner.lint.images import too_large_for_a_call
from vlm_runner.lint.rows import check_counts
from vlm_runner.lint.texts import check_text
from vlm_runner.models import find

from .pictures import by_hand, rows_of

NOVA = find("amazon.nova-lite-v1:0:300k")
LIMITS = ImageLimits(max_bytes=1000, min_side=10, max_side=60, formats=("png",))


@pytest.mark.parametrize(
    ("width", "height", "size", "codes"),
    [
        (60, 60, 1000, []),
        (61, 60, 1000, ["I131"]),
        (60, 61, 1000, ["I132"]),
        (60, 60, 1001, ["I130"]),
        (10, 10, 1, []),
        (9, 10, 1, ["I133"]),
        (10, 9, 1, ["I133"]),
        (61, 9, 1001, ["I133", "I131", "I130"]),
    ],
)
def test_an_image_may_be_as_large_as_the_limit(width: int, height: int, size: int, codes: list[str]) -> None:
    assert [found.code for found in size_defects(width, height, size, LIMITS, fit=False)] == codes


@pytest.mark.parametrize(("beyond_side", "beyond_size"), [(0, 0), (1, 0), (0, 1)])
def test_a_call_takes_an_image_of_exactly_its_limits(beyond_side: int, beyond_size: int) -> None:
    facts = inspect(by_hand(16, 16, rows_of(16, 16)))
    assert facts is not None
    side, size = NOVA.inference.max_image_side, NOVA.inference.max_image_bytes

    for sides in ((side + beyond_side, 16), (16, side + beyond_side)):
        large = replace(facts, width=sides[0], height=sides[1])
        found = list(too_large_for_a_call(large, size + beyond_size, NOVA, Location()))
        assert [each.code for each in found] == (["I150"] if beyond_side or beyond_size else [])


@pytest.mark.parametrize(("filter_type", "sound"), [(0, True), (4, True), (5, False), (255, False)])
def test_a_png_knows_five_filters(filter_type: int, sound: bool) -> None:
    body = by_hand(16, 16, rows_of(16, 16, filter_type))
    facts = inspect(body)
    assert facts is not None

    if sound:
        assert check_png_pixels(body, facts) is None
    else:
        with pytest.raises(ImageDefect) as refused:
            check_png_pixels(body, facts)
        assert refused.value.code == "I122"


MARKS = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]


@pytest.mark.parametrize("mark", MARKS, ids=[f"U+{ord(mark):04X}" for mark in MARKS])
def test_every_mark_that_turns_the_direction_of_text_is_found(mark: str) -> None:
    found = list(check_text(f"ab{mark}c", NOVA, Location()))

    assert [each.code for each in found] == ["T213"]
    assert f"U+{ord(mark):04X} at character 2" in found[0].message


@pytest.mark.parametrize("neighbour", ["\u2029", "\u2065", "\u206a", "\u202f"])
def test_a_character_beside_them_is_no_direction_mark(neighbour: str) -> None:
    assert "T213" not in {each.code for each in check_text(neighbour, NOVA, Location())}


def _counted(rows: int, usable: int, *, skip: bool) -> set[str]:
    report = LintReport("model", "source", census={"train": SubsetStats(rows=rows, usable=usable)})
    return {each.code for each in check_counts(report, NOVA, train="train", validation=None, skip=skip)}


def test_rows_that_are_skipped_are_not_counted_as_records() -> None:
    least, most = NOVA.records.minimum, NOVA.records.maximum

    assert "D401" in _counted(least, least - 1, skip=True)
    assert "D401" not in _counted(least, least - 1, skip=False)
    assert "D401" not in _counted(least + 1, least, skip=True)
    assert "D402" not in _counted(most + 1, most, skip=True)
    assert "D402" in _counted(most + 1, most, skip=False)
    assert _counted(5, 0, skip=True) == {"D411"}
