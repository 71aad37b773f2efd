"""
The fuzzers, for a moment: what once was found stays mended, and a fuzzer that finds nothing can find.

`make fuzz MINUTES=60` goes on.
"""

from __future__ import annotations

import copy
import faulthandler
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz import probes
from tests.fuzz.engine import ODD_VALUES, Target, hunt, mutated_json

ROOT = Path(__file__).parents[2]
INPUTS = 8
"""Made of each target's seeds, on every change; an hour by hand makes a hundred thousand."""


def misbehave(body: bytes) -> None:
    """What a fault may look like."""
    match body:
        case b"raise":
            raise KeyError(body)
        case b"die":
            faulthandler.disable()  # its report would look like a failure of this test
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
    parse = probes.load(ROOT / "src/vlm_runner/column_path.py").parse

    def read(body: bytes) -> None:
        misbehave(body)
        parse(body.decode(errors="replace"), ["a"])

    toy = Target("toy", read, lambda: [b"die", b"a"], lambda old, chance: old + chance.choice([b"[0]", b"x"]))
    tally = hunt(toy, seed=1, inputs=40, seconds=None, guided=True, into=tmp_path)

    assert list(tally.findings) == ["toy: the process dies of signal 6"]
    assert tally.inputs >= 40
    assert tally.kept >= 1
    kept = list((tmp_path / "corpus").iterdir())
    assert kept

    same = replace(toy, mutate=lambda _old, _chance: b"")
    again = hunt(same, seed=2, inputs=2, seconds=None, guided=True, into=tmp_path)

    assert again.lines >= tally.lines, "the next hunt begins where this one ended"


def test_each_statement_of_a_function_is_probed_and_means_what_it_meant(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        """from __future__ import annotations
class Counter:
    def __count(self, to):
        "What it counts."
        total = 0
        for each in range(to):
            if each == 2:
                continue
            else:
                total += each
        try:
            return total
        finally:
            match to:
                case 9:
                    total = None
    def count(self, to):
        def inner():
            nonlocal to
            to += 1
            return self.__count(to)
        return inner()
    def line(self):
        raise KeyError
"""
    )
    module = probes.load(source)
    before = probes.count()

    assert module.Counter().count(1) == 1
    short = probes.count() - before
    assert module.Counter().count(4) == 0 + 1 + 3 + 4
    long = probes.count() - before
    assert module.Counter().count(4) == 8
    assert probes.count() - before == long

    # def, return; nonlocal, +=, return; =, for, if, +=, try, return, match
    assert (short, long) == (12, 13), "only `continue` is new in the longer one"
    assert module.Counter._Counter__count.__doc__ == "What it counts."
    with pytest.raises(KeyError) as found:
        module.Counter().line()
    assert found.traceback[-1].lineno == 23
    assert not list(tmp_path.glob("__pycache__"))


def test_what_an_input_takes_of_the_odd_values_is_a_copy() -> None:
    """Else they come to hold each other, and the fuzzer walks in a circle: it once lost most of its time so."""
    mutate, before = mutated_json(), copy.deepcopy(ODD_VALUES)
    body, chance = b'{"a": [1, {"b": "c"}]}', random.Random(5)

    for _ in range(2000):
        made = mutate(body, chance)
        body = made if len(made) < 500 else b'{"a": [1, {"b": "c"}]}'

    assert repr(before) == repr(ODD_VALUES)


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


def test_a_way_through_a_function_is_new_once_though_all_its_statements_were_reached(tmp_path: Path) -> None:
    source = tmp_path / "ways.py"
    source.write_text(
        """def both(first, second):
    made = 0
    if first:
        made += 1
    if second:
        made += 2
    return made
"""
    )
    both = probes.load(source).both
    coverage = probes.Coverage()

    def new(first: bool, second: bool) -> bool:
        both(first, second)
        return coverage.add()

    assert [new(True, False), new(False, True)] == [True, True]
    assert coverage.statements == 6
    assert [new(True, True), new(False, False), new(True, True)] == [True, True, False]
    assert coverage.statements == 6
    assert not coverage.add(), "nothing was reached since"
