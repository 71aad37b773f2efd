"""Data validation: what fails a job minutes after it was accepted, and with which words."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from .desk import BUCKET, LLAMA, Desk, png, record

Rows = list[Any]


def edited(edit: Callable[[dict[str, Any]], object]) -> Callable[[Rows], Rows]:
    def apply(rows: Rows) -> Rows:
        edit(rows[3])
        return rows

    return apply


def user(row: dict[str, Any]) -> Any:
    return row["messages"][0]["content"]


def location(row: dict[str, Any]) -> Any:
    return user(row)[1]["image"]["source"]["s3Location"]


BROKEN: list[tuple[str, Callable[[Rows], Rows], str]] = [
    ("not JSON", lambda rows: [*rows, "{"], "must conform to JSONL format"),
    ("blank line", lambda rows: [*rows, ""], "must conform to JSONL format"),
    ("byte order mark", lambda rows: ["\ufeff" + json.dumps(rows[0]), *rows[1:]], "must conform to JSONL"),
    (
        "prompt and completion",
        lambda rows: [{"prompt": "a", "completion": "b"}, *rows],
        "conversation format",
    ),
    ("too few", lambda rows: rows[:7], "between 8 and 20000"),
    ("no schema version", edited(lambda row: row.pop("schemaVersion")), "line 4 is invalid: 'schemaVersion'"),
    ("two system texts", edited(lambda row: row["system"].append({"text": "b"})), "exactly one"),
    ("assistant first", edited(lambda row: row["messages"].reverse()), "roles must alternate"),
    ("no answer", edited(lambda row: row["messages"].pop()), "last message"),
    (
        "empty answer",
        edited(lambda row: row["messages"][1].update(content=[{"text": " "}])),
        "assistant turn",
    ),
    (
        "image in an answer",
        edited(lambda row: row["messages"][1]["content"].append(user(row)[1])),
        "assistant turn must not hold 'image'",
    ),
    ("reserved word", edited(lambda row: user(row)[0].update(text="see <IMAGE> here")), "'<image>'"),
    ("reserved role", edited(lambda row: row["system"][0].update(text="User: hi")), "'User:'"),
    ("missing image", edited(lambda row: location(row).update(uri=f"s3://{BUCKET}/no.png")), "GetObject"),
    ("other bucket", edited(lambda row: location(row).update(uri="s3://elsewhere/000.png")), "same bucket"),
    (
        "colon in a key",
        edited(lambda row: location(row).update(uri=f"s3://{BUCKET}/a:b.png")),
        "valid S3 URI",
    ),
    ("owner of another", edited(lambda row: location(row).update(bucketOwner="9" * 12)), "bucketOwner"),
    ("wrong format", edited(lambda row: user(row)[1]["image"].update(format="jpeg")), "is png, not jpeg"),
    ("too many tokens", edited(lambda row: user(row)[0].update(text="word " * 40_000)), "token length"),
    (
        "too many images",
        edited(lambda row: user(row).extend([user(row)[1]] * 10)),
        "at most 10 images",
    ),
]


def failure(desk: Desk) -> str:
    job = desk.finished_job()
    assert job["status"] == "Failed"
    assert job["statusDetails"]["validationDetails"]["status"] == "Failed"
    assert (job["endTime"] - job["creationTime"]).total_seconds() < 200
    return str(job["failureMessage"])


@pytest.mark.parametrize(("damage", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_bad_rows_fail_the_job(desk: Desk, damage: Callable[[Rows], Rows], words: str) -> None:
    desk.stage(8, damage([record(index) for index in range(8)]))

    assert words in failure(desk)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda: b"not an image", "cannot be read"),
        (lambda: png(9)[:60], "cannot be read"),
    ],
    ids=["rubbish", "truncated"],
)
def test_bad_images_fail_the_job(desk: Desk, body: Callable[[], bytes], words: str) -> None:
    desk.stage()
    desk.s3.put_object(Bucket=BUCKET, Key="images/train/002.png", Body=body())

    assert words in failure(desk)


def test_a_missing_file_fails_the_job(desk: Desk) -> None:
    desk.make_bucket()

    assert "Could not validate GetObject permissions" in failure(desk)


def test_a_bucket_in_another_region_fails_the_job(desk: Desk) -> None:
    desk.s3 = desk.client("s3", "eu-west-1")
    desk.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    assert BUCKET in failure(desk)


def test_llama_wants_a_hundred_records_and_one_image_each(desk_of_2025: Desk) -> None:
    desk = desk_of_2025
    desk.stage(8)
    two_images = [record(index) for index in range(8)]
    user(two_images[0]).append(user(two_images[0])[1])
    messages = []
    for name, rows in (("few", [record(index) for index in range(8)]), ("twice", two_images)):
        text = "\n".join(json.dumps(row) for row in rows)
        desk.s3.put_object(Bucket=BUCKET, Key=f"data/{name}.jsonl", Body=text.encode())
        desk.bedrock.create_model_customization_job(
            **desk.job(
                jobName=name,
                customModelName=name,
                clientRequestToken=name,
                baseModelIdentifier=LLAMA,
                trainingDataConfig={"s3Uri": f"s3://{BUCKET}/data/{name}.jsonl"},
            )
        )
        desk.advance(400)
        messages.append(desk.bedrock.get_model_customization_job(jobIdentifier=name)["failureMessage"])

    assert "between 100 and 10000" in messages[0]
    assert "at most 1 images" in messages[1]
