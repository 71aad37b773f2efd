"""
The command line: parse, wire, print.

A command's module is imported when the command is used, so that `--help` answers at once; what every command
needs (options, console, exit codes) imports nothing heavy.
"""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import click

from vlm_runner.cli.commands import SECTIONS
from vlm_runner.cli.console import say
from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code
from vlm_runner.cli.exit_message import write_exit_message
from vlm_runner.cli.lazy_group import LazyGroup
from vlm_runner.cli.streams import Unwritten, forget_stdout, open_closed_streams, unfailing
from vlm_runner.errors import VlmRunnerError


@click.group(
    cls=LazyGroup,
    lazy=SECTIONS,
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="vlm-runner", prog_name="vlm-runner")
def cli() -> None:
    """Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

    A run uploads a dataset to S3, trains a model, serves it, tests it, and deletes what bills;
    after a crash it continues where it was, without paying twice.

    \b
    Example:
        vlm-runner demo             try it, no AWS account
        vlm-runner init             write a run.toml
        vlm-runner start run.toml   run it
        vlm-runner resume RUN       continue it
    """


def main() -> None:
    """The `vlm-runner` entry point."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal in Latin-1 cannot show every answer, which is no reason to end a run.
            stream.reconfigure(errors="backslashreplace")
    with unfailing():
        _run()


def _run() -> None:
    try:
        cli.main(standalone_mode=False)
    except VlmRunnerError as error:
        _end(error)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        sys.exit(130)
    except Unwritten as error:
        forget_stdout()
        if error.reader_gone:
            sys.exit(0)
        _say(f"The result could not be written to stdout: {error}.")
        sys.exit(1)
    except (OSError, RuntimeError, MemoryError) as error:
        from vlm_runner.core.failure import foreseen  # noqa: PLC0415 - not for --help

        known = foreseen(error)
        if not isinstance(known, VlmRunnerError):
            raise
        _end(known)


def _end(error: VlmRunnerError) -> NoReturn:
    _say(str(error))
    write_exit_message(str(error))
    sys.exit(exit_code(error))


def _say(text: str) -> None:
    # Where stderr is a log, every line of it counts as one of ours.
    say(f"vlm-runner: {text if sys.stderr.isatty() else ' '.join(text.split())}")
