"""status: the state of one run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.past_runs import usual_times
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.cli.run_text import Reach, status_lines
from vlm_runner.cli.run_view import LEAST_SILENCE, local_root, read_view, state_of


@click.command()
@run_argument(default_last=True)
@json_option
@where_options
def status(run_id: str, *, as_json: bool, **flags: Any) -> None:
    """Show the state of RUN.

    Its phases and times, results, what bills, and the next step; without RUN, of the run that changed last.
    Exits as the run did, or with 101 while it is not done.

    \b
    Example:
        vlm-runner status
        vlm-runner status for-vlm-accessibility-3f2a9c01 --json
    """
    where = Where(**flags)
    root = local_root(where.store)
    if root is not None and not as_json:
        seen, path = read_view(root, run_id)
        state = state_of(seen, LEAST_SILENCE)
        # STALE depends on the settings, and what bills has a price: both need more than the view.
        if state != "STALE" and not seen.run.may_bill:
            usual = usual_times(seen.run, where.store) if seen.run.outcome is None else {}
            reach = Reach(where.given())
            console.show(status_lines(seen, path, state, datetime.now(UTC), reach=reach, usual=usual))
            sys.exit(run_exit_code(seen.run))
    from vlm_runner.cli.full_status import show_full_status  # noqa: PLC0415 - pydantic and anyio

    sys.exit(show_full_status(run_id, where, as_json=as_json))
