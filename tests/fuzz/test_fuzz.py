"""
The fuzzers, for a moment: what once was found stays mended, and a fuzzer that finds nothing can find.

`make fuzz MINUTES=60` goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.engine import Target, hunt

ROOT = Path(__file__).parents[2]
INPUTS = 8
"""Made of each target's seeds, on every change; an hour by hand makes a hundred thousand."""


def misbehave(body: bytes) -> None:
    """What a fault may look like."""
    match body:
        case b"raise":
            raise KeyError(body)
        case b"die":
            os.abort()
        case b"swell":
            assert len(b"x" * 100 * 1024 * 1024) > 1
        case b"hang":
            while True:
                pass
        case _:
            return


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"raise", "toy: KeyError"),
        (b"die", "toy: the process dies of signal 6"),
        (b"swell", "toy: takes more than 50 MiB"),
        (b"hang", "toy: takes longer than 0 s"),
        (b"fine", None),
    ],
)
def test_a_fuzzer_finds_each_kind_of_fault(body: bytes, found: str | None, tmp_path: Path) -> None:
    seconds = 0.2 if body == b"hang" else 20.0
    toy = Target("toy", misbehave, lambda: [b"fine", body], lambda old, _: old, seconds=seconds, memory=50)

    tally = hunt(toy, seed=1, inputs=0, seconds=None, guided=False, into=tmp_path)

    assert [what.startswith(found) for what in tally.findings] == [True] if found else tally.findings == {}


def test_a_fuzzer_goes_on_after_a_death_and_makes_more_of_what_is_new(tmp_path: Path) -> None:
    from vlm_runner.column_path import parse

    def read(body: bytes) -> None:
        misbehave(body)
        parse(body.decode(errors="replace"), ["a"])

    toy = Target("toy", read, lambda: [b"die", b"a"], lambda old, chance: old + chance.choice([b"[0]", b"x"]))
    tally = hunt(toy, seed=1, inputs=40, seconds=None, guided=True, into=tmp_path)

    assert list(tally.findings) == ["toy: the process dies of signal 6"]
    assert tally.inputs >= 40
    assert tally.kept >= 1


@pytest.mark.timeout(600)
def test_nothing_that_reads_from_outside_is_broken_by_a_few_inputs(tmp_path: Path) -> None:
    """All targets on their seeds, on what once was found, and on a few new inputs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--into", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
