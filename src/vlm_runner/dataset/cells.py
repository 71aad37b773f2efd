"""
What the cells of a table hold, exactly: text stays that text, a label is its name, bytes stay out of texts.

Text formats (JSON, CSV, metadata of a folder) know fewer types than Arrow, and whatever guesses a type from
them rewrites data: `2024-03-01` becomes midnight, `01234` loses its zero. So their cells are kept as strings,
and all that JSON knows besides strings as the JSON it was.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

AS_JSON: Final = {b"vlm-runner": b"json"}
"""Metadata of an Arrow field whose strings are JSON."""
MOST_KEYS: Final = 64
"""An object of more keys is a dictionary, and not a record whose missing keys are null."""

Shape = dict[str, Any]
"""
Of the values at one place of a JSON document: `keys` (of objects, each with its shape), `items` (of lists).

`text`: what all its strings looked like so far (`time`, `other`); `numbers`: `int`, `float` or `both`.
"""

_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:?\d\d(:?\d\d)?)?Z?)?")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*[+-]?(inf|infinity)\s*", re.IGNORECASE)
_MISSING = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
"""What pandas reads as missing."""


def note_shape(value: object, shape: Shape) -> None:
    """Take `value` into the shape of its place."""
    if isinstance(value, str):
        looks = "time" if _TIME.fullmatch(value) else "other"
        if shape.setdefault("text", looks) != looks:
            shape["text"] = "other"
    elif isinstance(value, dict):
        keys = shape.setdefault("keys", {})
        for key, child in value.items():
            note_shape(child, keys.setdefault(key, {}))
    elif isinstance(value, list):
        items = shape.setdefault("items", {})
        for item in value:
            note_shape(item, items)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        kind = type(value).__name__
        if shape.setdefault("numbers", kind) != kind:
            shape["numbers"] = "both"


def merge_shapes(into: Shape, other: Shape) -> None:
    for name in ("text", "numbers"):
        if name in other and into.setdefault(name, other[name]) != other[name]:
            into[name] = "other" if name == "text" else "both"
    for key, child in other.get("keys", {}).items():
        merge_shapes(into.setdefault("keys", {}).setdefault(key, {}), child)
    if "items" in other:
        merge_shapes(into.setdefault("items", {}), other["items"])


def has_records(shape: Shape) -> bool:
    """Whether values of this shape hold objects whose missing keys are to be filled in."""
    return "keys" in shape or ("items" in shape and has_records(shape["items"]))


def completed(value: Any, shape: Shape) -> Any:
    """
    `value` with a null for each key that an object in another row has at the same place.

    Parquet and the Hub give the same; a template can so ask for what a row leaves out.
    """
    if isinstance(value, dict) and "keys" in shape:
        keys = shape["keys"]
        known = keys if len(keys) <= MOST_KEYS else value
        return {
            key: completed(value.get(key), keys[key])
            for key in (*value, *(k for k in known if k not in value))
        }
    if isinstance(value, list) and "items" in shape:
        return [completed(item, shape["items"]) for item in value]
    return value


def was_retyped(shape: Shape) -> bool:
    """Whether earlier versions read something else from such values: times, integers beside floats."""
    return (
        shape.get("text") == "time"
        or shape.get("numbers") == "both"
        or any(was_retyped(child) for child in shape.get("keys", {}).values())
        or ("items" in shape and was_retyped(shape["items"]))
    )


def column_was_retyped(cells: Iterable[str | None]) -> bool:
    """As `was_retyped`, for a column of CSV: pandas read it then."""
    there = list(cells)
    texts = [cell for cell in there if cell is not None]
    if any(text in _MISSING for text in texts):
        return True
    if texts and all(text in {"True", "False"} for text in texts):
        return len(texts) < len(there)
    if texts and all(text.lower() in {"true", "false"} for text in texts):
        return True
    if not texts or not all(_NUMBER.fullmatch(text) for text in texts):
        return False
    whole = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
    return len(texts) < len(there) or not (whole or all(_same_float(text) for text in texts))


def _same_float(text: str) -> bool:
    try:
        return "." in text and str(float(text)) == text
    except ValueError:
        return False


def arrow_column(name: str, values: Sequence[Any]) -> tuple[Any, Any]:
    """Field and array of a column of a text format: strings as they are, anything else as JSON."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is being read

    if all(value is None or isinstance(value, str) for value in values) and not any(
        value is not None and _surrogate(value) for value in values
    ):
        return pa.field(name, pa.large_string()), pa.array(values, pa.large_string())
    encoded = [None if value is None else json.dumps(value, default=str) for value in values]
    return pa.field(name, pa.large_string(), metadata=AS_JSON), pa.array(encoded, pa.large_string())


def _surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def decoder_of(feature: Any) -> Callable[[Any], Any] | None:
    """From what Arrow holds to what a row shows: a label to its name, JSON to its value; None: as it is."""
    if isinstance(feature, dict):
        children = {
            name: decode for name, child in feature.items() if (decode := decoder_of(child)) is not None
        }
        return (lambda value: _decoded_struct(value, children)) if children else None
    if isinstance(feature, list):
        return _list_decoder(feature[0])
    kind = type(feature).__name__
    if kind in {"List", "LargeList", "Sequence"}:
        return _list_decoder(feature.feature)
    if kind == "ClassLabel":
        names = list(feature.names or ())
        return lambda label: names[label] if isinstance(label, int) and 0 <= label < len(names) else label
    if kind == "Json":
        return lambda text: json.loads(text) if isinstance(text, str) else text
    return None


def _list_decoder(feature: Any) -> Callable[[Any], Any] | None:
    decode = decoder_of(feature)
    if decode is None:
        return None
    return lambda value: [decode(item) for item in value] if isinstance(value, list) else value


def _decoded_struct(value: Any, children: Mapping[str, Callable[[Any], Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: children[name](child) if name in children else child for name, child in value.items()}


def _children(feature: Any) -> list[Any] | None:
    """The features that `feature` is made of; None for one that is made of none."""
    if isinstance(feature, dict):
        return list(feature.values())
    if isinstance(feature, list):
        return feature
    return [feature.feature] if type(feature).__name__ in {"List", "LargeList", "Sequence"} else None


def labels_in(feature: Any) -> list[list[str]]:
    """The names of every ClassLabel in `feature`."""
    if (children := _children(feature)) is not None:
        return [names for child in children for names in labels_in(child)]
    return [list(feature.names or ())] if type(feature).__name__ == "ClassLabel" else []


def is_plain(feature: Any) -> bool:
    """Whether its cells hold no bytes."""
    if (children := _children(feature)) is not None:
        return all(map(is_plain, children))
    kind = type(feature).__name__
    return kind in {"Json", "ClassLabel"} or (kind == "Value" and "binary" not in feature.dtype)


def has_text(feature: Any) -> bool:
    """Whether its cells hold anything besides images and bytes."""
    if isinstance(feature, dict) and set(feature) == {"bytes", "path"}:
        return False
    if (children := _children(feature)) is not None:
        return any(map(has_text, children))
    return is_plain(feature)


def without_bytes(value: Any) -> Any:
    """`value` with None for all bytes in it, so that a template can use what stands beside an image."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return None
    if isinstance(value, dict):
        return {key: without_bytes(child) for key, child in value.items()}
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    return value
