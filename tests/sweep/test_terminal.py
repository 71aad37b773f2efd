"""What a person sees while the runs of a sweep are driven."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.cli.terminal import at_terminal

from .test_question import TWO
from .test_sweep import sweep_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop


def test_each_line_says_of_which_run_it_is_and_stands_alone(laptop: Laptop, pages: Path) -> None:
    screen = at_terminal(
        "sweep",
        sweep_file(laptop, pages, grid=TWO),
        answer="y\n",
        columns=100,
        environment=laptop.environment,
    )

    assert screen.code == 0, screen.text
    written = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.text).replace("\r", "\n")
    lines = [line.rstrip() for line in written.splitlines()]
    runs = [run.name for run in (laptop.home / "store" / "runs").iterdir()]
    assert len(runs) == 2
    told = [line for line in lines if re.match(r"\d\d:\d\d:\d\d  ", line)]
    for run in runs:
        assert sum(run in line[:30] for line in told) >= 10
        assert f"Run {run}: succeeded." in lines
    assert [line for line in told if not any(run in line[:30] for run in runs)] == []
    assert not any(line.startswith("{") for line in lines)
