"""Loss curves from the files that Bedrock leaves, in whatever layout."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from vlm_runner.core.events import TestsAnswered
from vlm_runner.core.transitions import fold
from vlm_runner.evaluate import AnsweredRow, ModelAnswer, from_line, to_line
from vlm_runner.report.charts import chart, thinned, ticks
from vlm_runner.report.collect import JudgedFile, collect, curve, loss_curves
from vlm_runner.testing import FakeObjects, FakeS3

from .runs import history, picture

if TYPE_CHECKING:
    from vlm_runner.aws.ports import StoredObject

TRAINING = (
    "step_number,epoch_number,training_loss,perplexity\n0,0,2.0,7\n1,0,1.0,3\n1,0,3.0,3\n2,1,x,\n3,1,0.5,1\n"
)
VALIDATION = "step_number,epoch_number,validation_loss,perplexity\n3,0,0.7,2\n"
MANIFEST = (
    "fileName,totalProcessedRecordCount,acceptedRecordCount,partiallyAcceptedRecordCount,rejectedRecordCount\n"
    "train.jsonl,24,21,1,2\nhalf.jsonl,24\nodd.jsonl,24,x,0,0\n"
)
FOLDER = "runs/pages-1/output/model-customization-job-jobjobjobjob"


@pytest.mark.parametrize(
    "path",
    [
        "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv",
        "validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv",
        "validation_artifacts/validation_metrics.csv",
    ],
)
async def test_curves_are_found_by_their_ends(path: str) -> None:
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    s3.put("bucket", f"{FOLDER}/training_artifacts/step_wise_training_metrics.csv", TRAINING.encode())
    s3.put("bucket", f"{FOLDER}/{path}", VALIDATION.encode())
    s3.put("bucket", "runs/pages-1/output/.write_access_check_file.temp", b"")

    found = await collect(fold(history()), FakeObjects(s3, "bucket", "123456789012"))

    assert found.output.training.points == ((0.0, 2.0), (1.0, 2.0), (3.0, 0.5))
    assert found.output.training.epochs == (0.0, 3.0)
    assert found.output.validation.points == ((3.0, 0.7),)
    assert found.missing == ("s3://bucket/runs/pages-1/answers.jsonl is gone: the answers cannot be shown.",)


@pytest.mark.parametrize("folder", ["input_status/train", "input_data_report"])
async def test_what_bedrock_accepted_is_counted(folder: str) -> None:
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    s3.put("bucket", f"{FOLDER}/{folder}/manifest.report.csv", MANIFEST.encode())

    found = await collect(fold(history()), FakeObjects(s3, "bucket", "123456789012"))

    assert found.output.judged == (JudgedFile("train.jsonl", 24, 21, 1, 2),)


class Read(FakeObjects):
    """`keys` are those whose content was asked for."""

    keys: list[str]

    async def get(self, key: str, *, most: int | None = None) -> StoredObject | None:
        self.keys.append(key)
        return await super().get(key, most=most)


async def test_losses_alone_are_read_without_the_manifest() -> None:
    """A panel asks for them every minute."""
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    s3.put("bucket", f"{FOLDER}/training_artifacts/step_wise_training_metrics.csv", TRAINING.encode())
    s3.put("bucket", f"{FOLDER}/input_data_report/manifest.report.csv", MANIFEST.encode())
    objects = Read(s3, "bucket", "123456789012")
    objects.keys = []

    training, validation = await loss_curves(fold(history()), objects)

    assert (training.points, validation.points) == (((0.0, 2.0), (1.0, 2.0), (3.0, 0.5)), ())
    assert [key.rpartition("/")[2] for key in objects.keys] == ["step_wise_training_metrics.csv"]


def test_a_file_that_is_no_table_is_read_as_far_as_it_is_one() -> None:
    text = 'step_number,training_loss\n1,0.5\n2,"' + "x" * 200_000

    assert curve(text, "training_loss").points == ((1.0, 0.5),)


async def test_a_bucket_that_cannot_be_read_leaves_a_report_that_says_so() -> None:
    found = await collect(fold(history()), FakeObjects(FakeS3(), "bucket", "123456789012"))

    assert "does not exist" in found.missing[0]


@pytest.mark.parametrize("text", ["", "no,csv\n1,2\n", "step_number,training_loss\n1,nan\n,\n"])
def test_what_is_no_curve_draws_nothing(text: str) -> None:
    assert chart([("training", curve(text, "training_loss").points)]) is None


def test_a_chart_encloses_its_numbers() -> None:
    drawn = chart([("training", [(0.0, 2.0), (5.0, 0.5)]), ("validation", [(5.0, 0.52)])])

    assert drawn is not None
    assert all(drawn.top <= y <= drawn.bottom for line in drawn.lines for _, y in line.marks)
    assert abs(drawn.lines[0].label_y - drawn.lines[1].label_y) >= 15


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1e-9), (1, 1), (-3, 8), (0, 123456)])
def test_ticks_are_few_and_enclose(low: float, high: float) -> None:
    found = ticks(low, high)

    assert found[0] <= low
    assert found[-1] >= high
    assert len(found) <= 8


def test_long_curves_keep_their_ends() -> None:
    points = [(float(step), float(step % 7)) for step in range(10_000)]

    found = thinned(points)

    assert len(found) <= 240
    assert (found[0], found[-1]) == (points[0], points[-1])


ANSWERS = "runs/pages-1/answers.jsonl"


def bucket() -> tuple[FakeS3, FakeObjects]:
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    return s3, FakeObjects(s3, "bucket", "123456789012")


def row(number: int, *images: str) -> AnsweredRow:
    first, *more = images or ("",)
    return AnsweredRow(row=number, image=first, more_images=tuple(more), tuned=ModelAnswer(answer="x"))


async def test_a_line_that_is_no_answer_is_named_and_the_others_are_read() -> None:
    s3, objects = bucket()
    s3.put("bucket", ANSWERS, f"{to_line(row(3))}\nbroken\n{to_line(row(5))}\n".encode())

    found = await collect(fold(history()), objects)

    assert [one.row for one in found.rows] == [3, 5]
    assert found.missing == ("Line 2 of s3://bucket/runs/pages-1/answers.jsonl is not an answer.",)
    assert found.thumbnails == {}


async def test_a_file_of_lines_that_are_no_answers_names_a_few() -> None:
    """A stranger's ten megabytes of line feeds were ten million sentences in memory and on the page."""
    s3, objects = bucket()
    s3.put("bucket", ANSWERS, b"\n" * 100_000 + to_line(row(3)).encode())

    found = await collect(fold(history()), objects)

    assert [one.row for one in found.rows] == [3]
    assert len(found.missing) == 21
    assert found.missing[-1] == "99,980 more lines of s3://bucket/runs/pages-1/answers.jsonl are not answers."


