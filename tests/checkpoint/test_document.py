"""Checkpoints are distrusted: what is not whole and ours is refused with a sentence, and never touched."""

from __future__ import annotations

import hashlib
import json
import math
import random
from pathlib import Path

import pytest

from tests.histories import AT, SERVED, happy_runs
from tests.shortcuts import Memory
from vlm_runner.checkpoint.document import Checkpoint, Holder, from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import MAX_BYTES, SCHEMA
from vlm_runner.core.decide import decide
from vlm_runner.core.events import JobCompleted, ServedModel
from vlm_runner.core.run import Phase
from vlm_runner.core.transitions import fold
from vlm_runner.errors import CheckpointError

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("*.json"))


def document(length: int = 6) -> Checkpoint:
    run, history = happy_runs()[length]
    holder = Holder(id="h", host="there", pid=7)
    return Checkpoint(write_id="w1", previous_write_id="w0", epoch=3, holder=holder, run=run, history=history)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    for length in range(len(happy_runs())):
        assert from_bytes(to_bytes(document(length)), where="x") == document(length)


@pytest.mark.parametrize("serves", [None, SERVED], ids=["trains", "serves"])
def test_what_tests_write_the_quick_way_is_the_same_document(serves: ServedModel | None) -> None:
    memory = Memory(trusting=False)
    newer = json.loads(to_bytes(document(3)))
    newer["of_the_future"] = newer["history"][1]["of_the_future"] = {"b": [1.5, "\u00e9"], "a": None}
    newer["run"]["created"]["of_the_future"] = newer["history"][0]["event"]["of_the_future"] = 1e-05
    documents = [
        Checkpoint(
            write_id="w", holder=Holder(id="h", pid=7), saved_at=AT, halted=halted, run=run, history=history
        )
        for halted in (None, "why")
        for run, history in happy_runs(serves=serves)
    ]
    documents.append(from_bytes(signed(newer), where="here"))

    for each in documents:
        assert memory.to_bytes(each) == to_bytes(each)


def test_truncated_at_any_byte_it_is_refused() -> None:
    body = to_bytes(document())

    for length in range(len(body) - 1):
        with pytest.raises(CheckpointError):
            from_bytes(body[:length], where="x")


def test_with_any_bit_flipped_it_is_refused() -> None:
    body = to_bytes(document(3))
    chance = random.Random(1)

    for _ in range(3000):
        place = chance.randrange(len(body) - 1)
        flipped = bytearray(body)
        flipped[place] ^= 1 << chance.randrange(8)
        with pytest.raises(CheckpointError):
            from_bytes(bytes(flipped), where="x")


def checksum(table: dict[str, object]) -> str:
    """As it was written by every version: over the sorted JSON of all else."""
    canonical = json.dumps(table, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def test_bytes_are_their_own_proof_and_so_is_their_meaning() -> None:
    """The checksum is over the text as it lies there, and over the same in any other spelling."""
    body = to_bytes(document())
    table = json.loads(body)
    told = table.pop("sha256")

    assert told == checksum(table)
    assert hashlib.sha256(body.rpartition(b',"sha256"')[0] + b"}").hexdigest() == told
    spelled = json.dumps(table | {"sha256": told}, indent=1).encode()
    assert from_bytes(spelled, where="x") == document()


def hostile_texts() -> list[bytes]:
    """In the manner of nst/JSONTestSuite: what parsers of JSON fall over."""
    whole = to_bytes(document(3)).decode()
    nested = [opening * depth for opening in ("[", '{"a":', '[{"a":') for depth in (10, 500, 5000, 100_000)]
    numbers = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-0",
        "01",
        "1.",
        ".5",
        "0x10",
        "1e",
        "9" * 5000,
        "1_000",
    ]
    strings = [
        r'"\ud800"',
        r'"\udc00\ud800"',
        '"\x01"',
        '"unterminated',
        r'"\x"',
        "'single'",
        '"\\u12"',
        '"a\tb"',
    ]
    shapes = [
        "",
        " ",
        "null",
        "true",
        "[]",
        "{}",
        "0",
        '""',
        "[1,]",
        '{"a":1,}',
        '{"a" 1}',
        "{,}",
        "[,]",
        "//x",
        "{]",
    ]
    values = [*numbers, *strings, *shapes, "{}{}", "[][]", "\ufeff{}"]
    fields = ["schema", "min_reader", "epoch", "holder", "run", "history", "write_id", "sha256"]
    table = json.loads(whole)
    texts = [*nested, *values, *(f'{{"schema":{value}}}' for value in values)]
    texts += [whole.replace('"epoch":3', f'"epoch":{value}') for value in values]
    texts += [json.dumps({key: item for key, item in table.items() if key != field}) for field in fields]
    odd: list[object] = [None, [], {}, "", -1, 2**70, True]
    texts += [json.dumps(table | {field: value}) for field in fields for value in odd]
    texts += [
        whole + whole,
        whole[:-2] + ',"epoch":9}',
        whole.replace("cats", "dogs", 1),
        whole.replace("{", "[", 1),
    ]
    bodies = [text.encode(errors="surrogatepass") for text in texts]
    bodies += [
        whole.encode("utf-16"),
        whole.encode("utf-32"),
        b"\xff\xfe",
        b"\x80",
        b"\x00" * 100,
        b"\xc0\xaf",
    ]
    bodies += [bytes([byte]) for byte in range(128, 256)] + [
        b"{" + bytes([byte]) + b"}" for byte in range(32)
    ]
    return bodies


