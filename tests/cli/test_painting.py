"""What a terminal shows: lines broken between words, commands in one piece and as they can be typed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.terminal import at_terminal
from vlm_runner import environment
from vlm_runner.cli import console
from vlm_runner.folding import folded, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = "s3://vlm-accessibility-123456789012-us-east-1/runs/first/report.json"


@pytest.fixture
def _fresh_name() -> Iterator[None]:
    environment.own_command.cache_clear()
    yield
    environment.own_command.cache_clear()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("it all fits", "it all fits", id="short"),
        pytest.param(
            "one line that is too long for it", "one line that is too\nlong for it", id="between words"
        ),
        pytest.param(
            "good  C1  one that is too long",
            "good  C1  one that\n          is too\n          long",
            id="column",
        ),
        pytest.param("Why: one that is too long", "Why: one that is too\n     long", id="label"),
        pytest.param("  an indented line is too long", "  an indented line\n    is too long", id="indented"),
    ],
)
def test_what_follows_a_break_stands_in_its_column(line: str, shown: str) -> None:
    assert folded(line, 20) == shown


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"  {LONG}", id="a word"),
        pytest.param("Next:    vlm-runner resume first --store /somewhere/else/entirely", id="a command"),
        pytest.param("Delete it with: vlm-runner delete first --yes --region us-east-1", id="after a colon"),
        pytest.param("  aws bedrock-runtime converse --region us-east-1 --model-id x", id="of AWS"),
    ],
)
def test_what_fits_on_no_line_is_left_to_the_terminal_which_copies_it_whole(line: str) -> None:
    assert line.rsplit(": ", maxsplit=1)[-1].strip() in folded(line, 30).splitlines()[-1]


@given(st.text(alphabet="ab :.s3", max_size=120), st.integers(8, 60))
def test_no_word_is_lost_or_cut_and_only_one_that_is_too_long_crosses_the_edge(line: str, width: int) -> None:
    found = pieces(line, width)
    shown = [line[piece.start : piece.end] for piece in found]
    inside = len(line) - len(line.lstrip()) + 2

    assert " ".join(shown).split() == line.split()
    for piece, part in zip(found, shown, strict=True):
        if piece.indent + len(part) > width and part.strip():
            assert len(part.split()[-1]) > width - inside


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_screen(columns: int) -> None:
    screen = at_terminal("status", "no-such-run-of-mine", columns=columns)

    assert screen.code == 102
    assert max(map(len, screen.text.splitlines())) <= columns


@pytest.mark.usefixtures("_fresh_name")
def test_a_hint_can_be_typed_where_the_name_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    script = tmp_path / "vlm" / "bin" / "vlm-runner"

    screen = at_terminal("list", started_as=str(script), columns=200)

    assert f"Start one with: {script} start run.toml" in screen.text


@pytest.mark.usefixtures("_fresh_name")
@pytest.mark.parametrize(
    ("started_as", "name"),
    [
        pytest.param("/usr/lib/x/vlm_runner/__main__.py", f"{sys.executable} -m vlm_runner", id="python -m"),
        pytest.param("/root/.cache/uv/archive-v0/q1/bin/vlm-runner", "uvx vlm-runner", id="uvx"),
        pytest.param("/root/.local/share/pipx/.cache/q1/bin/vlm-runner", "pipx run vlm-runner", id="pipx"),
        pytest.param("/opt/vlm/bin/vlm-runner", "/opt/vlm/bin/vlm-runner", id="a path"),
        pytest.param("a folder/vlm-runner", "'a folder/vlm-runner'", id="quoted"),
        pytest.param("/usr/bin/pytest", "vlm-runner", id="another program"),
    ],
)
def test_the_own_command_is_told_by_how_it_was_started(
    started_as: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [started_as])

    assert environment.own_command() == name


@pytest.mark.usefixtures("_fresh_name")
def test_on_the_path_it_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "vlm-runner"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script)])

    assert environment.own_command() == "vlm-runner"


def test_without_a_word_the_commands_are_listed_and_nothing_else() -> None:
    screen = at_terminal(columns=100)

    assert "Start here:" in screen.text
    assert "Operate:" in screen.text
    assert "Exit codes" not in screen.text
    assert "Options:" not in screen.text
    assert len(screen.text.splitlines()) < 60


def test_what_is_verbatim_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.verbatim("a row\n  of text")

    assert capsys.readouterr().out == "a row\n  of text\n"
