"""Which values earlier versions trained as something else: their columns have another fingerprint now."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_runner.dataset.cells import Shape, column_was_retyped, note_shape, was_retyped


@pytest.mark.parametrize(
    ("values", "retyped"),
    [
        (["2024-03-01", "2024-03-02 10:00:00Z"], True),
        (["2024-03-01", "soon"], False),
        (["10:30", "text", None], False),
        ([1, 2.5], True),
        ([1, 2, None], False),
        ([1.5, 2.5], False),
        ([True, False], False),
        ([{"when": "2024-03-01"}, {"when": None, "what": "a"}], True),
        ([{"when": "soon"}], False),
        ([[1], [2.5]], True),
        ([[1, 2], []], False),
        ([[{"size": [1, 2.5]}]], True),
        ([], False),
    ],
    ids=str,
)
def test_times_and_integers_beside_floats_were_retyped_at_any_depth(values: list[Any], retyped: bool) -> None:
    shape: Shape = {}
    for value in values:
        note_shape(value, shape)

    assert was_retyped(shape) is retyped


@pytest.mark.parametrize(
    ("cells", "retyped"),
    [
        (["1", "-2", "0"], False),
        (["1", None], True),
        (["01", "2"], True),
        (["9" * 19], True),
        (["1.5", "-2.0"], False),
        (["1.5", None], True),
        (["1.50"], True),
        (["1.5", "2"], True),
        (["1e5"], True),
        (["True", "False"], False),
        (["True", None], True),
        (["true", "False"], True),
        (["True", "maybe"], False),
        (["NA", "text"], True),
        (["text", None], False),
        (["2024-03-01"], False),
        ([None, None], False),
        ([], False),
    ],
    ids=str,
)
def test_cells_that_pandas_takes_for_numbers_truths_or_nothing_were_retyped(
    cells: list[str | None], retyped: bool
) -> None:
    """But not where the text of what it made of them is what stood there."""
    assert column_was_retyped(cells) is retyped


MISSING = """
#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null
"""
"""Of pandas' documentation: `read_csv`, na_values."""


@pytest.mark.parametrize("text", MISSING.strip().split("|"))
def test_what_pandas_reads_as_missing_was_retyped(text: str) -> None:
    assert column_was_retyped(["some", text])
    assert not column_was_retyped(["some", f"{text}!"])
