"""
Sample mutants of the code around the protocol, and see which the tests kill.

A mutant is one small edit of the source: a comparison turned or moved by one, `and` for `or`, a condition
negated, a number moved by one, `min` for `max`, an arithmetic operator, a returned value, a statement left
out. `python scripts/mutants.py` draws `--number` of them by `--seed`, in proportion to the lines of each
package, and runs that package's tests (`TESTS`) against each, in a copy of the source. The protocol itself
has its own table of mutants in tests/mutants.

Results are kept in `--out` as JSON lines, and a run that was interrupted goes on. EQUIVALENT names mutants
that change nothing that anybody can see, with the reason; they count as neither killed nor survived.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SRC = Path("src") / "vlm_runner"
TESTS: dict[str, tuple[str, ...]] = {
    "aws/errors.py": ("tests/aws",),
    "lint": ("tests/lint",),
    "plan": ("tests/plan",),
    "doctor": ("tests/doctor",),
    "evaluate": ("tests/evaluate",),
    "report": ("tests/report", "tests/evaluate"),
    "prompts": ("tests/prompts", "tests/lint/test_dataset.py"),
    "dataset": ("tests/dataset", "tests/lint/test_dataset.py"),
    "ingest": ("tests/ingest", "tests/lint/test_one_verdict.py"),
}
"""Where a mutant of a package is looked for; `make test` runs more, so a survivor may die elsewhere."""
SECONDS = 300
"""For the tests of one mutant; one that never ends is killed."""
EQUIVALENT = ROOT / "tests" / "mutants" / "equivalent.json"

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    source: str
    """The line as it is, stripped."""
    edit: str
    text: str
    """The whole file after the edit."""

    @property
    def key(self) -> str:
        return f"{self.file}: {self.source}: {self.edit}"


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a file."""
    text = path.read_text()
    lines = text.splitlines()
    found: dict[tuple[int, str], Mutant] = {}
    for node, new in _edits(ast.parse(text)):
        segment = ast.get_source_segment(text, node)
        if segment is None:
            continue
        start = _offset(lines, node.lineno, node.col_offset)
        mutated = text.encode()[:start] + new.encode() + text.encode()[start + len(segment.encode()) :]
        try:
            ast.parse(mutated)
        except SyntaxError:
            continue
        found[start, new] = Mutant(
            str(path.relative_to(ROOT)),
            node.lineno,
            lines[node.lineno - 1].strip(),
            f"{_short(segment)} -> {_short(new)}",
            mutated.decode(),
        )
    return list(found.values())


