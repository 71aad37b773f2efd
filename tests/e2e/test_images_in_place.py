"""Images that stay where they lie in S3: named by the records, held to what they were, and never touched."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .laptop import ACCOUNT, Laptop, picture
from .principals import JOB_ROLE, role, user

BUCKET = "pictures-of-mine"
ROWS = 10


def noise(kind: str, seed: int, **options: Any) -> bytes:
    """An image far longer than what is read of its beginning."""
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def put(laptop: Laptop, key: str, body: bytes) -> None:
    laptop.boto("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


def names(laptop: Laptop, prefix: str = "") -> dict[str, str]:
    """Keys and ETags."""
    listed = laptop.boto("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {item["Key"]: item["ETag"] for item in listed}


def record(key: str) -> dict[str, Any]:
    location = {"uri": f"s3://{BUCKET}/{key}", "bucketOwner": ACCOUNT}
    image = {"image": {"format": "png", "source": {"s3Location": location}}}
    return {
        "schemaVersion": "bedrock-conversation-2024",
        "messages": [
            {"role": "user", "content": [{"text": f"What is {key}?"}, image]},
            {"role": "assistant", "content": [{"text": f"It is {key}."}]},
        ],
    }


@pytest.fixture
def spec(laptop: Laptop) -> str:
    """Ten records; their images are below `photos/`, but for one in `other/`; one's name has a space."""
    laptop.boto("s3").create_bucket(Bucket=BUCKET)
    keys = [f"photos/{number}.png" for number in range(6)]
    for number, key in enumerate(keys):
        put(laptop, key, picture(number))
    for key, body in (
        ("photos/long.png", noise("PNG", 1)),
        ("photos/long.jpg", noise("JPEG", 2, quality=95)),
        ("photos/a b.png", picture(7)),
        ("other/8.png", picture(8)),
    ):
        put(laptop, key, body)
        keys.append(key)
    source = laptop.home / "train.jsonl"
    source.write_text("".join(f"{json.dumps(record(key))}\n" for key in keys))
    return str(
        laptop.spec(
            source,
            dataset=f'source = "{source}"\nfetch_images = true\nimages_in_place = ["s3://{BUCKET}/photos/"]',
            prompt='preset = "bedrock"',
            storage=f'bucket = "{BUCKET}"',
            training=f'role_arn = "{JOB_ROLE}"\nhyperparameters = {{ epochCount = 1 }}',
        )
    )


