"""Where checkpoints lie, for whoever must know it before anything heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vlm_runner.path_segment import path_segment

STATE: Final = "state.json"


def default_checkpoint_folder() -> Path:
    """One place for all runs of a user, so that `list` shows all that may bill, from any folder."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "vlm-runner"


def checkpoint_uri_from_environment() -> str | None:
    """As `Settings.checkpoint_uri`, which may be spelt in any case; also where the settings do not fit."""
    given = (value for name, value in os.environ.items() if name.upper() == "VLM_RUNNER_CHECKPOINT_URI")
    return next(given, None)


def run_folder(root: Path, run_id: str) -> Path:
    """Of one run in a local store."""
    return root.expanduser().absolute() / "runs" / path_segment(run_id)
