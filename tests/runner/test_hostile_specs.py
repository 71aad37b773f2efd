"""What a user's file holds is refused in a sentence, whatever it is: no traceback, and no flood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlm_runner.column_path import parse
from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.models import load_catalogue
from vlm_runner.spec import RunSpec, seconds_of
from vlm_runner.split_expression import parse_split
from vlm_runner.sweep.plan import read_sweep
from vlm_runner.verify.recording import FORMAT, KIND, read

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: dict[str, Callable[[Path], object]] = {
    "spec": RunSpec.from_toml,
    "sweep": read_sweep,
    "catalogue": load_catalogue,
}
TEXTS = {
    "nested": ("a = " + "[" * 3000, "nested too deeply"),
    "nested by dots": (".".join("a" * 3000) + " = 1", "nested too deeply"),
    "a long number": ("a = " + "9" * 5000, "4300 digits"),
    "wrong in many places": ("\n".join(f"a{number} = 1" for number in range(5000)), "does not fit"),
    "a long key": (f'"{"k" * 50_000}" = 1', "does not fit"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_a_file_of_toml_is_refused_in_a_sentence(
    text: str, said: str, reader: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=said) as refused:
        reader(path)

    assert str(path) in refused.value.message
    assert len(refused.value.message) < 8000


@pytest.mark.parametrize(
    "text",
    [f'spec = "{"x" * 30_000}"', f'[grid]\n"prompt.system" = [{{ file = "{"x" * 30_000}" }}]'],
    ids=["spec", "template"],
)
def test_a_sweep_that_names_a_file_at_length_is_not_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[dataset]\nsource = "x"\n')
    path = tmp_path / "sweep.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        read_sweep(path)

    assert len(refused.value.message) < 1000


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_file_without_an_end_is_not_read_for_ever(reader: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigurationError, match="/dev/zero has more than 16,777,216 characters"):
        reader(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["9" * 400 + "s", "36501d", "9" * 5000 + "d"])
def test_no_duration_reaches_beyond_the_calendar(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a hundred years"):
        seconds_of(text)


def test_numbers_in_expressions_have_a_length() -> None:
    assert parse(f"pages[{'9' * 5000}]", ["pages"]) is None
    with pytest.raises(ValueError, match="is not a split"):
        parse_split(f"train[:{'9' * 5000}]")


@pytest.mark.parametrize("line", ["[" * 3000, '{"probe": "p", "level": Infinity, "seconds": 0}'])
def test_a_recording_with_a_line_of_anything_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    head = {"kind": KIND, "format": FORMAT, "date": "2026-11-27", "region": "us-east-1", "versions": {}}
    path.write_text(f"{json.dumps(head)}\n{line}\n")

    with pytest.raises(DataError, match="has a line that is"):
        read(path)
