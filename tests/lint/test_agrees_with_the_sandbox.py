"""
What lint passes, the sandbox's data validation accepts; what that rejects, lint has an error for.

The two share no code. The sandbox's validation is driven by its own function, on the same bytes.
"""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlm_runner.lint import lint_jsonl
from vlm_runner.lint.jsonl import Lines
from vlm_runner.models import find
from vlm_runner.sandbox.catalogue import find_model
from vlm_runner.sandbox.records import Checker, DataRejected, check_counts

from .pictures import BAD as PICTURES
from .pictures import GOOD, png
from .records import ACCOUNT, BAD, BUCKET, LLAMA, NOVA, good

REGIONS = {NOVA: "us-east-1", LLAMA: "us-west-2", "amazon.nova-2-lite-v1:0:256k": "us-east-1"}
STORE = {
    f"images/{at}.png": body
    for at, body in enumerate([*GOOD.values(), *[bad for bad, _ in PICTURES.values()]])
}
FORMATS = ["png", "jpeg", "gif", "webp"]


def fetch(bucket: str, key: str) -> bytes | None:
    return STORE.get(key) if bucket in {BUCKET, "another-bucket"} else None


def passes(body: bytes, model: str, name: str) -> bool:
    stream = io.BytesIO(body)
    report = lint_jsonl(
        [Lines(f"s3://{BUCKET}/{name}", BUCKET, stream, "train")],
        find(model),
        fetch=fetch,
        account=ACCOUNT,
        threads=1,
    )
    return not report.failed


def rejection(body: bytes, model: str, name: str) -> str | None:
    sandboxed, _ = find_model(model, REGIONS[model])

    def read(bucket: str, key: str) -> bytes | None:
        return body if key == name else fetch(bucket, key)

    try:
        examples = list(Checker(sandboxed, BUCKET, name, read, ACCOUNT).examples())
        check_counts(sandboxed, len(examples), 0)
    except DataRejected as rejected:
        return str(rejected)
    return None


def agree(body: bytes, model: str, name: str = "data/train.jsonl") -> None:
    rejected = rejection(body, model, name)
    assert rejected is None or not passes(body, model, name), f"lint passes what is rejected: {rejected}"


def image(key: str, form: str, **location: Any) -> dict[str, Any]:
    return {"image": {"format": form, "source": {"s3Location": {"uri": f"s3://{BUCKET}/{key}"} | location}}}


ODD = st.sampled_from(
    [None, "", " ", 7, [], {}, ["x"], {"text": "x"}, True, "User:", "<IMAGE>", "x" * 50_000, "[EOS]"]
)
TEXT = st.one_of(
    st.text(max_size=30), st.sampled_from(["Judge.", "a\u2028b", "\ufeff", "a\0b", "bot: hi", "a\r\nb"])
)
BLOCK = st.one_of(
    st.builds(lambda text: {"text": text}, TEXT),
    st.builds(
        image,
        st.sampled_from([*STORE, "images/none.png", "images/a b.png"]),
        st.sampled_from([*FORMATS, "tiff"]),
    ),
    st.builds(
        lambda owner: image("images/0.png", "png", bucketOwner=owner), st.sampled_from([ACCOUNT, "1" * 12, 7])
    ),
    st.just(
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://another-bucket/images/0.png"}}}}
    ),
    st.just({"video": {}}),
)


@st.composite
def records(draw: st.DrawFn) -> Any:
    """A good record, bent in up to two places."""
    record: Any = copy.deepcopy(good())
    record["messages"][0]["content"][1] = image("images/0.png", "png", bucketOwner=ACCOUNT)
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.sampled_from(["leaf", "block", "drop", "turn", "system", "schema"]))
        if not isinstance(record.get("messages"), list) or not record["messages"]:
            break
        turn = draw(st.sampled_from(record["messages"]))
        match where:
            case "leaf":
                turn["content"] = draw(ODD)
            case "block" if isinstance(turn.get("content"), list):
                turn["content"].insert(0, draw(BLOCK))
            case "drop":
                record.pop(draw(st.sampled_from(sorted(record))))
            case "turn":
                record["messages"].append(
                    {"role": draw(st.sampled_from(["user", "assistant", "bot"])), "content": [{"text": "a"}]}
                )
            case "system":
                record["system"] = draw(ODD)
            case "schema":
                record["schemaVersion"] = draw(ODD)
            case _:
                pass
    return record


def lines(bent: list[Any], count: int) -> bytes:
    plain = copy.deepcopy(good())
    plain["messages"][0]["content"][1] = image("images/0.png", "png")
    whole = [*bent, *[plain] * max(0, count - len(bent))]
    return "\n".join(json.dumps(each) for each in whole).encode()


@pytest.mark.parametrize("model", REGIONS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bent=st.lists(records(), min_size=1, max_size=3), count=st.sampled_from([0, 8, 100, 200]))
def test_what_lint_passes_is_accepted(model: str, bent: list[Any], count: int) -> None:
    agree(lines(bent, count), model)


@pytest.mark.parametrize("model", REGIONS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_change_of_bytes_gets_past(model: str, data: st.DataObject) -> None:
    body = bytearray(lines([], 8))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"\n", b"\xff", b'"', b"{", b"\xef\xbb\xbf"])
        )
    agree(bytes(body), model)


@pytest.mark.parametrize("model", REGIONS)
@pytest.mark.parametrize("name", BAD)
def test_of_each_known_defect(model: str, name: str) -> None:
    agree(BAD[name][0], model)


@pytest.mark.parametrize("key", STORE)
@pytest.mark.parametrize("form", FORMATS)
def test_of_each_image(key: str, form: str) -> None:
    record = copy.deepcopy(good())
    record["messages"][0]["content"][1] = image(key, form)
    body = lines([record], 8)

    agree(body, NOVA)


@pytest.mark.parametrize("name", ["data/train.json", "data/train.JSONL", "train.jsonl"])
def test_of_each_name(name: str) -> None:
    agree(lines([], 8), NOVA, name)


@pytest.mark.parametrize("model", [NOVA, LLAMA])
def test_a_good_file_passes_both(model: str) -> None:
    body = lines([], 100)

    assert rejection(body, model, "data/train.jsonl") is None
    assert passes(body, model, "data/train.jsonl")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(characters=0)
@given(characters=st.integers(-60, 60))
def test_the_token_limit_lies_at_the_same_place(characters: int) -> None:
    """
    Tokens are estimates on both sides; they are the same estimates.
    """
    record = copy.deepcopy(good())
    record["messages"][0]["content"][1] = image("images/0.png", "png")
    pixels = find(NOVA).image_tokens(64, 48)
    record["messages"][0]["content"][0]["text"] = "a" * (4 * (32_000 - pixels - 8) + characters)
    body = lines([record], 8)

    assert passes(body, NOVA, "data/train.jsonl") == (rejection(body, NOVA, "data/train.jsonl") is None)
    assert png()
