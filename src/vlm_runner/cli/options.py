"""Flags that commands share, and how they become settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vlm_runner.core.names import command_flags
from vlm_runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vlm_runner.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Where:
    """Which account, region, endpoint and store a command is about; None: as the environment says."""

    profile: str | None
    region: str | None
    endpoint_url: str | None
    store: str | None

    def repeated(self, settings: Settings) -> list[str]:
        """
        The flags with which another command reaches the same runs, from the same shell.

        A region that only the spec or the profile named is among them where the store needs one.
        """
        region = self.region
        if region is None and (settings.checkpoint_uri or "").startswith("s3://"):
            region = settings.region
        return replace(self, region=region).given()

    def given(self) -> list[str]:
        """The flags as they were given."""
        return command_flags(
            profile=self.profile, region=self.region, endpoint_url=self.endpoint_url, store=self.store
        )


def where_options(command: F) -> F:
    """--profile, --region, --endpoint-url and --store, as one `where` argument."""
    for option in (
        click.option("--profile", metavar="NAME", help="AWS profile."),
        click.option("--region", metavar="REGION", help="AWS region."),
        click.option("--endpoint-url", metavar="URL", help="Endpoint of all AWS services, e.g. a sandbox."),
        click.option("--store", metavar="URI", help="Checkpoint store: a folder, or s3://bucket/prefix."),
    ):
        command = option(command)
    return command


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
                raise UsageError(f"One RUN is expected, and there are {len(given)}.")
            name = {"run_ids": given} if several else {"run_id": given[0]}
            return command(*args, **kwargs, **name)

        flag = click.option("--last", is_flag=True, help="The run that changed last.")(resolved)
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


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def doctor_option(command: F) -> F:
    text = "Check role, bucket, rights and quotas before anything is created."
    return click.option("--doctor/--no-doctor", default=True, help=text)(command)


def verify_option(command: F) -> F:
    text = "Check the images in S3 instead of trusting the markers of earlier uploads."
    return click.option("--verify", is_flag=True, help=text)(command)


def verbosity_options(command: F) -> F:
    command = click.option("-q", "--quiet", is_flag=True, help="Print only the result and errors.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Print more.")(command)
