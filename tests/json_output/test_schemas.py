"""The published schemas: true to the types, and strict enough to notice."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import click
import pytest

from tests.histories import begun
from vlm_runner.cli import cli
from vlm_runner.core.events import Entry, JobSubmitted
from vlm_runner.json_output import OUTPUTS
from vlm_runner.report.summary import summary

from .fitting import FOLDER, output_of, problems

WRITER = Path(__file__).parents[2] / "scripts" / "write_schemas.py"


def test_docs_have_the_schema_of_every_type() -> None:
    wanted = runpy.run_path(str(WRITER))["contents"]()

    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}

    assert found == wanted, "run: make docs"


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, (*prefix, name))
        elif any("--json" in option.opts for option in command.params):
            found.append((*prefix, name))
    return found


@pytest.mark.parametrize("words", commands(cli), ids=" ".join)
def test_every_command_that_prints_json_has_a_schema(words: tuple[str, ...]) -> None:
    assert output_of([*words, "--json"]) in OUTPUTS


def result(**changes: Any) -> dict[str, Any]:
    return {**summary(begun()), "checkpoint": "here", "error": None, **changes}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"new_key": 1}, "new_key"),
        ({"account": None}, "None is not of type 'string'"),
        ({"outcome": "done"}, "$.outcome"),
        ({"deleted": [1]}, "$.deleted[0]"),
        ({"dataset": {}}, "'fingerprint' is a required property"),
    ],
    ids=str,
)
def test_a_changed_key_is_noticed(changes: dict[str, Any], problem: str | None) -> None:
    found = "; ".join(problems("start", result(**changes)))

    assert (problem in found) if problem else not found


def test_a_line_of_events_is_an_entry() -> None:
    entry = Entry(sequence=2, at="2026-11-26T12:00:00Z", event=JobSubmitted(arn="arn:job"))

    assert problems("events", entry.model_dump(mode="json")) == []
    assert problems("events", {**entry.model_dump(mode="json"), "event": {"kind": "job_forgotten"}})
