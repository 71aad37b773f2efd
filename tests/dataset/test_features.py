"""What the cells of a column hold, by its features; and what objects are to a template."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Image, List, Value

from vlm_runner.dataset.cells import Shape, completed, has_text, is_plain, note_shape

TEXT, BINARY = Value("string"), Value("binary")
EMBEDDED = {"bytes": BINARY, "path": TEXT}


@pytest.mark.parametrize(
    ("feature", "text", "plain"),
    [
        (TEXT, True, True),
        (Value("int64"), True, True),
        (ClassLabel(names=["a"]), True, True),
        (List(TEXT), True, True),
        ([TEXT], True, True),
        ({"text": TEXT, "data": BINARY}, True, False),
        ([{"image": EMBEDDED, "text": TEXT}], True, False),
        (BINARY, False, False),
        (Value("large_binary"), False, False),
        (Image(), False, False),
        (EMBEDDED, False, False),
        (List(EMBEDDED), False, False),
        ([{"image": EMBEDDED}], False, False),
    ],
    ids=str,
)
def test_a_column_has_text_if_anything_in_it_is_neither_image_nor_bytes(
    feature: Any, text: bool, plain: bool
) -> None:
    assert has_text(feature) is text
    assert is_plain(feature) is plain


@pytest.mark.parametrize(("keys", "filled"), [(64, True), (65, False)])
def test_an_object_of_few_keys_is_a_record_and_of_more_a_dictionary(keys: int, filled: bool) -> None:
    shape: Shape = {}
    for key in range(keys):
        note_shape({f"k{key}": key}, shape)

    found = completed({"k1": 1}, shape)

    assert found == ({f"k{key}": 1 if key == 1 else None for key in range(keys)} if filled else {"k1": 1})
