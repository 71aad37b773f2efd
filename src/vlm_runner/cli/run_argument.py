"""The argument RUN: a run that is named, the newest by --last, and what the shell completes."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from vlm_runner.cli.options import Where
from vlm_runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def run_argument(
    *, default_last: bool = False, several: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    RUN, or --last for the run that changed last, as one `run_id` (with `several`: `run_ids`) argument.

    `default_last`: that run, too, where neither is given.
    """
    metavar = "[RUN]" if default_last else "RUN..." if several else "RUN"

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def resolved(*args: Any, runs: tuple[str, ...], last: bool, **kwargs: Any) -> Any:
            given = runs
            if last and given:
                raise UsageError("Give RUN or --last, not both.")
            if not given:
                given = (_last_run(kwargs, required=not (last or default_last)),)
            elif len(given) > 1 and not several:
                raise UsageError(f"Expected one RUN, got {len(given)}.")
            name = {"run_ids": given} if several else {"run_id": given[0]}
            return command(*args, **kwargs, **name)

        flag = click.option("--last", is_flag=True, help="Use the run that changed last.")(resolved)
        return click.argument("runs", metavar=metavar, nargs=-1, shell_complete=complete_runs)(flag)

    return decorate


def _last_run(flags: Mapping[str, Any], *, required: bool) -> str:
    """
    Raises UsageError where a run must be named: then the last one is only suggested.
    """
    from vlm_runner.cli.past_runs import last_run  # noqa: PLC0415 - not for --help

    where = Where(**{name: flags[name] for name in ("profile", "region", "endpoint_url", "store")})
    if not required:
        return last_run(where)
    raise UsageError("Missing RUN.", hint="Name a run (vlm-runner list), or give --last for the newest.")


def complete_runs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The runs of the local store that a command line names, for the shell's completion."""
    from vlm_runner.cli.past_runs import newest_first  # noqa: PLC0415 - as above
    from vlm_runner.cli.run_view import local_root  # noqa: PLC0415 - as above

    root = local_root(ctx.params.get("store"))
    return [] if root is None else [name for name in newest_first(root) if name.startswith(incomplete)]
