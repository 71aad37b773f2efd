"""`--json` of real commands; `Laptop` compares each document with its schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import NOVA, Laptop
else:
    from .laptop import NOVA

PRICES = f'[models."{NOVA}".prices]\ntraining_per_million_tokens = "1"\nthroughput_per_unit_hour = "10"\n'


def test_every_document_about_a_run_fits_its_schema(laptop: Laptop, pages: Path) -> None:
    """
    From lint to report, with a run that succeeds, one that is cancelled and one that cannot be read.
    """
    spec = str(laptop.spec(pages, budget="max_cost = 500"))
    laptop.home.joinpath("prices.toml").write_text(PRICES)
    priced = {"VLM_RUNNER_CATALOGUE": str(laptop.home / "prices.toml")}
    before = [
        laptop.here(*words, "--json", **priced)
        for words in (("lint", spec), ("preview", spec), ("plan", spec), ("doctor", spec), ("iam", spec))
    ]

    started = laptop.here("start", spec, "--yes", "--run-id", "cats", "--json", **priced)
    laptop.here("start", spec, "--yes", "--run-id", "dogs", "--timeout", "0s", "--json", **priced)
    half = laptop.here("status", "dogs", "--json")
    cancelled = laptop.here("cancel", "dogs", "--json")
    broken = laptop.home / "store" / "runs" / "newer" / "state.json"
    broken.parent.mkdir()
    broken.write_text("{}")
    after = [
        laptop.here(*words, "--json", **priced)
        for words in (
            ("status", "cats"),
            ("resume", "cats"),
            ("report", "cats"),
            ("report", "cats", "dogs"),
            ("list",),
        )
    ]
    events = laptop.here("events", "cats")

    assert [done.returncode for done in [started, half, cancelled]] == [0, 101, 103], started.stderr
    assert all(done.stdout for done in [*before, *after])
    assert len(json.loads(after[3].stdout)) == 2
    assert {row["state"] for row in json.loads(after[4].stdout)} == {"SUCCEEDED", "CANCELLED", "UNREADABLE"}
    assert len(events.stdout.splitlines()) > 10


def test_an_endpoint_without_its_run_fits_the_schema(laptop: Laptop, pages: Path) -> None:
    spec = str(laptop.spec(pages))
    laptop.here("start", spec, "--yes", "--run-id", "cats", "--timeout", "0s")
    laptop.here("resume", "cats", "--until", "requesting", "--json")

    found = json.loads(laptop.here("reap", "--region", "us-east-1", "--json").stdout)

    assert [one["run_id"] for one in found] == ["cats"]


def test_a_detached_start_fits_its_schema(laptop: Laptop, pages: Path) -> None:
    done = laptop.cli("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", "--detach", "--json")

    assert json.loads(done.stdout)["run_id"] == "cats"
    # Its process shares the sandbox with the tests that follow.
    until(lambda: laptop.phase("cats") == "done", "the detached run to end")
