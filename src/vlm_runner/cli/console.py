"""Printing: results to stdout, all else to stderr; what could steer a terminal or is secret is taken out."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import click

from vlm_runner.cli.painting import Span, painted, read_text
from vlm_runner.errors import UsageError
from vlm_runner.redact import json_text, redacted_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vlm_runner.cli.painting import Line


def at_terminal() -> bool:
    """Whether a person can be asked, and sees what the question is about."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def unattended(why: str, hint: str) -> UsageError:
    """Nobody can be asked for confirmation; `why` it is needed, as in "This run costs money"."""
    return UsageError(f"{why}, and there is no terminal to ask for confirmation.", hint=hint)


def say(text: str) -> None:
    """Print a message for the user to stderr."""
    show(read_text(text), err=True)


def result(text: str) -> None:
    """Print the command's result to stdout."""
    show(read_text(text))


def verbatim(text: str) -> None:
    """Print it to stdout line by line as it is, at any width."""
    show([[Span(text, "code")]])


def result_json(value: Any) -> None:
    """Print it as JSON, with escapes for what could steer a terminal."""
    click.echo(json_text(redacted_value(value), indent=2))


def show(lines: Iterable[Line], *, err: bool = False) -> None:
    """Print lines to stdout, or to stderr, in colour where that is a terminal."""
    stream = sys.stderr if err else sys.stdout
    # Not through a progress bar's stand-in for it, which would break commands into lines.
    stream = getattr(stream, "rich_proxied_file", stream)
    # A message that cannot be shown, because its terminal is closed or the disk of a log full, ends nothing.
    with suppress(OSError) if err else nullcontext():
        click.echo(painted(lines, stream), file=stream)
