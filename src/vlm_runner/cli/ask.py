"""ask: one question to a model that is being served."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.dollars import about, dollars
from vlm_runner.errors import UsageError
from vlm_runner.redact import printable
from vlm_runner.runner import Runner
from vlm_runner.steps.inquiry import Inquiry

if TYPE_CHECKING:
    from vlm_runner.json_output import AnswerJson
    from vlm_runner.runner import Answered
    from vlm_runner.settings import Settings


@click.command()
@run_argument()
@click.option(
    "--row", metavar="N", type=click.IntRange(min=0), help="Ask about this held-out row, counted from 0."
)
@click.option("--image", "images", multiple=True, type=click.Path(path_type=Path), help="An image file.")
@click.option("--html", type=click.Path(path_type=Path), help="The page's HTML: a file.")
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="Any column of the prompt.")
@click.option("--prompt", metavar="TEXT", help="Use this prompt instead of the run's.")
@json_option
@where_options
def ask(
    run_id: str,
    *,
    row: int | None,
    images: tuple[Path, ...],
    html: Path | None,
    fields: tuple[str, ...],
    prompt: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Ask the model of RUN one question, while it is served.

    The question is made as the training records were. The answer is printed on stdout as it comes, its
    tokens and their cost on stderr; RUN's own sum does not count them, and its max_cost does not limit them.
    Where the model is not served: see vlm-runner serve.

    \b
    Example:
        vlm-runner ask cats --image page.png --html page.html
        vlm-runner ask cats --row 3
    """
    given = dict(_field(text) for text in fields)
    if html is not None:
        given["html"] = _read(html).decode(errors="replace")
    inquiry = Inquiry(row, tuple(map(_read, images)), given, prompt)
    if row is None and prompt is None and not images and not given:
        raise UsageError("What is to be asked?", hint="Give --row 0, or --image page.png --html page.html.")
    answered = anyio.run(partial(_ask, settings_for(Where(**flags)), run_id, inquiry, quiet=as_json))
    if as_json:
        shown: AnswerJson = {
            "run_id": answered.run_id,
            "endpoint_arn": answered.endpoint_arn,
            "answer": answered.reply.text,
            "stop_reason": answered.reply.stop_reason,
            "input_tokens": answered.reply.input_tokens,
            "output_tokens": answered.reply.output_tokens,
            "cost_usd": answered.cost_usd,
        }
        console.result_json(shown)
        return
    sys.stdout.write("\n")
    reply = answered.reply
    console.say(f"{reply.input_tokens:,} tokens in, {reply.output_tokens:,} out; {_cost(answered)}.")


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"'{text}' is not NAME=VALUE.")
    return name, value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


async def _ask(settings: Settings, run_id: str, inquiry: Inquiry, *, quiet: bool) -> Answered:
    async with Runner.open(settings) as runner:
        async for piece in runner.ask(run_id, inquiry):
            if not isinstance(piece, str):
                return piece
            if not quiet:
                sys.stdout.write(printable(piece))
                sys.stdout.flush()
    raise AssertionError("the last piece is the whole")


def _cost(answered: Answered) -> str:
    if answered.by_the_hour:
        return "the endpoint bills by the hour, and its calls nothing more"
    if answered.cost_usd is None:
        return "their price is not in the catalogue"
    said = dollars(answered.cost_usd) if answered.cost_usd >= 0.01 else f"${answered.cost_usd:.6f}"
    return about(said, estimated=answered.estimated)
