"""TESTING: who is asked about what, how often, and what is kept of it."""

from __future__ import annotations

import io
import random
from functools import cache

import pytest
from PIL import Image

from vlm_runner.core.events import RunFailed
from vlm_runner.errors import AccessDenied, AwsRefused, ModelNotReady, Throttled
from vlm_runner.steps.ask import base_ids
from vlm_runner.steps.questions import evenly_spread
from vlm_runner.testing import Crash, Fault, Plan

from .world import lines_of, own_object, world_of

BASE = "amazon.nova-lite-v1:0"


def answer(model_id: str, prompt: str) -> str:
    number = prompt.removeprefix("Judge page ").removesuffix(".")
    return f"finding {number}" if model_id.startswith("arn:") else "Something else."


async def test_asks_both_models_about_held_out_rows() -> None:
    world, runtime = world_of(3, answer)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.tests is not None
    assert run.tests.held_out
    assert sum(runtime.asked.values()) == 6
    rows = lines_of(world, "answers.jsonl")
    assert [row["answer"] for row in rows] == [row["reference"] for row in rows]
    assert {row["base"]["answer"] for row in rows} == {"Something else."}


async def test_measures_that_tuning_made_it_better() -> None:
    world, _ = world_of(3, answer)

    run = await world.live()

    assert run.report is not None
    scores = run.report.scores
    assert scores["tuned"]["exact"] == 1.0
    assert scores["tuned"]["similarity"] > scores["base"]["similarity"] + 0.3


async def test_training_rows_are_never_asked_silently() -> None:
    world, _ = world_of(3, answer)
    world.dataset = type(world)().dataset

    run = await world.live()

    assert run.tests is not None
    assert not run.tests.held_out


@pytest.mark.parametrize("dies_after", range(1, 8))
async def test_asks_no_saved_row_twice(dies_after: int) -> None:
    """
    However many answers were saved before the process was killed, each row is answered once by each model.

    A kill between an answer and its saving costs one call for each that was under way.
    """
    world, runtime = world_of(5, answer, concurrency=1)
    saved = 0

    def choose(call: str) -> Fault | None:
        nonlocal saved
        saved += call == "objects.put" and len(runtime.asked) > 0
        return Fault.CRASH_AFTER if saved == dies_after and call == "objects.put" else None

    with pytest.raises(Crash):
        await world.live(world.process(Plan(choose=choose)))
    kept = [key for key in world.aws.s3.writes if "/answers/" in key]
    before = runtime.asked.total()
    run = await world.live()

    assert run.outcome == "succeeded"
    assert len(lines_of(world, "answers.jsonl")) == 5
    assert len(kept) >= dies_after
    assert runtime.asked.total() == before + 10 - len(kept)


async def test_throttling_and_warming_up_are_waited_for() -> None:
    world, runtime = world_of(2, answer)
    refusals = [Throttled("slow down"), ModelNotReady("warming up")] * 6

    def moody(model_id: str, prompt: str) -> str:
        if refusals:
            raise refusals.pop()
        return answer(model_id, prompt)

    runtime.says = moody
    run = await world.live()

    assert run.outcome == "succeeded"
    assert not refusals


async def test_a_base_model_that_cannot_be_called_is_reported_and_harms_nothing() -> None:
    world, _ = world_of(2, lambda m, p: answer(m, p) if m.startswith("arn:") else _refuse())

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.tests is not None
    assert run.tests.base_error is not None
    assert "not allowed" in run.tests.base_error


def _refuse() -> str:
    raise AccessDenied("You are not allowed to invoke this model.")


async def test_a_base_that_answers_only_through_a_profile_is_asked_through_it() -> None:
    def through_profile(model_id: str, prompt: str) -> str:
        if model_id == BASE:
            raise AwsRefused("Retry your request with the ID or ARN of an inference profile.")
        return answer(model_id, prompt)

    world, runtime = world_of(2, through_profile)

    run = await world.live()

    assert run.tests is not None
    assert run.tests.base_error is None
    assert {who for who, _ in runtime.asked} == {"tuned", f"us.{BASE}"}


