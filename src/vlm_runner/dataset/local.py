"""Rows in local files: which files, of which format, for which split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Formats that hold data only: nothing here can run code when it is read, as a pickle would.
FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".arrow": "arrow",
}
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
METADATA = frozenset({"metadata.jsonl", "metadata.csv", "metadata.parquet"})
DESCRIPTIONS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """A source on this machine. `kind` is a format, `imagefolder`, or `saved`: then a split is one folder."""

    root: Path
    kind: str
    splits: Mapping[str, tuple[Path, ...]]


def find_files(source: Path) -> LocalFiles:
    """
    What `source` holds: one file, a folder of files, an image folder, or a dataset saved by `save_to_disk`.

    Raises:
        DataError: nothing that can be read as rows, or files of several formats.
    """
    path = Path(source).expanduser().absolute()
    if path.is_file():
        return LocalFiles(path.parent, _format(path), {"train": (path,)})
    if saved := _saved(path):
        return LocalFiles(path, "saved", saved)
    files = sorted(_visible(path))
    if any(file.name in METADATA for file in files):
        return _imagefolder(path, files)
    return _folder(path, files)


def by_split(root: Path, files: Iterable[Path], *, by_folder: bool = False) -> dict[str, tuple[Path, ...]]:
    """
    `files` by the split that their names or folders tell: `train-00000-of-00002.parquet`, `data/val/a.jsonl`.

    Where no name tells, all are `train`; where some do, the others are left out. `by_folder`: only folders
    tell, since an image may be called `test.png` in any split.
    """
    named: dict[str, list[Path]] = {}
    every = list(files)
    for file in every:
        told = file.relative_to(root)
        if split := split_of(told.parent if by_folder else told.with_suffix("")):
            named.setdefault(split, []).append(file)
    if not named:
        return {"train": tuple(every)} if every else {}
    return {split: tuple(found) for split, found in sorted(named.items())}


def split_of(path: Path) -> str | None:
    """The split that a path tells, its last part first, by the words that the `datasets` library knows."""
    for part in reversed(path.parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, keywords in SPLITS.items():
            if any(word in keywords for word in words):
                return split
    return None


def _format(path: Path) -> str:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"Unsupported dataset: {path}.", hint=f"Supported formats: {', '.join(sorted(FORMATS))}."
        )
    return kind


def _folder(path: Path, files: list[Path]) -> LocalFiles:
    rows = [file for file in files if file.suffix.lower() in FORMATS and file.name not in DESCRIPTIONS]
    # A folder of rows often holds some settings in JSON as well.
    rows = [file for file in rows if file.suffix.lower() != ".json"] or rows
    kinds = sorted({_format(file) for file in rows})
    if len(kinds) > 1:
        raise DataError(
            f"{path} holds files of several formats: {', '.join(kinds)}.",
            hint="Name one file in dataset.source, or keep one format to a folder.",
        )
    if kinds:
        return LocalFiles(path, kinds[0], by_split(path, rows))
    if any(file.suffix.lower() in IMAGES for file in files):
        return _imagefolder(path, files)
    raise DataError(
        f"{path} holds no rows.",
        hint=f"It takes {', '.join(sorted(FORMATS))} files, or images with metadata.jsonl.",
    )


def _imagefolder(path: Path, files: list[Path]) -> LocalFiles:
    kept = [file for file in files if file.suffix.lower() in IMAGES or file.name in METADATA]
    return LocalFiles(path, "imagefolder", by_split(path, kept, by_folder=True))


def _visible(path: Path) -> Iterable[Path]:
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith((".", "__")) for part in parts):
            yield file


def _saved(path: Path) -> dict[str, tuple[Path, ...]] | None:
    if (path / "state.json").is_file():
        return {"train": (path,)}
    if (path / "dataset_dict.json").is_file():
        return {child.name: (child,) for child in sorted(path.iterdir()) if (child / "state.json").is_file()}
    return None