async def test_more_answers_or_bytes_than_a_page_shows_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3, objects = bucket()
    s3.put("bucket", ANSWERS, "\n".join(to_line(row(number)) for number in range(9)).encode())
    monkeypatch.setattr("vlm_runner.report.collect.MOST_ROWS", 5)

    few = await collect(fold(history()), objects)
    monkeypatch.setattr("vlm_runner.report.collect.LARGEST_LINES", 100)
    none = await collect(fold(history()), objects)

    uri = "s3://bucket/runs/pages-1/answers.jsonl"
    assert (len(few.rows), few.missing) == (5, (f"{uri} has more than 5 answers: the first are shown.",))
    assert (none.rows, none.missing) == ((), (f"{uri} has more than 100 bytes, and is not read.",))


async def test_thumbnails_are_made_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stranger's answers, each of which may name the largest image that there is."""
    s3, objects = bucket()
    s3.put("bucket", "a.png", picture(1, 40))
    s3.put("bucket", ANSWERS, "\n".join(to_line(row(n, "s3://bucket/a.png")) for n in range(9)).encode())
    monkeypatch.setattr("vlm_runner.report.collect.MAKING_SECONDS", 0)

    found = await collect(fold(history()), objects)

    assert (len(found.rows), found.thumbnails) == (9, {})
    assert found.missing == ("Images were made small for 0 s; the others are not shown.",)


@pytest.mark.timeout(20)
def test_a_metrics_file_of_many_columns_takes_no_time() -> None:
    text = "step_number,training_loss" + ",a" * 500_000 + "\n" + "1,2\n" * 100_000

    assert curve(text, "training_loss").points == ()


