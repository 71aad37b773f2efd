"""Flags that commands share, and how they become settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vlm_runner.core.names import command_flags

if TYPE_CHECKING:
    from collections.abc import Callable

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


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def run_id_option(command: F) -> F:
    return click.option("--run-id", metavar="ID", help="The run's id. Default: derived from the spec.")(
        command
    )


def yes_option(command: F) -> F:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(command)


def delete_option(command: F) -> F:
    text = "Delete; without it only say what would be deleted."
    return click.option("-y", "--yes", is_flag=True, help=text)(command)


def doctor_option(command: F) -> F:
    text = "Check role, bucket, rights and quotas before anything is created."
    return click.option("--doctor/--no-doctor", default=True, help=text)(command)


def verify_option(command: F) -> F:
    text = "Check the images in S3 instead of trusting the markers of earlier uploads."
    return click.option("--verify", is_flag=True, help=text)(command)


def verbosity_options(command: F) -> F:
    command = click.option("-q", "--quiet", is_flag=True, help="Print only the result and errors.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Print more.")(command)


def split_flags(flags: dict[str, Any]) -> tuple[Where, dict[str, Any]]:
    """Shared flags, by what they are about."""
    voice = {name: flags.pop(name) for name in ("as_json", "quiet", "verbose")}
    return Where(**flags), voice


def duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """A click callback: `90m` as seconds."""
    if value is None:
        return None
    from vlm_runner.spec import seconds_of  # noqa: PLC0415 - not for --help

    try:
        return seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
