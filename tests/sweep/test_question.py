"""A sweep shows what all of its runs cost, and asks once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.terminal import at_terminal
from tests.sweep.test_sweep import sweep_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

TWO = '"training.hyperparameters.epochCount" = [1, 2]'


def test_a_sweep_is_asked_about_once_with_its_total(laptop: Laptop, pages: Path) -> None:
    prices = laptop.home / "prices.toml"
    prices.write_text(
        '[models."amazon.nova-lite-v1:0:300k".prices]\n'
        "training_per_million_tokens = 1000.0\nthroughput_per_unit_hour = 100.0\n"
    )
    environment = laptop.environment | {"VLM_RUNNER_CATALOGUE": str(prices)}

    screen = at_terminal(
        "sweep", sweep_file(laptop, pages, grid=TWO), answer="n\n", columns=100, environment=environment
    )

    assert screen.text.count("[y/N]") == 1
    asked = " ".join(screen.text.split())
    assert re.search(
        r"Expected about \$[\d.,]+ in all, worst case \$[\d.,]+\. Start these 2 runs\? \[y/N\]", asked
    )
    assert screen.text.count("Data: ") == 1
    first, second, total = map(
        float, re.findall(r"^  (?:six-\w+|total) .*?\$([\d.]+) ", screen.text, re.MULTILINE)
    )
    assert total == pytest.approx(first + second, abs=0.02)
    assert screen.code == 2
    assert laptop.ask("ledger")["entries"] == []


def test_a_dry_run_as_json_lists_what_each_run_differs_in(laptop: Laptop, pages: Path) -> None:
    file = sweep_file(laptop, pages, grid=TWO)

    table = json.loads(laptop.here("sweep", file, "--dry-run", "--json").stdout)
    text = laptop.here("sweep", file, "--dry-run").stdout.splitlines()

    assert [row["values"] for row in table] == [
        {"training.hyperparameters.epochCount": 1},
        {"training.hyperparameters.epochCount": 2},
    ]
    assert text[1] == f"{table[1]['run_id']}  training.hyperparameters.epochCount = 2"
