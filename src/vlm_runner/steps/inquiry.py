"""One question to a model that is being served, outside of any run's course. Pays for its call alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner.core.conversation import Conversation, single
from vlm_runner.dollars import bound
from vlm_runner.errors import DataError, NotServed, UsageError
from vlm_runner.ingest.inspect import kind_of
from vlm_runner.plan.cost import estimate_serving
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.spec import ServingMode
from vlm_runner.steps.ask import ModelCall, converse_of, send
from vlm_runner.steps.call_images import fitted
from vlm_runner.steps.questions import Question, question_of_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from vlm_runner.aws.ports import RuntimeReply
    from vlm_runner.core.run import Run
    from vlm_runner.models import Catalogue
    from vlm_runner.steps.ports import Ports


@dataclass(frozen=True, slots=True)
class Inquiry:
    """
    What to ask: a row of the run's records, or images of one's own with what the prompt's templates read.
    """

    row: int | None = None
    """Of the run's held-out records, else of its training records, from 0."""
    images: tuple[bytes, ...] = ()
    """Each a PNG, JPEG, GIF or WebP."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Values of columns, as `{"html": "<main>…"}`."""
    prompt: str | None = None
    """Asked as it is, instead of what the templates make of `fields`."""


def endpoint_of(run: Run) -> str | None:
    """The ARN of the endpoint that answers calls now, as far as the checkpoint says."""
    alive = run.endpoint is not None and run.released is None and run.endpoint_failure is None
    return run.serving.arn if alive and run.serving is not None else None


def not_served(run: Run, catalogue: Catalogue) -> NotServed:
    """That nothing serves the run's model, with the command that does and what that costs."""
    serving = run.spec.serving.model_copy(update={"mode": ServingMode.AUTO, "model_units": 1})
    spec = run.spec.model_copy(
        update={"serving": serving, "test": run.spec.test.model_copy(update={"rows": 0})}
    )
    profile = catalogue.find(spec.model.base)
    cost = estimate_serving(spec, profile, None)
    price = f"{bound(cost.per_hour)} an hour" if cost.rents else "nothing while idle, else by the token"
    return NotServed(
        f"The model of run {run.run_id} is not served now.",
        hint=f"Serve it with: vlm-runner serve {run.run_id} --for 1h (it costs {price}).",
    )


async def inquire(
    run: Run, endpoint_arn: str, inquiry: Inquiry, ports: Ports
) -> AsyncIterator[str | RuntimeReply]:
    """
    The answer as it is written, piece by piece, and in the end the whole reply with its tokens.

    Where the run's spec asks by `api = "invoke"`, the answer comes in one piece.

    Raises:
        UsageError, DataError: the question cannot be asked.
        AwsRefused, AwsUnavailable: it was not answered.
    """
    profile = ports.catalogue.find(run.spec.model.base)
    question, originals = await _question(run, inquiry, ports)
    images = await to_thread.run_sync(fitted, question, originals, profile) if originals else ()
    call = ModelCall(question, images, run.spec.test, profile)
    if call.test.api == "converse":
        async for piece in ports.aws.runtime.converse_stream(converse_of(call, endpoint_arn)):
            yield piece
        return
    reply = await send(call, endpoint_arn, ports)
    yield reply.text
    yield reply


async def _question(run: Run, inquiry: Inquiry, ports: Ports) -> tuple[Question, list[bytes]]:
    if inquiry.row is not None:
        if inquiry.images or inquiry.fields or inquiry.prompt is not None:
            raise UsageError("A row has its own images and texts: give the row alone.")
        objects = ports.bucket_of(run)
        question = await question_of_row(run, objects, inquiry.row)
        originals = []
        for key, _ in question.images:
            if (stored := await objects.get(key)) is None:
                raise DataError(f"s3://{objects.bucket}/{key} was deleted; the row needs it.")
            originals.append(stored.body)
        return question, originals
    formats = []
    for number, body in enumerate(inquiry.images, 1):
        if (kind := kind_of(body)) is None:
            raise DataError(f"Image {number} is not a PNG, JPEG, GIF or WebP.", hint="Convert it first.")
        formats.append(("", kind.lower()))
    return Question(-1, _asked(run, inquiry), tuple(formats), ""), list(inquiry.images)


def _asked(run: Run, inquiry: Inquiry) -> Conversation:
    if inquiry.prompt is not None:
        if inquiry.fields:
            raise UsageError("Give a prompt, or what the run's templates read, not both.")
        return single(None, inquiry.prompt)
    prompt = compile_prompt(run.spec.prompt, run.spec.dataset.columns)
    # A template of the answer reads columns too; what is asked must not.
    columns = dict.fromkeys((*run.dataset.columns, *prompt.columns, "html", "output"))
    absent = {name: f"[no {name} was given]" for name in columns}
    rendered = prompt.render(
        absent | dict(inquiry.fields), images=len(inquiry.images), subset="your page", row=0
    )
    question = rendered.conversation.question
    asked = "\n".join(question.texts())
    if missing := [name for name, text in absent.items() if name not in inquiry.fields and text in asked]:
        given = " ".join("--html FILE" if name == "html" else f"--field {name}=…" for name in missing)
        raise UsageError(f"The run's prompt asks about {', '.join(missing)}.", hint=f"Give {given}.")
    return question
