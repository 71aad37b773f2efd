"""
Look for inputs that end in a traceback, a crash, or too much time or memory.

    python -m tests.fuzz --minutes 60                  all targets in turn, a minute each, again and again
    python -m tests.fuzz parquet spec --inputs 5000    so many inputs of each
    python -m tests.fuzz spec --replay FILE            one input, with its traceback
    python -m tests.fuzz --distill 2000                into tests/fuzz/corpus what hunts kept, up to so many bytes each

The same seed and number of inputs give the same inputs. What is found lies in .fuzz/TARGET/finding-N, what took new ways
through the product in .fuzz/TARGET/corpus, where the next hunt begins, and the sums of all hunts in .fuzz/ledger.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz import probes

if __name__ == "__main__":
    probes.install()

from tests.fuzz.engine import CORPUS, KEPT, Tally, corpus, hunt
from tests.fuzz.targets import BY_NAME, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.engine import Target


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", choices=[[], *BY_NAME], help="default: all")
    parser.add_argument("--minutes", type=float, help="of all targets together")
    parser.add_argument("--inputs", type=int, help="of each target")
    parser.add_argument("--turn", type=float, default=60, metavar="SECONDS", help="of a target at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=Path(".fuzz"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--distill", type=int, metavar="BYTES")
    given = parser.parse_args()
    targets = [BY_NAME[name] for name in given.target] or list(TARGETS)
    if given.replay is not None:
        for target in targets:
            target.run(given.replay.read_bytes())
        return 0
    _warm()
    if given.distill is not None:
        for target in targets:
            print(
                f"{target.name}: {_distill(target, given.into / target.name, given.distill)} inputs more",
                flush=True,
            )
        return 0
    seconds = None if given.minutes is None else given.minutes * 60 / len(targets)
    inputs = 1000 if given.inputs is None and seconds is None else given.inputs
    found = False
    for turn, share in enumerate(_turns(seconds, given.turn)):
        for target in targets:
            began = time.monotonic()
            tally = hunt(
                target, seed=given.seed + 1_000_000 * turn, inputs=inputs, seconds=share,
                guided=seconds is not None, into=given.into / target.name,
            )  # fmt: skip
            took = time.monotonic() - began
            print(
                f"{target.name}: {tally.inputs} inputs in {took:.0f} s, {tally.lines} statements reached, "
                f"{tally.kept} inputs kept, {len(tally.findings)} findings",
                flush=True,
            )
            for what, path in tally.findings.items():
                print(f"  {what}\n    {path}", flush=True)
            found |= bool(tally.findings)
            _add_to_ledger(given.into / "ledger.json", tally)
    return 1 if found else 0


def _turns(seconds: float | None, turn: float) -> Iterator[float | None]:
    if seconds is None:
        yield None
        return
    while seconds > 0:
        yield min(turn, seconds)
        seconds -= turn


def _add_to_ledger(path: Path, tally: Tally) -> None:
    ledger = json.loads(path.read_text()) if path.exists() else {}
    sums = ledger.setdefault(tally.target, {"cpu_minutes": 0.0, "inputs": 0, "statements": 0, "findings": []})
    sums["cpu_minutes"] = round(sums["cpu_minutes"] + tally.cpu / 60, 2)
    sums["inputs"] += tally.inputs
    sums["statements"] = max(sums["statements"], tally.lines)
    sums["findings"] = sorted({*sums["findings"], *tally.findings})
    path.write_text(json.dumps(ledger, indent=1) + "\n")


def _distill(target: Target, into: Path, most: int) -> int:
    """Copy to the repository each small input of a hunt that reaches what none before it does."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return len(list((CORPUS / target.name).glob("reached-*")))
    for body in corpus(target):
        _reach(target, body)
    for path in sorted((into / KEPT).glob("*"), key=lambda path: (path.stat().st_size, path.name)):
        body, had = path.read_bytes(), probes.count()
        if len(body) <= most:
            _reach(target, body)
            if probes.count() > had:
                (CORPUS / target.name).mkdir(parents=True, exist_ok=True)
                (CORPUS / target.name / f"reached-{path.name[:8]}").write_bytes(body)
    os._exit(0)


def _reach(target: Target, body: bytes) -> None:
    with contextlib.suppress(Exception):
        target.run(body)


def _warm() -> None:
    """Import once what each child needs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets
    import pyarrow.parquet

    import vlm_runner.lint.jsonl
    import vlm_runner.report.render
    import vlm_runner.runner

    assert all((datasets, pyarrow.parquet, vlm_runner.runner))


if __name__ == "__main__":
    sys.exit(main())
