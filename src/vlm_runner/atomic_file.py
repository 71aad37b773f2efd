"""A file that is replaced as a whole, or not at all."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    A file to write that becomes `path` when it is complete, and nothing when it is not.

    Not for checkpoints, which must survive a loss of power as well.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        made = Path(file.name)
    try:
        yield made
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
