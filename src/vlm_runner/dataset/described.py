"""What the `datasets` library makes of a repository or a folder like one: its format, its files by split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.loading import SAFE, kind_of
from vlm_runner.dataset.table import writing
from vlm_runner.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ConfigNeeded(ConfigurationError):
    """The dataset has several configs and none was chosen, or not this one."""

    def __init__(self, message: str, *, hint: str, configs: tuple[str, ...]) -> None:
        super().__init__(message, hint=hint)
        self.configs = configs


@dataclass(frozen=True, slots=True)
class Description:
    kind: str
    splits: Mapping[str, tuple[str, ...]]
    """Files, by their paths from the root."""
    features: Mapping[str, Any] | None = None
    """Of `datasets`, where the dataset's card says them."""
    separator: str | None = None
    """Of CSV, where the card says it."""


def describe(
    datasets: Any,
    path: str,
    config: str | None,
    *,
    root: str,
    name: str,
    cache: Path,
    commit: str | None = None,
    token: str | None = None,
) -> Description:
    """
    `path` as the library resolves it: nothing but the card and the list of files is read.

    Raises:
        ConfigNeeded: the dataset has several configs and none was chosen, or not this one.
        DataError: its format is not read.
    """
    found = {"revision": commit, "token": token, "cache_dir": str(cache)}
    try:
        builder = datasets.load_dataset_builder(path, config, **found)
    except ValueError as error:
        # "Config name is missing" and "BuilderConfig 'x' not found" have no class of their own.
        if not str(error).startswith(("Config name is missing", "BuilderConfig ")):
            raise
        names = datasets.get_dataset_config_names(path, revision=commit, token=token)
        raise _no_config(name, config, names) from None
    if config is not None and builder.config.name != config:
        raise _no_config(name, config, [builder.config.name])
    kind = kind_of(builder)
    if kind not in SAFE:
        raise DataError(
            f"{name} is in the format '{kind}', which is not read.",
            hint=f"Formats: {', '.join(sorted(SAFE))}.",
        )
    splits = {
        str(split): tuple(_below(root, str(file), name) for file in files)
        for split, files in (builder.config.data_files or {}).items()
    }
    separator = getattr(builder.config, "delimiter", None) or getattr(builder.config, "sep", None)
    return Description(
        kind,
        splits,
        builder.info.features,
        separator if kind == "csv" and separator != "," else None,
    )


def _below(root: str, file: str, name: str) -> str:
    """Its path from the root, which it may not leave."""
    path = file.removeprefix(root).lstrip("/")
    if path == file or ".." in path.split("/"):
        raise DataError(
            f"{name} names data outside of it: '{file[:200]}'.", hint="Put the files there, and name them."
        )
    return path


def _no_config(name: str, config: str | None, names: list[str]) -> ConfigNeeded:
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    what = "has several configs" if config is None else f"has no config '{config}'"
    return ConfigNeeded(
        f"{name} {what}: {listed}.",
        hint=f'Choose one in the spec, under [dataset]: config = "{names[0] if names else "…"}".',
        configs=tuple(names),
    )


def keep(description: Description, path: Path) -> None:
    """For a later run, which may have no network."""
    features = description.features
    with writing(path) as temporary:
        temporary.write_text(
            json.dumps(
                {
                    "kind": description.kind,
                    "splits": description.splits,
                    "features": None if features is None else features.to_dict(),  # type: ignore[attr-defined]
                    "separator": description.separator,
                }
            ),
            encoding="utf-8",
        )


def kept(path: Path) -> Description | None:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    from datasets import Features  # noqa: PLC0415 - heavy, and here a dataset is being opened

    features = None if read["features"] is None else Features.from_dict(read["features"])
    splits = {split: tuple(files) for split, files in read["splits"].items()}
    return Description(read["kind"], splits, features, read["separator"])