@pytest.fixture
def runner(laptop: Laptop, spec: str) -> dict[str, str]:
    """The environment of somebody who has the printed policy and no other, as the job's role has its own."""
    documents = documents_of(laptop, spec)
    role(laptop, JOB_ROLE, documents["role_trust"], documents["role_policy"])
    policy = documents["caller_policy"]
    # The image in other/ is beside what the spec names, so the right to it is the user's own to give.
    policy["Statement"].append(
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/other/*"}
    )
    return user(laptop, "runner", policy)


def documents_of(laptop: Laptop, spec: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(laptop.here("iam", spec, "--region", "us-east-1").stdout)
    return found


def without(document: dict[str, Any], sid: str) -> dict[str, Any]:
    kept = [each for each in document["Statement"] if each.get("Sid") != sid]
    assert len(kept) == len(document["Statement"]) - 1
    return document | {"Statement": kept}


def uris(laptop: Laptop, key: str) -> list[str]:
    body = laptop.boto("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return [
        block["image"]["source"]["s3Location"]["uri"].removeprefix(f"s3://{BUCKET}/")
        for line in body.splitlines()
        for block in json.loads(line)["messages"][0]["content"]
        if "image" in block
    ]


def test_a_run_trains_on_images_where_they_lie_and_its_deletion_leaves_them(
    laptop: Laptop, spec: str, runner: dict[str, str]
) -> None:
    before = names(laptop)
    planned = laptop.here("plan", spec, **runner).stdout
    assert "8 stay where they lie" in planned
    assert "train: 2 images, about 622 bytes" in planned, planned

    done = laptop.here("start", spec, "--yes", "--json", "--run-id", "there", **runner)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "succeeded"
    staged = laptop.checkpoint("there")["run"]["images"]["train"]
    assert (staged["images_uploaded"], staged["images_in_place"]) == (2, 8)
    assert uris(laptop, "data/train.jsonl") == [
        *(f"photos/{number}.png" for number in range(6)),
        "photos/long.png",
        "photos/long.jpg",
        "images/train/008.png",
        "images/train/009.png",
    ]
    page = laptop.here("report", "there", "-o", "page.html", **runner)
    assert page.returncode == 0, page.stderr
    deleted = laptop.here("delete", "there", "--yes", **runner)
    assert deleted.returncode == 0, deleted.stderr
    assert names(laptop) == before


def test_without_the_printed_right_to_them_the_run_does_not_begin(
    laptop: Laptop, spec: str, runner: dict[str, str]
) -> None:
    documents = documents_of(laptop, spec)
    blind = user(laptop, "blind", without(documents["caller_policy"], "ImagesInPlace"))

    refused = laptop.here("start", spec, "--yes", "--run-id", "blind", **blind)

    assert refused.returncode == 3, refused.stderr
    assert "photos/0.png" in refused.stderr
    assert "s3:GetObject" in refused.stderr
    role(
        laptop,
        f"{JOB_ROLE}-blind",
        documents["role_trust"],
        without(documents["role_policy"], "ImagesInPlace"),
    )
    text = (laptop.home / "run.toml").read_text().replace(JOB_ROLE, f"{JOB_ROLE}-blind")
    (laptop.home / "blind.toml").write_text(text)
    halted = laptop.here("start", "blind.toml", "--yes", "--run-id", "blind-job")
    assert halted.returncode == 4, halted.stderr
    assert f"of-the-job-blind may not s3:GetObject on arn:aws:s3:::{BUCKET}/photos/a.png" in halted.stderr
    assert laptop.paid("customization_job") == []


def test_a_second_prompt_and_a_verification_upload_no_image_again(laptop: Laptop, spec: str) -> None:
    text = (laptop.home / "run.toml").read_text()
    (laptop.home / "brief.toml").write_text(text.replace('"bedrock"', '"bedrock"\nsystem = "Be brief."'))
    for run_id, name in (("first", spec), ("second", "brief.toml")):
        laptop.here("start", name, "--yes", "--run-id", run_id, "--timeout", "0s", "--no-doctor")
        begun = laptop.here("resume", run_id, "--until", "recording")
        assert laptop.phase(run_id) == "submitting", begun.stderr

    verified = laptop.here("stage", "second", "--verify")

    assert verified.returncode == 0, verified.stderr
    staged = laptop.checkpoint("second")["run"]["images"]["train"]
    counts = [staged[name] for name in ("images_uploaded", "images_there", "images_in_place")]
    assert counts == [0, 2, 8]
    assert set(names(laptop, "images/")) == {"images/train/008.png", "images/train/009.png"}


@pytest.mark.parametrize("fate", ["replaced", "deleted"])
def test_one_that_somebody_changes_before_the_job_is_noticed_before_anything_is_paid(
    fate: str, laptop: Laptop, spec: str, runner: dict[str, str]
) -> None:
    laptop.here("start", spec, "--yes", "--run-id", "held", "--timeout", "0s", **runner)
    begun = laptop.here("resume", "held", "--until", "recording", **runner)
    assert laptop.phase("held") == "submitting", begun.stderr
    if fate == "replaced":
        put(laptop, "photos/3.png", picture(99))
    else:
        laptop.boto("s3").delete_object(Bucket=BUCKET, Key="photos/3.png")

    halted = laptop.here("resume", "held", **runner)

    assert halted.returncode != 0
    assert f"s3://{BUCKET}/photos/3.png, the image of row 3, was {fate}" in halted.stderr
    assert laptop.paid("customization_job") == []
    put(laptop, "photos/3.png", picture(3))
    assert laptop.here("resume", "held", **runner).returncode == 0


@pytest.mark.parametrize(
    ("folder", "storage", "said"),
    [
        (
            "s3://pictures-of-mine/photos/",
            "pictures-of-runs",
            "images can only stay in the bucket of the records",
        ),
        (
            "s3://pictures-of-mine/",
            "pictures-of-mine",
            "runs write and delete in s3://pictures-of-mine/images/",
        ),
        ("s3://pictures-of-mine/images/train", "pictures-of-mine", "runs write and delete in"),
    ],
)
@pytest.mark.usefixtures("spec")
def test_a_place_where_images_cannot_stay_is_refused(
    folder: str, storage: str, said: str, laptop: Laptop
) -> None:
    text = (laptop.home / "run.toml").read_text()
    text = text.replace(f"s3://{BUCKET}/photos/", folder).replace(
        f'bucket = "{BUCKET}"', f'bucket = "{storage}"'
    )
    (laptop.home / "wrong.toml").write_text(text)

    for command in (("plan", "wrong.toml"), ("start", "wrong.toml", "--yes"), ("doctor", "wrong.toml")):
        done = laptop.here(*command)

        assert done.returncode == 4, (command, done.stdout, done.stderr)
        assert said in done.stdout + done.stderr


def test_a_row_whose_image_is_cut_off_or_gone_is_named(
    laptop: Laptop, spec: str, runner: dict[str, str]
) -> None:
    put(laptop, "photos/long.png", noise("PNG", 1)[:-2000])
    laptop.boto("s3").delete_object(Bucket=BUCKET, Key="photos/2.png")

    linted = laptop.here("lint", spec, "--json", **runner)

    assert linted.returncode == 3
    errors = {
        (found["row"], found["code"])
        for found in json.loads(linted.stdout)["findings"]
        if found["severity"] == "error"
    }
    assert errors == {(2, "I103"), (6, "I120")}
