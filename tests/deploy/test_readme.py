"""deploy/README.md: a stranger types it in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from vlm_runner.cli import cli

DEPLOY = Path(__file__).parents[2] / "deploy"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """What stands in fences that name no other language, with broken lines joined."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text.replace("\\\n", " ") for language, text in fences if not language]


def commands() -> list[str]:
    """Every call of vlm-runner, also where its result is kept; what the shell would fill in is an x."""
    lines = [line for text in blocks() for line in text.splitlines()]
    calls = [re.fullmatch(r"(?:\w+=\$\()?(vlm-runner .+?)\)?", line.strip()) for line in lines]
    return [re.sub(r"\$\(.+?\)|\$\w+", "x", call[1]) for call in calls if call is not None]


def test_there_are_such_commands() -> None:
    """
    The others would hold for an empty page, too.
    """
    verbs = {line.split()[1] for line in commands()}

    assert {"submit", "events", "cancel", "report", "sweep", "sagemaker", "doctor", "init"} <= verbs


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_there_is(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found

    command.make_context("vlm-runner", words, parent=context)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:deploy/|examples/)([\w./-]+\.\w+)", README))))
def test_a_file_that_is_named_is_there(name: str) -> None:
    assert (DEPLOY / name).exists() or (DEPLOY / "examples" / name).exists()


def test_what_is_read_off_the_stack_is_an_output_of_it() -> None:
    template = (DEPLOY / "template.yaml").read_text(encoding="utf-8")
    outputs = set(re.findall(r"^  (\w+): \{Value", template, re.MULTILINE))

    asked = set(re.findall(r"\$\(output (\w+)\)", README))
    assert len(asked) >= 4
    assert asked <= outputs


def test_every_parameter_that_is_given_is_one_of_the_template() -> None:
    template = (DEPLOY / "template.yaml").read_text(encoding="utf-8")
    parameters = template[template.index("Parameters:") : template.index("Conditions:")]

    (deploy,) = [line for text in blocks() for line in text.splitlines() if "--parameter-overrides" in line]
    given = re.findall(r"(\w+)=", deploy.partition("--parameter-overrides")[2])
    assert len(given) >= 3
    assert all(f"  {name}:\n" in parameters for name in given)
