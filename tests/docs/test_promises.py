"""docs/reliability.md: each promise names its proofs, and each proof its tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES = {int(number) for number in re.findall(r"^(\d)\. \*\*", TEXT, re.MULTILINE)}
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `(tests/\w+)` \|", TEXT, re.MULTILINE)


def test_every_promise_has_a_proof() -> None:
    proved = {int(number) for _, promises, _ in ROWS for number in re.findall(r"\d", promises)}

    assert len(PROMISES) == 8
    assert proved == PROMISES


def test_every_proof_names_tests_that_exist() -> None:
    table = TEXT.partition("| Proof |")[2].partition("\n\n")[0]

    assert len(ROWS) == len(table.splitlines()) - 2
    assert [folder for _, _, folder in ROWS if not list((ROOT / folder).glob("*.py"))] == []
