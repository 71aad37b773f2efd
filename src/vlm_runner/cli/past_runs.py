"""The runs of a local store, as far as their files tell: which changed last, and how long phases took."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from vlm_runner.cli.run_view import local_root, read_view
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.phases import Phase
from vlm_runner.core.timeline import PAST_RUNS, spelled, usual_seconds
from vlm_runner.errors import RunNotFound, VlmRunnerError
from vlm_runner.path_segment import is_path_segment
from vlm_runner.paths import STATE, runs_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vlm_runner.cli.options import Where
    from vlm_runner.cli.run_view import RunView
    from vlm_runner.core.timeline import PhaseSpan

WARMING: Final[Mapping[str, str]] = {"provisioned": "15 to 30 min", "on-demand": "about 8 min"}
"""By serving mode: AWS's samples report 15 to 30 minutes for a throughput; a deployment took 8 when seen."""


def newest_first(root: Path) -> list[str]:
    """The ids of the runs of a local store, those that changed last first."""
    changed: list[tuple[float, str]] = []
    for file in runs_folder(root).glob(f"*/{STATE}"):
        with contextlib.suppress(OSError):  # deleted meanwhile, or a link to nowhere
            if is_path_segment(file.parent.name):
                changed.append((file.stat().st_mtime, file.parent.name))
    return [name for _, name in sorted(changed, reverse=True)]


def usual_times(run: RunView, store: str | None) -> dict[Phase, str]:
    """
    How long each phase takes as a rule: the median of past runs of this model in a local store.

    Without such runs only what is known of AWS is told. `store` is a folder, an `s3://` URI, or None for
    what the environment says.
    """
    usual = {Phase.WARMING: WARMING[mode]} if (mode := run.serving_mode or run.wanted_mode) in WARMING else {}
    if (root := local_root(store)) is None:
        return usual
    past: list[Sequence[PhaseSpan]] = []
    for name in newest_first(root)[:PAST_RUNS]:
        try:
            seen, _ = read_view(root, name)
        except VlmRunnerError:
            continue  # it is shown as unreadable by `list`
        like = (seen.run.base_model, seen.run.wanted_mode) == (run.base_model, run.wanted_mode)
        if like and seen.run.outcome is Outcome.SUCCEEDED and name != run.run_id:
            past.append(seen.spans)
    return usual | {phase: spelled(seconds) for phase, seconds in usual_seconds(past).items()}


def last_run(where: Where) -> str:
    """
    The run of the store that changed last.

    Raises:
        RunNotFound: there is none.
    """
    root = local_root(where.store)
    if root is not None:
        names = newest_first(root)
        place = str(root.expanduser().absolute())
    else:
        from vlm_runner.cli.remote_runs import newest_first_remote  # noqa: PLC0415 - pydantic and anyio

        names, place = newest_first_remote(where)
    if not names:
        raise RunNotFound(f"No runs in {place}.", hint="Start one with: vlm-runner start run.toml")
    return names[0]
