"""Rows in local files: which files, of which format, for which split."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from vlm_runner.dataset.card import CARD, card_texts, refuse_paths_outside
from vlm_runner.dataset.described import Description, describe
from vlm_runner.dataset.folders import is_image, is_metadata
from vlm_runner.dataset.images import holds
from vlm_runner.dataset.loading import reading
from vlm_runner.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Formats that hold data only: nothing here can run code when it is read, as a pickle would.
FORMATS: Final = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
    ".tar": "webdataset",
}
COMPRESSED: Final = (".gz", ".zst")
_UNPACK: Final = "Unpack it, and give dataset.source the folder."
_TABLE: Final = "Save it as CSV or Parquet, such as with pandas."
INSTEAD: Final = {
    **dict.fromkeys((".zip", ".rar", ".7z", ".tgz"), _UNPACK),
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods", ".pkl", ".pickle", ".feather", ".h5", ".db", ".sqlite"), _TABLE
    ),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "Give dataset.source the folder of the images."),
    ".tfrecord": "Write it as Parquet or as WebDataset shards.",
}
"""What to do with a file of a format that is not read."""
DESCRIPTIONS: Final = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
SPLITS: Final = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_DESCRIBED = re.compile(r"^(configs|dataset_info):", re.MULTILINE)
_SHARDED = re.compile(r"data/[^/]+-\d{5}-of-\d{5}[^/]*\.[^/]*")


def describe_local(path: Path, config: str | None, cache: Path, *, name: str) -> Description:
    """
    What a folder holds: files of rows, images, or a copy of a dataset on the Hub.

    A copy (its card names configs or features, or its files are `data/NAME-00000-of-00001.*`) gives the
    configs, splits and rows that the Hub gives. `name` is what errors call the folder.

    Raises:
        DataError: nothing that can be read as rows, or files of several formats.
        ConfigurationError: it has several configs and none was chosen, or not this one.
    """
    files = sorted(file.relative_to(path).as_posix() for file in _visible(path))
    if _is_copy(path, files):
        with reading(name) as datasets:
            refuse_paths_outside(path)
            return describe(
                datasets, str(path), config, root=path.resolve().as_posix(), name=name, cache=cache
            )
    return describe_files(name, files, config)


def describe_files(name: str, files: Sequence[str], config: str | None = None) -> Description:
    """As `describe_local`, by the names of the files alone."""
    if config is not None:
        raise ConfigurationError(
            f"{name} has no config '{config}': it has no README.md that names any.",
            hint="Leave dataset.config out.",
        )
    if any(is_metadata(file) for file in files):
        return _imagefolder(name, files)
    rows = [file for file in files if format_of(file) and posixpath.basename(file) not in DESCRIPTIONS]
    # A folder of rows often holds some settings in JSON as well.
    rows = [file for file in rows if not file.lower().endswith(".json")] or rows
    kinds = sorted({str(format_of(file)) for file in rows})
    if len(kinds) > 1:
        raise DataError(
            f"{name} holds files of several formats: {', '.join(kinds)}.",
            hint="Name one file in dataset.source, or keep one format to a folder.",
        )
    if kinds:
        return Description(kinds[0], by_split(rows))
    if any(is_image(file) for file in files):
        return _imagefolder(name, files)
    raise DataError(
        f"{name} holds no rows.",
        hint=f"It takes {', '.join(sorted(FORMATS))} files (also with .gz or .zst), or images with "
        "metadata.jsonl.",
    )


def format_of(path: str) -> str | None:
    """The format that a file's name says, also below `.gz` and `.zst`."""
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return FORMATS.get(posixpath.splitext(name)[1])


def describe_file(path: str, config: str | None) -> Description:
    """
    One file of rows.

    Raises:
        DataError: of a format that is not read.
        ConfigurationError: a config is asked for.
    """
    if config is not None:
        raise ConfigurationError(f"{path} is one file, and has no configs.", hint="Leave dataset.config out.")
    kind = format_of(path)
    if kind is None:
        instead = INSTEAD.get(posixpath.splitext(path)[1].lower())
        taken = f"Supported formats: {', '.join(sorted(FORMATS))}, each also with .gz or .zst."
        raise DataError(
            f"Unsupported dataset: {path}.", hint=taken if instead is None else f"{instead} {taken}"
        )
    return Description(kind, {"train": (posixpath.basename(path),)})


def by_split(files: Iterable[str], *, by_folder: bool = False) -> dict[str, tuple[str, ...]]:
    """
    `files` by the split that their names or folders tell: `train-00000-of-00002.parquet`, `data/val/a.jsonl`.

    Where no name tells, all are `train`; where some do, the others are left out. `by_folder`: only folders
    tell, since an image may be called `test.png` in any split.
    """
    named: dict[str, list[str]] = {}
    every = list(files)
    for file in every:
        told = posixpath.dirname(file) if by_folder else _stem(file)
        if split := split_of(told):
            named.setdefault(split, []).append(file)
    if not named:
        return {"train": tuple(every)} if every else {}
    return {split: tuple(found) for split, found in sorted(named.items())}


def _stem(path: str) -> str:
    for ending in (*COMPRESSED, *FORMATS):
        path = path[: -len(ending)] if path.lower().endswith(ending) else path
    return path


def split_of(path: str) -> str | None:
    """The split that a path tells, its last part first, by the words that the `datasets` library knows."""
    for part in reversed(path.split("/")):
        words = re.split(r"[^a-z]+", part.lower())
        for split, keywords in SPLITS.items():
            if any(word in keywords for word in words):
                return split
    return None


def saved_splits(path: Path) -> dict[str, Path] | None:
    """Of a dataset or a dictionary of them written by `save_to_disk`; None: it is none."""
    if (path / "state.json").is_file():
        return {"train": path}
    if (path / "dataset_dict.json").is_file():
        return {child.name: child for child in sorted(path.iterdir()) if (child / "state.json").is_file()}
    return None


def _is_copy(path: Path, files: Iterable[str]) -> bool:
    for name, card in card_texts(path).items():
        beginning = card.split("\n---", 1)[0] if card.startswith("---") else card if name != CARD[0] else ""
        if _DESCRIBED.search(beginning):
            return True
    return any(is_sharded(file) for file in files)


def is_sharded(path: str) -> bool:
    """Whether the name is one that the Hub gives to its shards."""
    return _SHARDED.fullmatch(path) is not None and format_of(path) is not None


def _imagefolder(name: str, files: Sequence[str]) -> Description:
    kept = [file for file in files if is_image(file) or is_metadata(file)]
    splits = by_split(kept, by_folder=True)
    taken = {file for found in splits.values() for file in found}
    left_out = [file for file in kept if is_metadata(file) and file not in taken]
    if left_out:
        raise DataError(
            f"{left_out[0]} in {name} is in none of its splits, which are the folders {', '.join(splits)}.",
            hint="Put each split's metadata into its own folder, with file_name relative to it.",
        )
    return Description("imagefolder", splits)


def refuse_links(path: Path) -> None:
    """
    Images are judged row by row; a file of rows is not a row's to lose.

    Raises:
        DataError: one is a link out of the folder `path`.
    """
    for file in _visible(path):
        if not is_image(file.name) and not holds(path, file):
            raise DataError(
                f"{file} is a link out of the dataset's folder.",
                hint="Put the file itself there; data must not reach other files of the machine.",
            )


def _visible(path: Path) -> Iterable[Path]:
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith((".", "__")) for part in parts):
            yield file
