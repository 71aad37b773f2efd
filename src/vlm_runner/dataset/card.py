"""The card of a local copy of a Hub dataset, judged before the `datasets` library follows what it says."""

from __future__ import annotations

import itertools
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.dataset.images import holds
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARD: Final = ("README.md", ".huggingface.yaml")
LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a card."""
MOST_VALUES: Final = 1_000_000
"""In a card once its aliases are followed: YAML can say so many in a few lines that no memory holds them."""


def card_texts(path: Path) -> dict[str, str]:
    """
    The card's files in the folder `path`, by name; those that are no text are left out.

    Raises:
        DataError: one is a pipe, a link out of the folder, or too large.
    """
    found: dict[str, str] = {}
    for name in CARD:
        file = path / name
        if not file.exists():
            continue
        if not file.is_file() or not holds(path, file) or file.stat().st_size > LARGEST:
            raise DataError(
                f"{file} cannot be a dataset's card: no file in its folder, or over {LARGEST:,} bytes.",
                hint="Put the file itself there, or remove it.",
            )
        try:
            found[name] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return found


def refuse_paths_outside(path: Path) -> None:
    """
    Of the files and folders that the card of `path` names, `datasets` reads any, and asks any address.

    Raises:
        DataError: one lies outside the folder, or the card says more than is read.
    """
    for name, text in card_texts(path).items():
        said = _parsed(name, text)
        if _values(said, {}) > MOST_VALUES:
            raise DataError(f"{path / name} says more than {MOST_VALUES:,} things.", hint="Write it anew.")
        for place in _places(said.get("configs") if isinstance(said, dict) else None):
            if (
                "://" in place
                or "::" in place
                or place.startswith(("/", "~"))
                or ".." in PurePosixPath(place).parts
            ):
                raise DataError(
                    f"{path / name} names data outside of its folder: '{place[:200]}'.",
                    hint="Put the files there, and name them by their paths in the folder.",
                )


def _parsed(name: str, text: str) -> Any:
    """As `datasets` reads it."""
    import yaml  # noqa: PLC0415 - comes with `datasets`
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # noqa: PLC0415 - heavy

    if name != CARD[0]:
        return yaml.safe_load(text)
    block = REGEX_YAML_BLOCK.search(text)
    return None if block is None else yaml.safe_load(block.group(2))


def _values(said: Any, known: dict[int, int]) -> int:
    """How many there are in it, one that stands in several places counted in each."""
    if not isinstance(said, dict | list):
        return 1
    if id(said) not in known:
        known[id(said)] = MOST_VALUES + 1  # of one that holds itself
        inner = itertools.chain(said.keys(), said.values()) if isinstance(said, dict) else said
        known[id(said)] = 1 + sum(_values(one, known) for one in inner)
    return known[id(said)]


def _places(said: Any) -> Iterator[str]:
    """All texts of `data_files` and `data_dir`."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict):
        names = (
            ("data_files", "data_dir") if said.keys() & {"data_files", "data_dir", "config_name"} else said
        )
        for one in names:
            yield from _places(said.get(one))
    elif isinstance(said, list):
        for one in said:
            yield from _places(one)
