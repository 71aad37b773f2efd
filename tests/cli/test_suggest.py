"""`init --source`: which spec fits a dataset, and what is said to be unsure."""

from __future__ import annotations

import base64
import json
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from vlm_runner.cli import cli
from vlm_runner.cli.suggest import suggest
from vlm_runner.dataset.source import Peek

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG = {"bytes": SIGNATURE, "path": None}
BASE64 = base64.b64encode(SIGNATURE + bytes(80)).decode()
CHAT = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]

LLAVA = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def peek(row: dict[str, Any], splits: tuple[str, ...] = ("train",), num_rows: int = 100) -> Peek:
    return Peek(splits, splits[0], num_rows, tuple(row), (row,) * 3)


def prompt_of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value, _ in suggest(peek(row)).prompt}


@pytest.mark.parametrize(
    ("row", "preset", "columns"),
    [
        ({"image": PNG, "messages": CHAT}, "messages", {}),
        ({"image": PNG, "messages": json.dumps(CHAT)}, "messages", {}),
        ({"pic": PNG, "talk": CHAT}, "messages", {"image": "pic", "messages": "talk"}),
        ({"image": PNG, "conversations": LLAVA}, "sharegpt", {}),
        ({"images": [PNG], "texts": [{"user": "q", "assistant": "a"}]}, "messages", {}),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": PNG}]}, CHAT[1]]}, "messages",
         {"image": "messages[].content[].image"}),
        ({"image": PNG, "Question": "q", "answers": ["a", "b"]}, "qa", {}),
        ({"image": "a/b.JPG", "query": "q", "label": 3}, "qa", {}),
        ({"image": PNG, "text": "A cat."}, "caption", {}),
        ({"__key__": "0", "png": PNG, "txt": "A cat."}, "caption", {}),
        ({"image": BASE64, "text": "A cat."}, "caption", {}),
        ({"page": {"shot": "a.png"}, "text": "A cat."}, "caption", {"image": "page.shot"}),
        ({"pages": [{"image": PNG}], "text": "A cat."}, "caption", {"image": "pages[].image"}),
        ({"image": PNG, "prompt": "q", "chosen": "good", "rejected": "bad"}, "qa", {"answer": "chosen"}),
        ({"image": PNG, "rejected": CHAT, "chosen": CHAT}, "messages", {"messages": "chosen"}),
        ({"screenshot": PNG, "html": "<p>", "output": []}, "accessibility", {}),
        ({"images": [PNG, PNG], "html": "<p>", "output": []}, "accessibility-regions", {}),
    ],
)  # fmt: skip
def test_each_shape_has_its_preset(row: dict[str, Any], preset: str, columns: dict[str, str]) -> None:
    found = suggest(peek(row))

    assert prompt_of(row) == {"preset": preset}
    assert found.columns == columns
    assert found.unsure == []


@pytest.mark.parametrize(
    ("source", "uri", "fetches"),
    [
        ("rows.jsonl", "s3://b/i/0.png", True),
        ("rows.jsonl", "i/0.png", False),
        ("s3://b/i/rows.jsonl", "s3://b/i/0.png", False),
        ("s3://b/i", "s3://b/i/0.png", False),
        ("s3://b/data/rows.jsonl", "s3://b/i/0.png", True),
    ],
)
def test_records_for_bedrock_are_read_with_their_images_where_they_lie(
    source: str, uri: str, fetches: bool
) -> None:
    image = {"image": {"format": "png", "source": {"s3Location": {"uri": uri}}}}
    turns = [{"role": "user", "content": [image, {"text": "q"}]}, CHAT[1] | {"content": [{"text": "a"}]}]

    found = suggest(replace(peek({"messages": turns, "system": [{"text": "s"}]}), source=source))

    assert [(key, value) for key, value, _ in found.prompt] == [("preset", "bedrock")]
    assert (found.columns, found.unsure) == ({}, [])
    assert ("fetch_images" in [key for key, _, _ in found.dataset]) is fetches
    told = [each for each in found.seen if "images_in_place" in each]
    folder = 'images_in_place = ["s3://b/i/"] under [dataset] and bucket = "b" under [storage]'
    assert [folder in each for each in told] == ([True] if uri.startswith("s3:") else [])


