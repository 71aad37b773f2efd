"""
Look for inputs that end in a traceback, a crash, or too much time or memory.

    python -m tests.fuzz --minutes 60                  all targets, one after the other
    python -m tests.fuzz parquet spec --inputs 5000    so many inputs of each
    python -m tests.fuzz spec --replay FILE            one input, with its traceback

The same seed and number of inputs give the same inputs. What is found lies in .fuzz/TARGET/finding-N.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.fuzz.engine import hunt
from tests.fuzz.targets import BY_NAME, TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", choices=[[], *BY_NAME], help="default: all")
    parser.add_argument("--minutes", type=float, help="of all targets together")
    parser.add_argument("--inputs", type=int, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=Path(".fuzz"))
    parser.add_argument("--replay", type=Path)
    given = parser.parse_args()
    targets = [BY_NAME[name] for name in given.target] or list(TARGETS)
    if given.replay is not None:
        for target in targets:
            target.run(given.replay.read_bytes())
        return 0
    _warm()
    seconds = None if given.minutes is None else given.minutes * 60 / len(targets)
    inputs = 1000 if given.inputs is None and seconds is None else given.inputs
    found = 0
    for target in targets:
        began = time.monotonic()
        tally = hunt(
            target, seed=given.seed, inputs=inputs, seconds=seconds, guided=seconds is not None,
            into=given.into / target.name,
        )  # fmt: skip
        took = time.monotonic() - began
        print(
            f"{target.name}: {tally.inputs} inputs in {took:.0f} s, {tally.lines} lines reached, "
            f"{tally.kept} inputs kept, {len(tally.findings)} findings",
            flush=True,
        )
        for what, path in tally.findings.items():
            print(f"  {what}\n    {path}", flush=True)
        found += len(tally.findings)
    return 1 if found else 0


def _warm() -> None:
    """Import once what each child needs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets
    import pyarrow.parquet

    import vlm_runner.lint.jsonl
    import vlm_runner.report.render
    import vlm_runner.runner

    assert all((datasets, pyarrow.parquet, vlm_runner.runner))


if __name__ == "__main__":
    sys.exit(main())
