"""Loss curves from the files that Bedrock leaves, in whatever layout."""

from __future__ import annotations

import pytest

from vlm_runner.core.transitions import fold
from vlm_runner.report.charts import chart, thinned, ticks
from vlm_runner.report.collect import collect, curve
from vlm_runner.testing import FakeObjects, FakeS3

from .runs import history

TRAINING = (
    "step_number,epoch_number,training_loss,perplexity\n0,0,2.0,7\n1,0,1.0,3\n1,0,3.0,3\n2,1,x,\n3,1,0.5,1\n"
)
VALIDATION = "step_number,epoch_number,validation_loss,perplexity\n3,0,0.7,2\n"
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
    s3.put("bucket", "runs/pages-1/output/.write_access_check_file.tmp", b"")

    found = await collect(fold(history()), FakeObjects(s3, "bucket", "123456789012"))

    assert found.training.points == ((0.0, 2.0), (1.0, 2.0), (3.0, 0.5))
    assert found.training.epochs == (0.0, 3.0)
    assert found.validation.points == ((3.0, 0.7),)
    assert found.missing == ("s3://bucket/runs/pages-1/answers.jsonl is gone: the answers cannot be shown.",)


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