def test_there_are_enough_hostile_texts() -> None:
    assert len(hostile_texts()) >= 300


@pytest.mark.parametrize("signed", [False, True], ids=["as it is", "with a checksum that fits"])
def test_no_hostile_text_is_taken_or_escapes_as_another_error(signed: bool) -> None:
    for body in hostile_texts():
        sent = body
        if signed:
            try:
                table = json.loads(body)
                table.pop("sha256", None)
                sent = json.dumps(table | {"sha256": checksum(table)}).encode()
                if json.loads(to_bytes(document(3))) == table | {"sha256": checksum(table)}:
                    continue
            except (ValueError, RecursionError, AttributeError, TypeError, UnicodeError):
                continue
        try:
            found = from_bytes(sent, where="x")
        except CheckpointError:
            continue
        # A checksum proves no meaning: what fits the schema and folds is a checkpoint.
        assert signed
        assert fold(found.history) == found.run


def test_one_that_is_too_large_is_not_even_parsed() -> None:
    with pytest.raises(CheckpointError, match="more than a checkpoint can be"):
        from_bytes(b" " * (MAX_BYTES + 1), where="x")


def signed(table: dict[str, object]) -> bytes:
    table.pop("sha256", None)
    return json.dumps(table | {"sha256": checksum(table)}).encode()


def test_one_of_a_newer_version_that_says_so_is_refused() -> None:
    table = json.loads(to_bytes(document())) | {"schema": SCHEMA + 1, "min_reader": SCHEMA + 1}

    with pytest.raises(CheckpointError, match="newer version") as caught:
        from_bytes(signed(table), where="x")

    assert caught.value.hint == "Upgrade vlm-runner; nothing was changed."


def test_one_of_a_newer_version_that_we_may_read_keeps_what_we_do_not_know() -> None:
    table = json.loads(to_bytes(document())) | {"schema": SCHEMA + 1, "colour": "blue"}

    found = from_bytes(signed(table), where="x")

    assert json.loads(to_bytes(found))["colour"] == "blue"
    assert json.loads(to_bytes(found))["schema"] == SCHEMA + 1


def test_a_state_that_its_history_does_not_lead_to_is_refused() -> None:
    table = json.loads(to_bytes(document()))
    table["run"]["phase"] = "done"

    with pytest.raises(CheckpointError, match="contradicts itself"):
        from_bytes(signed(table), where="x")


def test_a_number_that_json_cannot_hold_is_never_written() -> None:
    """It would make the checkpoint unreadable for ever."""
    run, history = happy_runs()[5]
    broken = run.model_copy(update={"model": JobCompleted(model_arn="a", training_loss=math.nan)})

    with pytest.raises(ValueError, match="JSON"):
        to_bytes(Checkpoint(write_id="w", run=broken, history=history))


def test_a_whole_run_stays_small() -> None:
    """Every save writes all of it again."""
    assert len(to_bytes(document(len(happy_runs()) - 1))) < 64 * 1024


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_released_checkpoint_loads_for_ever(path: Path) -> None:
    checkpoint = from_bytes(path.read_bytes(), where=str(path))

    assert path.stem == f"schema-{checkpoint.schema_version}-{checkpoint.run.phase.value}"
    if not checkpoint.run.done:
        decide(checkpoint.run)


def test_there_is_a_golden_checkpoint_of_every_phase() -> None:
    assert {path.stem for path in GOLDEN} >= {
        f"schema-{2 if phase is Phase.SERVING else 1}-{phase.value}" for phase in Phase
    }