def _edits(tree: ast.Module) -> Iterator[tuple[Any, str]]:
    """Nodes, with what replaces their text. Annotations, docstrings and imports are left alone."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in ast.walk(statement):
                    yield from _edits_of(node)


def _edits_of(node: ast.AST) -> Iterator[tuple[Any, str]]:  # noqa: C901 - one line a kind
    match node:
        case ast.Compare(ops=[op], left=left, comparators=[right]):
            for kind in COMPARISONS.get(type(op), ()):
                yield node, ast.unparse(ast.Compare(left, [kind()], [right]))
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, values))})"
        case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC and not _is_text(left, right):
            yield node, f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(op)](), right))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(value=bool() as value):
            yield node, str(not value)
        case ast.Constant(value=int() as value):
            yield node, str(value + 1)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLS:
            yield node, ast.unparse(ast.Call(ast.Name(CALLS[name]), args, keywords))
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield test, f"(not ({ast.unparse(test)}))"
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield node, "pass"
        case _:
            pass


def _is_text(*nodes: ast.expr) -> bool:
    return any(
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for node in nodes
    )


def _unchanged(package: str) -> Mutant:
    path = ROOT / SRC / package
    file = path if path.is_file() else next(path.rglob("*.py"))
    return Mutant(str(file.relative_to(ROOT)), 1, "", "", file.read_text())


def _offset(lines: list[str], line: int, column: int) -> int:
    return sum(len(each.encode()) + 1 for each in lines[: line - 1]) + column


def _short(text: str) -> str:
    return " ".join(text.split())[:80]


def sample(number: int, seed: int, only: str | None) -> list[tuple[str, Mutant]]:
    """So many mutants, in proportion to what each package has, each with its package."""
    every: dict[str, list[Mutant]] = {}
    for package in TESTS:
        path = ROOT / SRC / package
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        every[package] = [mutant for file in files for mutant in mutants_of(file)]
    total = sum(map(len, every.values()))
    chance = random.Random(seed)
    found: list[tuple[str, Mutant]] = []
    for package, mutants in every.items():
        share = max(10, round(number * len(mutants) / total))
        found += [(package, mutant) for mutant in chance.sample(mutants, min(share, len(mutants)))]
    return [(package, mutant) for package, mutant in found if only in {None, package}]


def judge(package: str, mutant: Mutant, copies: list[Path]) -> dict[str, Any]:
    """Run the package's tests against the mutant in a copy of the source that no one else uses."""
    copy = copies.pop()
    target = copy / mutant.file
    whole = target.read_text()
    target.write_text(mutant.text)
    began = time.monotonic()
    tests = [test for test in TESTS[package] if (ROOT / test).exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy / "src"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / "h"),
    }
    try:
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
            )
            try:
                code: int | str = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = "time"
            out.seek(0)
            said = out.read().decode(errors="replace")
    finally:
        target.write_text(whole)
        copies.append(copy)
    killer = next(
        (line.split(" - ")[0] for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))), ""
    )
    return {
        **{name: value for name, value in asdict(mutant).items() if name != "text"},
        "package": package,
        "killed": code != 0,
        "by": killer or str(code),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", help="one package")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--out", type=Path, default=ROOT / ".mutants.jsonl")
    asked = parser.parse_args()
    known = _read(asked.out)
    if asked.again:
        known = {key: one for key, one in known.items() if one["killed"]}
    todo = [
        (package, mutant)
        for package, mutant in sample(asked.number, asked.seed, asked.only)
        if mutant.key not in known
    ]
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / str(number) for number in range(asked.jobs)]
        for copy in copies:
            shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        with ThreadPoolExecutor(asked.jobs) as pool:
            for package in dict.fromkeys(package for package, _ in todo):
                check = judge(package, _unchanged(package), copies)
                if check["killed"]:
                    sys.exit(f"The tests of {package} fail without any mutant: {check['by']}")
            for result in pool.map(lambda each: judge(*each, copies), todo):
                with asked.out.open("a") as out:
                    out.write(json.dumps(result) + "\n")
                fate = "killed  " if result["killed"] else "SURVIVED"
                place = f"{result['file']}:{result['line']}"
                sys.stderr.write(f"{fate} {place} {result['edit']} ({result['seconds']} s)\n")
    report(asked.number, asked.seed, asked.out)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {f"{one['file']}: {one['source']}: {one['edit']}": one for one in lines}


def report(number: int, seed: int, path: Path) -> None:
    """A table of packages, and the survivors that no reason excuses."""
    results = _read(path)
    excused = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    drawn = [(package, mutant.key) for package, mutant in sample(number, seed, None) if mutant.key in results]
    print("| package | mutants | killed | equivalent | survived |\n|---|---|---|---|---|")
    survivors: list[str] = []
    counts = [0, 0, 0]
    for package in TESTS:
        keys = [key for of, key in drawn if of == package]
        killed = [key for key in keys if results[key]["killed"]]
        alive = [key for key in keys if not results[key]["killed"]]
        named = [key for key in alive if key in excused]
        survivors += [key for key in alive if key not in excused]
        print(f"| {package} | {len(keys)} | {len(killed)} | {len(named)} | {len(alive) - len(named)} |")
        counts = [total + more for total, more in zip(counts, map(len, (keys, killed, named)), strict=True)]
    total, killed_count, named_count = counts
    share = killed_count / max(1, total - named_count)
    print(f"| all | {total} | {killed_count} | {named_count} | {total - killed_count - named_count} |")
    print(f"\n{share:.0%} killed of those that are not equivalent.")
    for key in survivors:
        print(f"survived: {key}")


if __name__ == "__main__":
    main()
