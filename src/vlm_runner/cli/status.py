"""status: the state of one run."""

from __future__ import annotations

import sys
from typing import Any

import click

from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.run_view import LEAST_SILENCE, local_root, read_view, state_of


@click.command()
@click.argument("run_id", metavar="RUN")
@json_option
@where_options
def status(run_id: str, *, as_json: bool, **flags: Any) -> None:
    """Show the state of RUN.

    Exits as the run did, or with 101 while it is not done.

    \b
    Example:
        vlm-runner status for-vlm-accessibility-3f2a9c01 --json
    """
    where = Where(**flags)
    root = local_root(where.store)
    if root is not None and not as_json:
        seen, path = read_view(root, run_id)
        state = state_of(seen, LEAST_SILENCE)
        # STALE depends on the settings, and what bills has a price: both need more than the view.
        if state != "STALE" and not seen.run.may_bill:
            console.result(console.status_text(seen.run, path, state))
            sys.exit(run_exit_code(seen.run))
    from vlm_runner.cli.full_status import show_full_status  # noqa: PLC0415 - pydantic and anyio

    sys.exit(show_full_status(run_id, where, as_json=as_json))
