"""Pages that are made of the code say something about everything."""

from __future__ import annotations

import re

import pytest
from scripts.site_pages import diagram, reference, troubleshooting

from vlm_runner.cli.commands import COMMANDS
from vlm_runner.cli.exit_codes import EXIT_CODES
from vlm_runner.core.phases import TRANSITIONS, Phase


@pytest.mark.parametrize("page", [reference.spec, reference.settings])
def test_every_key_of_spec_and_settings_has_a_meaning(page: object) -> None:
    assert callable(page)
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| (.*) \|$", page(), re.MULTILINE)

    assert len(rows) > 30
    assert [name for name, meaning in rows if not meaning.strip()] == []


def test_every_command_and_exit_code_has_its_place() -> None:
    commands, codes = reference.commands(), reference.exit_codes()

    assert [name for name in COMMANDS if f"### `vlm-runner {name}`" not in commands] == []
    assert [code for code in EXIT_CODES if f"\n| {code} |" not in codes] == []


def test_the_diagram_has_every_phase_and_every_way_between_two() -> None:
    drawn, ways = diagram.svg(), {(start, after) for (start, _), after in TRANSITIONS.items()}
    failures = {(start, after) for (start, event), after in TRANSITIONS.items() if event in diagram.LEFT_OUT}

    assert [phase for phase in Phase if f">{phase}</text>" not in drawn] == []
    assert drawn.count('class="head"') >= len({way for way in ways - failures if way[0] is not way[1]})


def test_messages_are_found_with_their_remedies() -> None:
    """
    One of each way to write a message: plain, with values, of a row, and with a remedy that has a name.
    """
    found = {message.text: message.hint for message in troubleshooting.messages()}

    assert found["No AWS region."] == "Give --region, or set AWS_REGION."
    assert any(text.startswith("{subset} row {row}, field '{field}': ") for text in found)
    assert "What AWS answers" in troubleshooting.page()
    assert len(found) > 200
