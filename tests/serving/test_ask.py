"""One question to a model that is being served: as it was trained to be asked, and paid for by its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner import Answered, Inquiry
from vlm_runner.errors import DataError, NotServed, UsageError
from vlm_runner.testing.dataset import tiny_png

from .world import in_world, serving

if TYPE_CHECKING:
    from vlm_runner.runner import Runner
    from vlm_runner.testing import World


async def asked(runner: Runner, inquiry: Inquiry, run_id: str = "cats") -> tuple[str, Answered]:
    """The pieces put together, and what came last."""
    *pieces, last = [piece async for piece in runner.ask(run_id, inquiry)]
    assert isinstance(last, Answered)
    assert len(pieces) > 1
    return "".join(map(str, pieces)), last


def listening(world: World) -> list[dict[str, Any]]:
    """Requests to the model, as they come."""
    heard: list[dict[str, Any]] = []
    plain = world.aws.runtime.converse_stream

    def converse_stream(request: dict[str, Any]) -> Any:
        heard.append(request)
        return plain(request)

    world.aws.runtime.converse_stream = converse_stream  # type: ignore[assignment, method-assign]
    return heard


def test_a_question_is_asked_as_the_records_ask_and_answered_in_pieces() -> None:
    async def act(world: World, runner: Runner) -> None:
        heard, handle = listening(world), await serving(runner)
        picture = tiny_png(7)

        by_row, _ = await asked(runner, Inquiry(row=3))
        by_hand, last = await asked(runner, Inquiry(images=(picture,), fields={"page": "page 3"}))
        await asked(runner, Inquiry(prompt="Why?"), handle.run_id)
        await handle.cancel()
        await handle.result()

        row, hand, free = (request["messages"][0]["content"] for request in heard)
        assert [part["text"] for part in row if "text" in part] == ["Judge page 3."]
        assert [part["text"] for part in hand if "text" in part] == ["Judge page 3."]
        assert [part["image"] for part in hand if "image" in part] == [
            {"format": "png", "source": {"bytes": picture}}
        ]
        assert free == [{"text": "Why?"}]
        assert by_row == by_hand == last.reply.text == "An answer."
        assert last.run_id == "cats-serve"
        price = runner.catalogue.find(world.spec.model.base).custom_call_cost(10, 3)
        assert price is not None
        assert last.cost_usd == float(price)

    in_world(act)


def test_what_is_not_served_says_how_to_serve_it_and_what_that_costs() -> None:
    async def act(_: World, runner: Runner) -> None:
        with pytest.raises(NotServed, match=r"serve cats --for 1h \(it costs nothing while idle") as raised:
            await asked(runner, Inquiry(row=0))
        assert "is not served now" in raised.value.message

    in_world(act)


def test_an_endpoint_that_was_kept_and_is_gone_serves_nothing() -> None:
    async def act(world: World, runner: Runner) -> None:
        answer, _ = await asked(runner, Inquiry(row=0))
        world.bedrock.forget_endpoint(world.bedrock.alive[0])

        assert answer == "An answer."
        with pytest.raises(NotServed):
            await asked(runner, Inquiry(row=0))

    in_world(act, serving={"keep": True})


@pytest.mark.parametrize(
    ("inquiry", "error", "words"),
    [
        (Inquiry(images=(tiny_png(1),)), UsageError, "asks about page"),
        (Inquiry(row=3, prompt="Why?"), UsageError, "give the row alone"),
        (Inquiry(prompt="Why?", fields={"page": "x"}), UsageError, "not both"),
        (Inquiry(row=99), DataError, "no row 99"),
        (Inquiry(images=(b"no image",), prompt="Why?"), DataError, "Image 1 is not a PNG"),
    ],
    ids=["a column is missing", "row and prompt", "prompt and columns", "no such row", "no image"],
)
def test_a_question_that_is_none_is_refused_before_it_is_paid(
    inquiry: Inquiry, error: type[Exception], words: str
) -> None:
    async def act(world: World, runner: Runner) -> None:
        heard, handle = listening(world), await serving(runner)
        with pytest.raises(error, match=words):
            await asked(runner, inquiry)
        assert heard == []
        await handle.cancel()
        await handle.result()

    in_world(act)


def test_an_image_that_somebody_wrote_over_is_named_and_nothing_is_paid() -> None:
    async def act(world: World, runner: Runner) -> None:
        heard, handle = listening(world), await serving(runner)
        bucket = next(name for name in world.aws.s3.buckets if name.startswith("vlm-"))
        world.aws.s3.put(bucket, "images/train/003.png", b"somebody else wrote this")

        with pytest.raises(DataError, match=r"^images/train/003.png cannot be sent to the model: .*is not a"):
            await asked(runner, Inquiry(row=3))
        assert heard == []
        await handle.cancel()
        await handle.result()

    in_world(act)
