"""The geometry of a chart, by hand: its field reaches from (52, 16) to (628, 260)."""

from __future__ import annotations

import pytest

from vlm_runner.report.charts import chart, thinned, ticks


def test_a_line_runs_from_corner_to_corner_of_its_field() -> None:
    drawn = chart([("loss", [(0.0, 0.0), (5.0, 1.0), (10.0, 4.0)])])

    assert drawn is not None
    (line,) = drawn.lines
    assert line.path == "M52.0 260.0 L340.0 199.0 L628.0 16.0"
    assert line.marks == ((52.0, 260.0), (340.0, 199.0), (628.0, 16.0))
    assert (line.label, line.label_x, line.label_y) == ("loss 4.000", 637.0, 20.0)
    assert (line.first, line.last, line.lowest) == (0.0, 4.0, 0.0)
    assert [(tick.at, tick.label) for tick in drawn.ys] == [
        (260.0, "0"), (199.0, "1"), (138.0, "2"), (77.0, "3"), (16.0, "4"),
    ]  # fmt: skip
    assert [(tick.at, tick.label) for tick in drawn.xs] == [
        (52.0, "0"), (167.2, "2"), (282.4, "4"), (397.6, "6"), (512.8, "8"), (628.0, "10"),
    ]  # fmt: skip


def test_lines_share_a_scale_and_are_told_apart() -> None:
    drawn = chart([(f"line {n}", [(0.0, 4.0), (10.0, float(n))]) for n in range(5)] + [("none", [])])

    assert drawn is not None
    assert [line.name for line in drawn.lines] == [f"line {n}" for n in range(5)]
    assert [line.style for line in drawn.lines] == [0, 1, 2, 3, 0]
    assert [line.marks[-1] for line in drawn.lines] == [(628.0, 260.0 - 61 * n) for n in range(5)]
    assert [line.lowest for line in drawn.lines] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "bottom"),
    [
        pytest.param((3.0, 4.0), "3", id="close together: the scale begins with them"),
        pytest.param((2.0, 4.0), "2", id="half is close"),
        pytest.param((1.9, 4.0), "0", id="far apart: from nought"),
        pytest.param((-1.0, 4.0), "-1", id="below nought"),
    ],
)
def test_the_scale_begins_at_nought_unless_that_hides_the_line(
    values: tuple[float, ...], bottom: str
) -> None:
    drawn = chart([("loss", list(enumerate(values)))])

    assert drawn is not None
    assert drawn.ys[0].label == bottom


def test_epochs_are_marked_where_they_begin_but_the_first() -> None:
    drawn = chart([("loss", [(0.0, 2.0), (10.0, 1.0)])], (0.0, 5.0, 10.0, 11.0))

    assert drawn is not None
    assert drawn.epochs == (340.0, 628.0)


def test_a_single_point_has_its_place_at_the_left() -> None:
    drawn = chart([("loss", [(7.0, 0.0)])])

    assert drawn is not None
    assert drawn.lines[0].path == "M52.0 260.0"


@pytest.mark.parametrize(
    ("points", "marked"),
    [(40, list(range(40))), (41, list(range(0, 41, 5))), (42, [*range(0, 42, 5), 41])],
)
def test_a_dense_line_is_marked_at_some_eight_points_and_its_last(points: int, marked: list[int]) -> None:
    drawn = chart([("loss", [(float(n), 1.0) for n in range(points)])])

    assert drawn is not None
    places = [float(pair.split()[0].lstrip("M")) for pair in drawn.lines[0].path.split(" L")]
    assert [x for x, _ in drawn.lines[0].marks] == [places[n] for n in marked]


def test_a_long_curve_is_thinned_to_the_means_of_neighbours() -> None:
    points = [(float(n), float(n * n)) for n in range(480)]

    found = thinned(points)

    assert len(found) == 240
    assert found[1] == (2.5, (2 * 2 + 3 * 3) / 2)
    assert (found[0], found[-1]) == ((0.0, 0.0), (479.0, 479.0**2))
    assert thinned(points[:240]) == points[:240]
    assert len(thinned(points[:241])) == 121


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 7, [0, 2, 4, 6, 8]),
        (0, 12, [0, 2.5, 5, 7.5, 10, 12.5]),
        (0, 25, [0, 5, 10, 15, 20, 25]),
        (0, 40, [0, 10, 20, 30, 40]),
        (-3, 8, [-5, -2.5, 0, 2.5, 5, 7.5, 10]),
        (1, 1, [1, 1.2]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_labels_of_lines_that_end_together_keep_fifteen_pixels_apart() -> None:
    drawn = chart(
        [(name, [(0.0, 0.0), (1.0, value)]) for name, value in (("a", 2.0), ("b", 2.0), ("c", 1.99))]
    )

    assert drawn is not None
    assert [line.label_y for line in drawn.lines] == [20.0, 35.0, 50.0]
