"""What a dataset holds, as a hash that is the same wherever its files lie."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MISSING = "missing"
_SETTLED = 2.0
"""Seconds: a file changed less than this ago may change again within its timestamp's grain."""


def digest_of(*parts: Any) -> str:
    """SHA-256 (hex) over `parts` as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_rows(rows: Sequence[int]) -> str:
    if isinstance(rows, range):
        return f"{rows.start}:{rows.stop}"
    return hashlib.sha256(array("Q", rows).tobytes()).hexdigest()


class FileDigests:
    """
    SHA-256 (hex) of files, remembered in `store` by size and times.

    A second look at a large dataset then costs a stat for each file.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, list[Any]] = _load(store)

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The digest of each path; `MISSING` for one that cannot be read."""
        unique = list(dict.fromkeys(paths))
        if len(unique) > 1:
            with ThreadPoolExecutor(max_workers=8) as pool:
                digests = list(pool.map(self._one, unique))
        else:
            # Python waits for ever for a thread that finds no memory to begin in.
            digests = [self._one(path) for path in unique]
        _save(self._store, self._known)
        return dict(zip(unique, digests, strict=True))

    def _one(self, path: Path) -> str:
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return MISSING  # a pipe would be waited for
            state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
            known = self._known.get(str(path))
            if known is not None and known[:-1] == state:
                return str(known[-1])
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return MISSING
        if time.time() - found.st_mtime > _SETTLED:
            self._known[str(path)] = [*state, digest]
        return digest


def _load(store: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _save(store: Path, known: dict[str, list[Any]]) -> None:
    # Only a memory: where it cannot be kept, the next look costs more, and is as right.
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=store.parent, delete=False, encoding="utf-8", suffix=".tmp"
        ) as file:
            json.dump(known, file)
        Path(file.name).replace(store)
    except OSError:
        return


def relative(path: Path, root: Path) -> str:
    """`path` from `root`, with `/`, so that it reads the same on every machine."""
    return os.path.relpath(path, root).replace(os.sep, "/")