async def test_a_row_that_bedrock_refuses_is_noted_beside_the_others() -> None:
    def picky(model_id: str, prompt: str) -> str:
        if prompt == "Judge page 1.":
            raise AwsRefused("The content is filtered.")
        return answer(model_id, prompt)

    world, _ = world_of(3, picky)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.tests is not None
    assert run.tests.refused == 1
    assert [row["error"] for row in lines_of(world, "answers.jsonl")] == [
        None,
        "The content is filtered.",
        None,
    ]


async def test_a_model_that_answers_no_row_fails_the_run_and_is_released() -> None:
    def never(model_id: str, prompt: str) -> str:
        raise AwsRefused("The content is filtered.")

    world, _ = world_of(2, never)

    run = await world.live()

    assert isinstance(run.failure, RunFailed)
    assert await world.violations() == []


async def test_a_metric_of_ones_own_is_measured_and_a_broken_one_is_named() -> None:
    world, _ = world_of(2, answer, metrics=[f"{__name__}:letters", f"{__name__}:broken"])
    world.settings = world.settings.model_copy(update={"metric_modules": (__name__,)})

    run = await world.live()

    assert run.report is not None
    assert run.report.scores["tuned"]["letters.first"] == 1.0
    assert _report(world)["missing"] == [
        f"The metric '{__name__}:broken' failed: ZeroDivisionError: division by zero"
    ]


async def test_all_images_of_a_row_fit_into_one_call_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Ten images, each as large as a call may hold one, would be more than a call may hold.
    """
    from vlm_runner.evaluate.thumbnail import thumbnail
    from vlm_runner.ingest.images import downscaled
    from vlm_runner.models import find
    from vlm_runner.testing.dataset import tiny_png

    # Nine of the ten are one image: it is made smaller once, for calls and for the report.
    monkeypatch.setattr("vlm_runner.steps.call_images.downscaled", cache(downscaled))
    monkeypatch.setattr("vlm_runner.report.collect.thumbnail", cache(thumbnail))
    limits = find("amazon.nova-lite-v1:0:300k").inference
    world, runtime = world_of(2, answer)
    chance = random.Random(1)
    noise = Image.frombytes("RGB", (1100, 1100), chance.randbytes(1100 * 1100 * 3))
    out = io.BytesIO()
    noise.save(out, "PNG")
    assert limits.max_image_bytes * 0.9 < len(out.getvalue()) < limits.max_image_bytes
    world.dataset.images = [out.getvalue()] * 9 + [tiny_png(1)]  # type: ignore[attr-defined]

    run = await world.live()

    assert run.outcome == "succeeded", run.reason
    for request in runtime.requests:
        sent = [
            part["image"]["source"]["bytes"] for part in request["messages"][0]["content"] if "image" in part
        ]
        assert len(sent) == 10
        assert sum(map(len, sent)) * 4 / 3 < limits.max_body_bytes
        assert sent[-1] == tiny_png(1)
        assert all(len(body) > 100_000 for body in sent[:-1])


def letters(reference: str, said: str) -> dict[str, float]:
    return {"first": float(reference[:1] == said[:1])}


def broken(reference: str, said: str) -> float:
    return 1 / 0


def _report(world: object) -> dict[str, object]:
    import json

    from vlm_runner.testing import World

    assert isinstance(world, World)
    found: dict[str, object] = json.loads(own_object(world, "report.json"))
    return found


@pytest.mark.parametrize(
    ("records", "rows", "expected"),
    [(10, 5, [0, 2, 4, 6, 8]), (3, 5, [0, 1, 2]), (5, 0, []), (0, 3, [])],
)
def test_rows_are_taken_from_all_over_the_file(records: int, rows: int, expected: list[int]) -> None:
    assert evenly_spread(rows, records) == expected


def test_ids_of_a_base_model_follow_the_geography() -> None:
    from vlm_runner.models import find

    nova = find("amazon.nova-lite-v1:0:300k")

    assert base_ids(nova, "us-east-1") == [BASE, f"us.{BASE}"]
    assert base_ids(nova, "ap-northeast-1") == [BASE, f"jp.{BASE}", f"apac.{BASE}"]
    assert base_ids(nova.model_copy(update={"inference_id": f"us.{BASE}"}), "us-east-1") == [f"us.{BASE}"]
