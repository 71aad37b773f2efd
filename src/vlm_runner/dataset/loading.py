"""The `datasets` library behind one door: imported late, quiet, and never to run what it loads."""

from __future__ import annotations

import gzip
import logging
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import DataError, VlmRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE = frozenset({"parquet", "json", "csv", "imagefolder", "arrow", "webdataset"})
"""Formats that are read, all of which hold data only; `pandas` reads pickles."""

_lock = threading.Lock()


def library() -> Any:
    """The `datasets` package; its import takes 1.5 s, so only what opens a dataset pays it."""
    import datasets  # noqa: PLC0415 - see above

    return datasets


def cache_folder(given: Path | None) -> Path:
    return Path(given if given is not None else library().config.HF_DATASETS_CACHE).expanduser()


@contextmanager
def reading(where: str, *, endpoint: str | None = None) -> Iterator[Any]:
    """
    The library, with its progress bars off and at `endpoint`, for one thread at a time.

    It keeps both as globals of its process, and has no other way to be told.

    Raises:
        DataError: what goes wrong inside, in one sentence.
    """
    datasets = library()
    with _lock, _quiet(datasets), _at(datasets, endpoint), translated(where):
        yield datasets


@contextmanager
def translated(where: str) -> Iterator[None]:
    """
    What goes wrong inside, in one sentence.

    Raises:
        DataError
    """
    try:
        yield
    except VlmRunnerError:
        raise
    except Exception as error:
        # The libraries' own errors, Arrow's and HTTP's share no base, and odd data fails in any way.
        raise unreadable(where, error) from error


def unreadable(where: str, error: BaseException) -> DataError:
    if isinstance(error, MemoryError):
        return DataError(
            f"{where} cannot be read: it unpacks to more memory than it may use.",
            hint="Is it a decompression bomb? If not, write it in smaller row groups, or as JSON lines.",
        )
    cause = error.__cause__ or error
    said = " ".join(str(cause).split("\n")[:2]).strip() or type(cause).__name__
    return DataError(
        f"{where} cannot be read: {said.rstrip('.')}.", hint=_DAMAGED if _is_damage(cause) else None
    )


_DAMAGED: Final = (
    "The file is damaged, cut off, or of another format than its name says: fetch or write it anew."
)


def _is_damage(error: BaseException) -> bool:
    """Of the bytes of a file, and not of the way to them."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset was to be opened

    return isinstance(error, EOFError | gzip.BadGzipFile | zlib.error | UnicodeDecodeError | pa.ArrowInvalid)


def kind_of(builder: Any) -> str:
    """The format that a builder reads, such as `parquet`."""
    return next(
        cls.__module__.rpartition(".")[2]
        for cls in type(builder).__mro__
        if cls.__module__.startswith("datasets.packaged_modules.")
    )


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415 - see `library`
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    ours, hubs = datasets.are_progress_bars_disabled(), are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    datasets.disable_progress_bars()
    disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what it logs, it also raises; then it is told once, by us
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not ours:
            datasets.enable_progress_bars()
        if not hubs:
            enable_progress_bars()


@contextmanager
def _at(datasets: Any, endpoint: str | None) -> Iterator[None]:
    config = datasets.config
    before = config.HF_ENDPOINT, config.HF_UPDATE_DOWNLOAD_COUNTS
    # The counter is a request to another host for every dataset opened, local ones too.
    config.HF_ENDPOINT, config.HF_UPDATE_DOWNLOAD_COUNTS = (endpoint or before[0]).rstrip("/"), False
    try:
        yield
    finally:
        config.HF_ENDPOINT, config.HF_UPDATE_DOWNLOAD_COUNTS = before