@pytest.mark.parametrize(
    ("splits", "num_rows", "held", "doubt"),
    [
        (("train", "validation", "test"), 100, {"validation_split": "validation"}, None),
        (("train", "test"), 100, {"validation_split": "test"}, 'the split "test" is held out'),
        (("train",), 100, {"validation_fraction": 0.1}, None),
        (("train",), 9, {}, "there are few rows"),
        (("en", "de"), 100, {"validation_fraction": 0.1}, 'no split is named "train"'),
    ],
)
def test_held_out_rows_come_from_what_there_is(
    splits: tuple[str, ...], num_rows: int, held: dict[str, Any], doubt: str | None
) -> None:
    found = suggest(peek({"image": PNG, "caption": "A cat."}, splits, num_rows))

    assert {key: value for key, value, _ in found.dataset if key != "split"} == held
    assert [each for each in found.unsure if doubt is None or not each.startswith(doubt)] == []
    assert bool(found.unsure) is (doubt is not None)


@pytest.mark.parametrize(
    ("row", "doubt"),
    [
        ({"left": PNG, "right": PNG, "caption": "A cat."}, "several columns hold images: left, right"),
        ({"caption": "A cat."}, "no column of images was found"),
        ({"image": PNG, "brand": "Acme", "price": 3}, "which column is the answer: brand, price"),
        ({"image": PNG, "messages": CHAT[:1]}, "3 of 3 rows make no record"),
        ({"image": PNG}, "no column holds an answer"),
    ],
)
def test_what_is_unsure_is_said_with_the_choices(row: dict[str, Any], doubt: str) -> None:
    assert any(doubt in each for each in suggest(peek(row)).unsure)


def test_images_that_are_addresses_are_for_a_person_to_allow() -> None:
    found = suggest(peek({"image": "https://a.example/0.png", "text": "A cat."}))

    assert [each for each in found.unsure if "https://a.example/0.png; they are fetched only with" in each]
    assert "fetch_images" not in [key for key, _, _ in found.dataset]
    assert suggest(peek({"image": "a/0.png", "text": "A cat."})).unsure == []


def test_a_rejected_answer_and_a_samples_key_are_in_no_template() -> None:
    row = {"__key__": "0", "image": PNG, "ask": "q", "rejected": "bad", "reply": "good"}

    prompt = prompt_of(row)

    assert prompt == {"user": "{{ row['ask'] }}", "assistant": "{{ row['reply'] }}"}


def test_columns_that_no_preset_fits_become_templates() -> None:
    assert prompt_of({"image": PNG, "the brand": "Acme", "price": "3"}) == {
        "user": "{{ row['the brand'] }}",
        "assistant": "{{ row['price'] }}",
    }
    odd = {"image": PNG, 'it\'s \\ "it"': "a", "zz": "b"}
    assert not [each for each in suggest(peek(odd)).unsure if "make no record" in each]


def test_a_source_that_cannot_be_looked_at_still_gets_a_spec_that_says_so(tmp_path: Path) -> None:
    spec = tmp_path / "run.toml"

    done = CliRunner().invoke(cli, ["init", str(spec), "--source", str(tmp_path / "none")])

    assert done.exit_code == 0
    assert "Unsure: the dataset could not be looked at: File or folder not found" in done.output
    assert tomllib.loads(spec.read_text(encoding="utf-8"))["dataset"]["source"] == str(tmp_path / "none")


@pytest.mark.parametrize("named", [None, "b"])
def test_of_several_configs_the_first_is_taken_and_all_are_listed(named: str | None, tmp_path: Path) -> None:
    """What is looked at is that config; one that is given is not doubted."""
    data, spec = tmp_path / "data", tmp_path / "run.toml"
    card = "---\nconfigs:\n"
    for config, answer in (("a", "caption"), ("b", "text")):
        (data / config).mkdir(parents=True)
        rows = [json.dumps({"image": "0.png", answer: "A cat."})] * 3
        (data / config / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
        card += f"- config_name: {config}\n  data_files: {config}/rows.jsonl\n"
    (data / "README.md").write_text(f"{card}---\n", encoding="utf-8")
    chosen = [] if named is None else ["--config", named]

    done = CliRunner().invoke(cli, ["init", str(spec), "--source", str(data), *chosen])

    assert done.exit_code == 0, done.output
    text = spec.read_text(encoding="utf-8")
    assert tomllib.loads(text)["dataset"]["config"] == (named or "a")
    assert ("# UNSURE: which config: a, b; the first of them is taken." in text) is (named is None)
    assert f"column '{'text' if named else 'caption'}'" in text


def test_a_column_name_cannot_end_its_comment(tmp_path: Path) -> None:
    row = {"image": "a.png", 'x\n[model]\nbase = "evil"': "q", "zz": "a"}
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(row)}\n" * 3, encoding="utf-8")
    spec = tmp_path / "run.toml"

    done = CliRunner().invoke(cli, ["init", str(spec), "--source", str(tmp_path / "train.jsonl")])

    assert done.exit_code == 0, done.output
    assert tomllib.loads(spec.read_text(encoding="utf-8"))["model"]["base"] == "amazon.nova-lite-v1:0:300k"
