"""
What lint passes, the sandbox's data validation accepts; what that rejects, lint has an error for.

The two share no code. The sandbox's validation is driven by its own function, on the same bytes.
"""

from __future__ import annotations

import copy
import io
import json
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from vlm_runner.ingest.images import examine
from vlm_runner.lint import Severity, lint_jsonl
from vlm_runner.lint.jsonl import Lines
from vlm_runner.models import find
from vlm_runner.sandbox.catalogue import find_model
from vlm_runner.sandbox.records import Checker, DataRejected, check_counts

from .pictures import BAD as PICTURES
from .pictures import GOOD, png
from .records import ACCOUNT, BAD, BUCKET, KEY, LLAMA, NOVA, good

if TYPE_CHECKING:
    from collections.abc import Iterator

REGIONS = {NOVA: "us-east-1", LLAMA: "us-west-2", "amazon.nova-2-lite-v1:0:256k": "us-east-1"}
LEAST = {NOVA: 8, LLAMA: 100, "amazon.nova-2-lite-v1:0:256k": 200}
"""Records that a file needs, so that it is not rejected for their number and looked at no further."""
STORE = {KEY: png()} | {
    f"images/{at}.png": body
    for at, body in enumerate([*GOOD.values(), *[bad for bad, _ in PICTURES.values()]])
}
FORMATS = ["png", "jpeg", "gif", "webp"]


@pytest.fixture(scope="module", autouse=True)
def _each_image_examined_once() -> Iterator[None]:
    """Lint has but a few of them, in thousands of records; the sandbox remembers its own."""
    with patch("vlm_runner.lint.jsonl.examine", cache(examine)):
        yield


def fetch(bucket: str, key: str) -> bytes | None:
    return STORE.get(key) if bucket in {BUCKET, "another-bucket"} else None


def passes(body: bytes, model: str, name: str, without: str | None = None) -> bool:
    """Whether lint finds no error; `without`: as if there were no rule of this code."""
    stream = io.BytesIO(body)
    report = lint_jsonl(
        [Lines(f"s3://{BUCKET}/{name}", BUCKET, stream, "train")],
        find(model),
        fetch=fetch,
        account=ACCOUNT,
        threads=1,
    )
    errors = {finding.code for finding in report.findings if finding.severity is Severity.ERROR}
    return errors <= {without}


def rejection(body: bytes, model: str, name: str) -> str | None:
    sandboxed, _ = find_model(model, REGIONS[model])

    def read(bucket: str, key: str) -> bytes | None:
        return body if key == name else fetch(bucket, key)

    try:
        examples = Checker(sandboxed, BUCKET, name, read, ACCOUNT).read().examples
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
    [None, "", " ", 7, [], {}, ["x"], {"text": "x"}, True, "User:", "<IMAGE>", "[EOS]"]
).map(copy.deepcopy)
TEXT = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["Judge.", "a\u2028b", "\ufeff", "a\0b", "bot: hi", "a\r\nb", "<Image>", "", " ", "\n"]),
)
TEXTS = st.builds(lambda text: {"text": text}, st.one_of(TEXT, ODD))
WHOLE = [f"images/{at}.png" for at in range(len(GOOD))]
KEYS = st.one_of(
    st.sampled_from(WHOLE), st.sampled_from([*STORE]), st.sampled_from(["images/none.png", "images/a b.png"])
)
IMAGES = st.one_of(
    st.builds(image, KEYS, st.sampled_from([*FORMATS, "tiff", None])),
    st.builds(
        lambda owner: image(WHOLE[0], "png", bucketOwner=owner), st.sampled_from([ACCOUNT, "1" * 12, 7])
    ),
    st.sampled_from(
        [
            {
                "image": {
                    "format": "png",
                    "source": {"s3Location": {"uri": f"s3://another-bucket/{WHOLE[0]}"}},
                }
            },
            {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}},
            {"image": {"format": "png"}},
            {"image": "images/0.png"},
        ]
    ),
)
BLOCK = st.one_of(TEXTS, IMAGES, st.sampled_from([{"video": {}}, {"audio": {}}, "Judge.", None]))


NOVA_2 = "amazon.nova-2-lite-v1:0:256k"


def taken() -> dict[str, tuple[dict[str, Any], str]]:
    """What AWS's own validator takes, and for which model."""
    loud, bare, thinking = good(), good(), good()
    loud["messages"][0]["content"][1] = image(WHOLE[0], "PNG")
    bare["system"] = []
    thinking["messages"][1]["content"].insert(0, {"reasoningContent": {"reasoningText": {"text": "Hm."}}})
    return {
        "a format in capitals": (loud, NOVA),
        "an empty system": (bare, NOVA),
        "reasoning before an answer": (thinking, NOVA_2),
    }


@pytest.mark.parametrize("name", taken())
def test_what_awss_validator_takes_is_taken_by_both(name: str) -> None:
    record, model = taken()[name]
    body = (json.dumps(record) + "\n").encode() * LEAST[model]

    assert rejection(body, model, "data/train.jsonl") is None
    assert passes(body, model, "data/train.jsonl")


def test_reasoning_is_for_nova_2_alone() -> None:
    record, _ = taken()["reasoning before an answer"]
    body = (json.dumps(record) + "\n").encode() * LEAST[NOVA]

    assert rejection(body, NOVA, "data/train.jsonl") is not None
    assert not passes(body, NOVA, "data/train.jsonl")