def test_losses_next_to_zero_draw_a_chart() -> None:
    assert chart([("training", [(0, 0.0), (1, 5e-324)])]) is not None


async def test_a_run_that_saved_no_answers_misses_none() -> None:
    _, objects = bucket()
    entries = history()
    unsaved = [
        entry.model_copy(update={"event": entry.event.model_copy(update={"uri": None})})
        if isinstance(entry.event, TestsAnswered)
        else entry
        for entry in entries
    ]

    assert (await collect(fold(unsaved), objects)).missing == ()
    assert (await collect(fold(history(until=9)), objects)).missing == ()


async def test_thumbnails_are_those_that_were_saved_and_the_others_are_made() -> None:
    """Of all images of a row; one that is elsewhere, or gone, has none."""
    s3, objects = bucket()
    s3.put("bucket", "a.png", picture(1, 40))
    s3.put("bucket", "b.png", picture(2, 50))
    rows = [row(0, "s3://bucket/a.png"), row(1, "s3://bucket/a.png", "s3://bucket/b.png")]
    rows += [row(2, "s3://other/a.png"), row(3, "s3://bucket/gone.png")]
    s3.put("bucket", ANSWERS, "\n".join(map(to_line, rows)).encode())
    saved = [
        {"row": 0, "webp": "AAAA", "more": ["BBBB"]},
        {"row": 1, "webp": "not base64!"},
        {"webp": "AAAA"},
        3,
    ]
    s3.put("bucket", "runs/pages-1/thumbnails.jsonl", "\n".join(map(json.dumps, saved)).encode())

    found = (await collect(fold(history()), objects)).thumbnails

    assert found[0] == ("AAAA", "BBBB")
    assert [base64.b64decode(text)[8:12] for text in found[1]] == [b"WEBP", b"WEBP"]
    assert set(found) == {0, 1}


async def test_the_jobs_own_metrics_are_taken_and_not_those_of_another_job() -> None:
    s3, objects = bucket()
    for job, loss in (("aaaaaaaaaaaa", 9.0), ("jobjobjobjob", 0.5)):
        folder = f"runs/pages-1/output/model-customization-job-{job}"
        key = f"{folder}/training_artifacts/step_wise_training_metrics.csv"
        s3.put("bucket", key, f"step_number,epoch_number,training_loss\n1,0,{loss}\n".encode())

    found = await collect(fold(history()), objects)

    assert found.output.training.points == ((1.0, 0.5),)
    assert found.output.validation.points == ()


def test_steps_of_several_lines_are_their_mean_and_come_in_order() -> None:
    text = "step_number,epoch_number,training_loss\n7,1,4\n5,0,1\n5,0,2\n5,0,6\n6,1,2\n"

    found = curve(text, "training_loss")

    assert found.points == ((5.0, 3.0), (6.0, 2.0), (7.0, 4.0))
    assert found.epochs == (5.0, 6.0)


async def test_each_image_of_each_row_has_its_share_of_a_reports_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3, objects = bucket()
    s3.put("bucket", "a.png", picture(1, 40))
    rows = [row(0, "s3://bucket/a.png"), row(1, *["s3://bucket/a.png"] * 3)]
    s3.put("bucket", ANSWERS, "\n".join(map(to_line, rows)).encode())
    asked: list[int] = []

    def share(images: int) -> int:
        asked.append(images)
        return 10_000

    monkeypatch.setattr("vlm_runner.report.collect.budget", share)

    found = await collect(fold(history()), objects)

    assert asked == [4]
    assert [len(found.thumbnails[number]) for number in (0, 1)] == [1, 3]


@pytest.mark.parametrize("line", [f"1e301,0,{1}", f"1,0,{1e301}", "1,1e999,1", "nan,0,1"])
def test_numbers_that_no_loss_has_draw_nothing(line: str) -> None:
    """Their differences and sums are no numbers any more: no chart, and no JSON."""
    assert curve(f"step_number,epoch_number,training_loss\n{line}\n", "training_loss").points == ()


@pytest.mark.parametrize("seconds", [1e999, 1e308, -1.0])
def test_a_line_whose_call_took_for_ever_is_not_an_answer(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        from_line(json.dumps({"row": 1, "answer": "x", "seconds": seconds}))
