"""Facts of a report that a reader acts on: commands, durations, and which way up a picture is."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from PIL import Image

from vlm_runner.core.events import Event, JobCompleted, RecordsWritten
from vlm_runner.core.transitions import fold
from vlm_runner.evaluate.thumbnail import thumbnail
from vlm_runner.models import find
from vlm_runner.report.assemble import remains
from vlm_runner.report.money import spell

from .runs import history

NOVA = find("amazon.nova-lite-v1:0:300k")
ROTATED = 6
"""EXIF: the camera was turned by 90 degrees."""


@pytest.mark.parametrize(
    ("on_demand", "why"), [(True, "costs nothing while it is not called"), (False, "bills by the hour")]
)
def test_how_to_serve_the_model_again_is_said_with_what_it_costs(on_demand: bool, why: str) -> None:
    serving = NOVA.serving.model_copy(update={"on_demand": on_demand})

    found = remains(fold(history()), NOVA.model_copy(update={"serving": serving}))
    again = next(item for item in found if item["what"] == "Serving the model again")

    assert again["command"] == f"vlm-runner serve {fold(history()).run_id}"
    assert why in again["why"]


@pytest.mark.parametrize(
    ("fact", "what", "command"),
    [
        (RecordsWritten, "Answers, losses and this report in S3", "aws s3 rm --recursive s3://bucket/runs/"),
        (JobCompleted, "The custom model", "aws bedrock delete-custom-model --model-identifier arn:aws:bed"),
        (JobCompleted, "Serving the model again", "vlm-runner serve pages-1"),
    ],
)
def test_what_remains_of_a_run_is_told_from_when_it_exists(
    fact: type[Event], what: str, command: str
) -> None:
    entries = history()
    exists_from = next(at for at, entry in enumerate(entries, 1) if isinstance(entry.event, fact))

    told = [
        [item for item in remains(fold(entries[:until]), NOVA) if item["what"] == what]
        for until in range(1, len(entries) + 1)
    ]

    assert [len(items) for items in told] == [int(at >= exists_from) for at in range(1, len(entries) + 1)]
    assert all(item["command"].startswith(command) for items in told for item in items)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=59.94), "59.9 s"),
        (timedelta(seconds=60), "1 min 00 s"),
        (timedelta(minutes=59, seconds=59), "59 min 59 s"),
        (timedelta(hours=1), "1 h 00 min"),
        (timedelta(hours=47, minutes=59), "47 h 59 min"),
        (timedelta(hours=48), "2 d 0 h"),
        (timedelta(days=3, hours=5), "3 d 5 h"),
    ],
    ids=str,
)
def test_a_duration_is_spelled_in_its_two_largest_units(span: timedelta, text: str) -> None:
    assert spell(span) == text


def test_a_thumbnail_is_the_way_up_that_the_camera_was_held() -> None:
    picture, exif, body = Image.new("RGB", (400, 200), "red"), Image.Exif(), io.BytesIO()
    exif[0x0112] = ROTATED
    picture.save(body, "JPEG", exif=exif)

    small = thumbnail(body.getvalue(), 20_000)

    assert small is not None
    with Image.open(io.BytesIO(small)) as opened:
        assert opened.height > opened.width