@st.composite
def records(draw: st.DrawFn) -> Any:
    """A good record, bent in up to two places."""
    record: Any = copy.deepcopy(good())
    record["messages"][0]["content"][1] = image(WHOLE[0], "png", bucketOwner=ACCOUNT)
    for _ in range(draw(st.integers(0, 2))):
        if isinstance(record.get("messages"), list) and record["messages"]:
            bend = draw(st.sampled_from([bend_record, bend_turns, bend_turn, bend_blocks, bend_blocks]))
            bend(draw, record)
    return record


def bend_record(draw: st.DrawFn, record: Any) -> None:
    match draw(st.sampled_from(["drop", "system", "schema"])):
        case "drop":
            record.pop(draw(st.sampled_from(sorted(record))))
        case "system":
            record["system"] = draw(st.one_of(ODD, st.lists(TEXTS, max_size=2)))
        case _:
            record["schemaVersion"] = draw(ODD)


def bend_turns(draw: st.DrawFn, record: Any) -> None:
    turn = {"role": draw(st.sampled_from(["user", "assistant", "bot"])), "content": [{"text": "a"}]}
    turns = record["messages"]
    turns.insert(draw(st.sampled_from([0, len(turns)])), draw(st.one_of(st.just(turn), ODD)))
    if draw(st.booleans()):
        turns.pop(draw(st.integers(0, len(turns) - 1)))


def bend_turn(draw: st.DrawFn, record: Any) -> None:
    turn = draw(st.sampled_from(record["messages"]))
    if isinstance(turn, dict):
        key = draw(st.sampled_from(["content", "role"]))
        turn[key] = draw(st.one_of(ODD, st.sampled_from(["user", "assistant", "bot"])))


def bend_blocks(draw: st.DrawFn, record: Any) -> None:
    turn = draw(st.sampled_from(record["messages"]))
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), list):
        return
    if draw(st.integers(0, 3)):
        turn["content"].insert(0, draw(BLOCK))
    else:
        turn["content"] += [image(WHOLE[0], "png")] * draw(st.sampled_from([1, 8, 9, 10, 11]))


def lines(bent: list[Any], count: int) -> bytes:
    plain = copy.deepcopy(good())
    plain["messages"][0]["content"][1] = image(WHOLE[0], "png")
    whole = [*bent, *[plain] * max(0, count - len(bent))]
    return "\n".join(json.dumps(each) for each in whole).encode()


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    """A good file in which a few bytes are replaced, inserted or gone, mostly at the ends of lines."""
    body = bytearray(lines([], 8))
    for _ in range(draw(st.integers(1, 3))):
        ends = [0, len(body), *[at for at, byte in enumerate(body) if byte == 10]]
        at = draw(st.one_of(st.sampled_from(ends), st.integers(0, len(body))))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.sampled_from(
                [b"", b"\n", b"\n\n", b" ", b"\xff", b'"', b"{", b"{}", b"[1]\n", b"\xef\xbb\xbf"]
            )
        )
    return bytes(body)


MANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("model", LEAST)
@settings(MANY, max_examples=40)
@given(bent=st.lists(records(), min_size=1, max_size=3), short=st.sampled_from([0, 0, 0, 1]))
def test_what_lint_passes_is_accepted(model: str, bent: list[Any], short: int) -> None:
    agree(lines(bent, LEAST[model] - short), model)


@settings(MANY, max_examples=200)
@given(bent=records())
def test_what_lint_passes_is_accepted_record_by_record(bent: Any) -> None:
    agree(lines([bent], 8), NOVA)


@settings(MANY, max_examples=150)
@given(body=broken_bytes())
def test_no_change_of_bytes_gets_past(body: bytes) -> None:
    agree(body, NOVA)


def among_good_ones(name: str, model: str) -> bytes:
    """A known defect in a file in which all else is right."""
    first, *rest = lines([], LEAST[model] - 1).split(b"\n")
    return b"\n".join([first, BAD[name][0], *rest])


SEEN_BY_TWO_RULES = {"an answer without text", "an empty answer"}


@pytest.mark.parametrize("model", LEAST)
@pytest.mark.parametrize("name", BAD)
def test_of_each_known_defect(model: str, name: str) -> None:
    agree(among_good_ones(name, model), model)


@pytest.mark.parametrize("name", sorted(BAD.keys() - SEEN_BY_TWO_RULES))
def test_nothing_else_stands_in_for_the_rule_of_a_known_defect(name: str) -> None:
    """
    Else the tests of this file could not tell whether the rule is there.
    """
    body, code = among_good_ones(name, NOVA), BAD[name][1]
    if rejection(body, NOVA, "data/train.jsonl") is None:
        return

    assert not passes(body, NOVA, "data/train.jsonl")
    assert passes(body, NOVA, "data/train.jsonl", without=code)


@pytest.mark.parametrize("code", ["J315", "J319", "J320", "J324", "J328", "J335", "J338"])
def test_random_records_reach_the_rules(code: str) -> None:
    def gets_past(bent: Any) -> bool:
        body = lines([bent], 8)
        name = "data/train.jsonl"
        return passes(body, NOVA, name, without=code) and rejection(body, NOVA, name) is not None

    once = settings(MANY, max_examples=1500, derandomize=True, database=None, phases=[Phase.generate])

    found = hypothesis.find(records(), gets_past, settings=once)

    assert not passes(lines([found], 8), NOVA, "data/train.jsonl")


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
    record["messages"][0]["content"][1] = image(WHOLE[0], "png")
    pixels = find(NOVA).image_tokens(64, 48)
    record["messages"][0]["content"][0]["text"] = "a" * (4 * (32_000 - pixels - 8) + characters)
    body = lines([record], 8)

    assert passes(body, NOVA, "data/train.jsonl") == (rejection(body, NOVA, "data/train.jsonl") is None)
    assert png()
