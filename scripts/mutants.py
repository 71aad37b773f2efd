"""
Sample mutants of the code around the protocol, and see which the tests kill.

A mutant is one small edit of the source: a comparison turned or moved by one, `and` for `or`, a condition
negated, a number moved by one, `min` for `max`, an arithmetic operator, a returned value, a statement or a
row of a table left out. `python scripts/mutants.py` draws `--number` of them, in proportion to what each
package has. A mutant's place in the draw is a hash of `--seed` and of itself, so a change elsewhere moves
nothing. The protocol itself has its own table of mutants in tests/mutants.

**Which tests run.** The NEAR tests run once without a mutant, and again those of a file that has changed; of
each test, its time and the functions that it calls are kept in .mutants. A mutant meets the tests that call
its function, the cheapest file first, until one fails. With `--wider`, a survivor meets the WIDER tests.

**What counts.** A mutant is killed if pytest ends with exit code 1, if its module or a conftest cannot be
imported, or if the tests do not end in time (which the table shows apart). Any other exit code is an error of
this tool.

**What is kept.** Verdicts are saved one by one, so an interrupted run goes on where it was. A kill holds as
long as src, the file of the test that killed and what test files share stay as they are; a survivor is judged
again after any change of src or tests. What killed a mutant before is tried first.

**Speed.** A parent that has imported everything but vlm_runner and its tests forks a child for each mutant,
with a copy of the source.

EQUIVALENT names the mutants that change nothing that anybody can see, each with the reason. They count
neither as killed nor as survived.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import compileall
import contextlib
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import py_compile
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

ROOT = Path(__file__).parents[1]
SRC = Path("src") / "vlm_runner"
PACKAGES: Final = (
    "aws/errors.py", "lint", "plan", "doctor", "evaluate", "report", "prompts", "dataset", "ingest",
)  # fmt: skip
NEAR: Final = (
    "tests/aws/test_errors.py", "tests/prompts", "tests/preflight", "tests/json_output",
    "tests/report/test_facts.py", "tests/report/test_gather.py", "tests/report/test_page.py",
    "tests/report/test_charts.py", "tests/report/test_numbers.py",
    "tests/evaluate", "tests/dataset", "tests/doctor", "tests/plan", "tests/lint", "tests/ingest",
)  # fmt: skip
"""Tests that call the packages in their own process."""
WIDER: Final = (
    "tests/aws/test_answers.py", "tests/runner", "tests/retry", "tests/e2e/test_bad_input.py",
    "tests/e2e/test_main_job.py", "tests/e2e/test_several_images.py", "tests/report/test_demo.py",
)  # fmt: skip
"""Only what survives the tests of NEAR meets these: they take minutes."""
FIRST_SECONDS: Final = 20.0
"""Of CPU, for the tests that a mutant meets first; with `--wider`, a survivor meets the rest of NEAR too."""
SECONDS: Final = 600
"""For all tests of one mutant on a busy machine."""
ONE_TEST_SECONDS: Final = 90
"""For one test, whose longest takes 10: a mutant that waits or counts for ever is noticed here."""
EQUIVALENT = ROOT / "tests" / "mutants" / "equivalent.json"
KEPT = ROOT / ".mutants"
CALLED: Final = "called_by_this_test"
CONFTEST_FAILED: Final = re.compile("while loading conftest '(.+)'")
"""What pytest says before it ends as if it had been called wrongly."""
FORK = multiprocessing.get_context("fork")

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

# --- mutants ---


@dataclass(frozen=True)
class Mutant:
    package: str
    file: str
    line: int
    function: str
    """The outermost function around it; empty for what runs when the module is imported."""
    key: str
    """File, line of source and edit: the same as long as that line reads so, wherever it moves."""
    span: tuple[int, int]
    """Bytes of the file that `new` replaces."""
    new: str

    def apply(self, file: Path) -> None:
        whole, (start, end) = file.read_bytes(), self.span
        file.write_bytes(whole[:start] + self.new.encode() + whole[end:])


def mutants_of(package: str, path: Path) -> list[Mutant]:
    """All mutants of a file."""
    text = path.read_text()
    lines = text.split("\n")
    file = str(path.relative_to(ROOT))
    starts = [0, *itertools.accumulate(len(line.encode()) + 1 for line in lines)]
    found: dict[tuple[int, str], Mutant] = {}
    times: dict[str, int] = {}
    for function, edit in sorted(_walk(ast.parse(text)), key=lambda each: each[1].position):
        node = edit.node
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        old = text.encode()[start:end].decode(errors="replace")
        if (start, edit.new) in found or not _reads_as(old, node):
            continue
        said = edit.said or f"{_short(old)} -> {_short(edit.new)}"
        key = f"{file}: {lines[node.lineno - 1].strip()}: {said}"
        times[key] = times.get(key, 0) + 1
        if times[key] > 1:
            key += f" (occurrence {times[key]})"
        found[start, edit.new] = Mutant(package, file, node.lineno, function, key, (start, end), edit.new)
    return list(found.values())


@dataclass(frozen=True)
class _Edit:
    node: Any
    new: str
    """What replaces the node's text."""
    said: str = ""
    """In place of old and new text."""

    @property
    def position(self) -> tuple[int, int]:
        return self.node.lineno, self.node.col_offset


def _walk(node: ast.AST, classes: tuple[str, ...] = (), function: str = "") -> Iterator[tuple[str, _Edit]]:
    """All edits below a node, each with its function. Annotations, decorators and imports are left alone."""
    match node:
        case ast.If(test=ast.Name("TYPE_CHECKING")) | ast.Assign(targets=[ast.Name("__all__")]):
            return
        case _:
            pass
    yield from ((function, edit) for edit in _edits_of(node))
    if not function and isinstance(node, ast.Assign | ast.AnnAssign):
        yield from ((function, edit) for edit in _shorter(node.value))
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from _walk(default, classes, function)
            for statement in node.body:
                yield from _walk(statement, classes, function or ".".join((*classes, node.name)))
        case ast.ClassDef():
            for statement in node.body:
                yield from _walk(statement, (*classes, node.name), function)
        case _:
            for child in ast.iter_child_nodes(node):
                if child is not getattr(node, "annotation", None):
                    yield from _walk(child, classes, function)


def _edits_of(node: ast.AST) -> Iterator[_Edit]:  # noqa: C901 - one line a kind
    match node:
        case ast.Compare(ops=[op], left=left, comparators=[right]):
            for kind in COMPARISONS.get(type(op), ()):
                yield _Edit(node, ast.unparse(ast.Compare(left, [kind()], [right])))
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield _Edit(node, f"({ast.unparse(ast.BoolOp(other, values))})")
        case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC and not _is_text(left, right):
            yield _Edit(node, f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(op)](), right))})")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _Edit(node, f"({ast.unparse(operand)})")
        case ast.Constant(value=bool() as value):
            yield _Edit(node, str(not value))
        case ast.Constant(value=int() | float() as value):
            yield _Edit(node, str(value + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLS:
            yield _Edit(node, ast.unparse(ast.Call(ast.Name(CALLS[name]), args, keywords)))
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield _Edit(test, f"(not ({ast.unparse(test)}))")
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield _Edit(node, "return None")
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield _Edit(node, "pass")
        case _:
            pass


def _shorter(table: ast.expr | None) -> Iterator[_Edit]:
    """A table of the module without one of its rows."""
    match table:
        case ast.Set(elts=rows) | ast.List(elts=rows) | ast.Tuple(elts=rows) if len(rows) > 1:
            for index, row in enumerate(rows):
                rest = type(table)([*rows[:index], *rows[index + 1 :]])
                yield _Edit(table, ast.unparse(rest), f"without {_short(ast.unparse(row))}")
        case ast.Dict(keys=keys, values=values) if len(keys) > 1:
            for index, key in enumerate(keys):
                others = ast.Dict(
                    [*keys[:index], *keys[index + 1 :]], [*values[:index], *values[index + 1 :]]
                )
                yield _Edit(
                    table, ast.unparse(others), f"without {_short(ast.unparse(key)) if key else '**'}"
                )
                yield from _shorter(values[index])
        case ast.Call(args=[argument]):
            yield from _shorter(argument)
        case _:
            pass


def _reads_as(text: str, node: ast.AST) -> bool:
    """Whether this is the node's text: positions within f-strings are wrong before Python 3.12."""
    statement = isinstance(node, ast.stmt)
    try:
        # `return` and `await` are valid only in a function.
        body = ast.parse(f"async def _():\n  {text}" if statement else f"async def _():\n  ({text})").body[0]
    except SyntaxError:
        return False
    assert isinstance(body, ast.AsyncFunctionDef)
    first = body.body[0]
    return ast.dump(first if statement else first.value) == ast.dump(node)  # type: ignore[attr-defined]


def _is_text(*nodes: ast.expr) -> bool:
    return any(
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for node in nodes
    )


def _short(text: str) -> str:
    return " ".join(text.split())[:80]


def sample(number: int, seed: int, only: str | None = None) -> list[Mutant]:
    """So many mutants, in proportion to what each package has, but ten of each at least."""
    every: dict[str, list[Mutant]] = {}
    for package in PACKAGES:
        every[package] = [mutant for file in _files_of(ROOT, package) for mutant in mutants_of(package, file)]
    total = sum(map(len, every.values()))
    found: list[Mutant] = []
    for mutants in every.values():
        share = max(10, round(number * len(mutants) / total))
        found += sorted(mutants, key=lambda mutant: _digest(f"{seed} {mutant.key}"))[:share]
    return [mutant for mutant in found if only in {None, mutant.package}]


def _files_of(root: Path, package: str) -> list[Path]:
    path = root / SRC / package
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _digest(*texts: str | bytes) -> str:
    return hashlib.sha256(b"".join(t.encode() if isinstance(t, str) else t for t in texts)).hexdigest()


# --- tests ---


class _Chosen:
    """A plugin of pytest: only these tests, in this order; and which failed."""

    def __init__(self, tests: Sequence[str] | None) -> None:
        self._order = None if tests is None else {test: place for place, test in enumerate(tests)}
        self.failed = ""
        self.why = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._order is not None:
            order = self._order
            kept = [each for each in items if each.nodeid in order or each.nodeid.startswith(WIDER)]
            items[:] = sorted(kept, key=lambda each: order.get(each.nodeid, len(order)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.failed = self.failed or report.nodeid
        self.why = self.why or report.longreprtext


class _Called:
    """A plugin of pytest: for each test its seconds of CPU, and the functions of PACKAGES that it calls."""

    def __init__(self) -> None:
        self._tests: dict[str, tuple[float, set[str]]] = {}
        self._shared: dict[str, set[str]] = {}

    def tests(self) -> dict[str, dict[str, Any]]:
        return {
            test: {
                "seconds": round(seconds, 2),
                "calls": sorted(calls | self._shared.get(_file(test), set())),
            }
            for test, (seconds, calls) in self._tests.items()
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        began = sum(os.times()[:4])
        with _noted() as called:
            found = yield
        self._tests[item.nodeid] = sum(os.times()[:4]) - began, called
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, object, object]:
        """What a fixture of a whole file calls, it calls for each test of the file."""
        with _noted() as called:
            found = yield
        if fixturedef.scope != "function":
            file = _file(request._pyfuncitem.nodeid)  # noqa: SLF001 - its own node may be the session
            self._shared.setdefault(file, set()).update(called)
        return found


@contextlib.contextmanager
def _noted() -> Iterator[set[str]]:
    """The functions that are called inside."""
    outside, called = getattr(builtins, CALLED, set[str]()), set[str]()
    setattr(builtins, CALLED, called)
    try:
        yield called
    finally:
        outside |= called
        setattr(builtins, CALLED, outside)


class _Noting(ast.NodeTransformer):
    """Each outermost function notes that it is called; `sys.settrace` would take three times as long."""

    def __init__(self, file: str) -> None:
        self._file, self._place = file, tuple[str, ...]()

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        outside, self._place = self._place, (*self._place, node.name)
        self.generic_visit(node)
        self._place = outside
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        place = f"{self._file}:{'.'.join((*self._place, node.name))}"
        # Another process has nobody to tell.
        note = ast.parse(f"getattr(__import__('builtins'), {CALLED!r}, set()).add({place!r})")
        node.body[:] = (
            [*node.body[:1], *note.body, *node.body[1:]]
            if ast.get_docstring(node)
            else [*note.body, *node.body]
        )
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815


def _pytest(paths: Iterable[str], folder: Path, *plugins: object) -> int:
    """Run tests in this process against the copy of the source that `folder` has."""
    sys.path.insert(0, str(folder / "src"))
    os.environ |= {
        "PYTHONPATH": str(folder / "src"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
    }
    return int(
        pytest.main(
            [
                "-x", "-q", "--no-header", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}",
                "--tb=native",  # others look for the source of each frame in every module
                # What is imported before pytest starts is not rewritten; none of it holds our asserts.
                "-W", "ignore::pytest.PytestAssertRewriteWarning",
                "--hypothesis-seed=0", f"--timeout={ONE_TEST_SECONDS}", *paths,
            ],
            plugins=list(plugins),
        )
    )  # fmt: skip


def _traced(folder: Path, _part: str, files: Sequence[str]) -> dict[str, Any]:
    """Run these tests of a part without a mutant: those that fail here would kill everything."""
    for file in (file for package in PACKAGES for file in _files_of(folder, package)):
        tree = _Noting(str(file.relative_to(folder))).visit(ast.parse(file.read_text()))
        file.write_text(ast.unparse(tree))
    called, chosen = _Called(), _Chosen(None)
    code = _pytest(files, folder, called, chosen)
    ours = (str(folder), str(ROOT / "tests"))
    imports = [
        name
        for name, module in list(sys.modules.items())
        if (origin := getattr(module, "__file__", None)) and not origin.startswith(ours)
    ]
    why = "" if code == pytest.ExitCode.OK else chosen.why or _last_words(folder)
    return {"why": why, "files": files, "tests": called.tests(), "imports": imports}


def _output(folder: Path) -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    return (folder / "output").read_text(errors="replace")


def _last_words(folder: Path) -> str:
    return _output(folder)[-500:]


def _judged(folder: Path, mutant: Mutant, paths: Sequence[str], tests: Sequence[str]) -> dict[str, Any]:
    """Run these tests, and all of WIDER if it is among the paths, against the mutant."""
    mutant.apply(folder / mutant.file)
    sys.path.insert(0, str(folder / "src"))
    try:
        importlib.import_module(".".join(Path(mutant.file).with_suffix("").parts[1:]))
    except Exception as error:  # noqa: BLE001 - whatever the mutant does
        return {"fate": "killed", "by": f"import: {type(error).__name__}: {error}"}
    chosen = _Chosen(tests)
    code = _pytest(paths, folder, chosen)
    if code == pytest.ExitCode.OK:
        return {"fate": "survived", "by": ""}
    if code == pytest.ExitCode.USAGE_ERROR and (broken := CONFTEST_FAILED.search(_output(folder))):
        return {"fate": "killed", "by": f"import: {broken[1].removeprefix(f'{ROOT}/')}"}
    if code != pytest.ExitCode.TESTS_FAILED:
        return {"fate": "error", "by": f"pytest ended with {code}: {_last_words(folder)}"}
    late = f"Timeout (>{ONE_TEST_SECONDS}" in chosen.why
    return {"fate": "timeout" if late else "killed", "by": chosen.failed}


# --- children ---


class _Child:
    """A forked process with a copy of the source to itself."""

    def __init__(self, folder: Path, work: Callable[..., dict[str, Any]], task: Sequence[Any]) -> None:
        self.folder, self.named, self._began = folder, task[0], time.monotonic()
        self._answer, self._output = folder / "answer.json", folder / "output"
        self._answer.unlink(missing_ok=True)
        self._process = FORK.Process(target=self._run, args=(work, *task))
        self._process.start()
        self.done = self._process.sentinel

    def _run(self, work: Callable[..., dict[str, Any]], *task: Any) -> None:
        os.setsid()  # so that what a test leaves behind ends with this process
        output = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        self._answer.write_text(json.dumps(work(self.folder, *task)))

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self._began > SECONDS

    def result(self) -> dict[str, Any]:
        """What it answered; kills whatever of it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        seconds = round(time.monotonic() - self._began, 1)
        if self._answer.exists():
            return {**json.loads(self._answer.read_text()), "seconds": seconds}
        if self.is_late:
            return {"fate": "timeout", "by": f"no end after {SECONDS} s", "seconds": seconds}
        why = f"exit code {self._process.exitcode}: {_last_words(self.folder)}"
        return {"fate": "error", "by": why, "seconds": seconds}


def _in_children(
    work: Callable[..., dict[str, Any]], tasks: Iterable[Sequence[Any]], copies: Copies, until: float
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """
    The first element of each task and what `work` answers to the task, as they come.

    After `until` nothing is begun.
    """
    waiting, free = list(reversed(list(tasks))), list(copies.folders)
    children: list[_Child] = []
    while children or (waiting and time.monotonic() < until):
        while waiting and free and time.monotonic() < until:
            children.append(_Child(free.pop(), work, waiting.pop()))
        ready = connection.wait([child.done for child in children], timeout=10)
        for child in [each for each in children if each.done in ready or each.is_late]:
            children.remove(child)
            result = child.result()
            copies.restore(child.folder)
            free.append(child.folder)
            yield child.named, result


class Copies:
    """
    Copies of the source, one for each child at a time.

    They are compiled such that an edit is noticed by content: of a file's time Python sees seconds only.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._whole = folder / "whole"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", self._whole / "src", ignore=ignored)
        compileall.compile_dir(
            self._whole, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
        self.folders = [folder / str(index) for index in range(number)]
        for copy in self.folders:
            shutil.copytree(self._whole, copy)

    def restore(self, folder: Path) -> None:
        for package in PACKAGES:
            for file in _files_of(self._whole, package):
                shutil.copy(file, folder / file.relative_to(self._whole))


# --- what is kept from run to run ---


class Kept:
    """Which test calls what, and the verdicts, each with the state of the files that it holds for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._verdicts = folder, folder / "verdicts.jsonl"
        self._source, self._tests = _state(_files("src")), _files("tests")
        self._tests.pop(str(EQUIVALENT.relative_to(ROOT)), None)
        self._shared = _state({name: whole for name, whole in self._tests.items() if not _is_test(name)})
        files = {part: self._map(part) for part in NEAR}
        self._parts = {part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}
        lines = self._verdicts.read_text().splitlines() if self._verdicts.exists() else []
        self.verdicts: dict[str, dict[str, Any]] = {one["key"]: one for one in map(json.loads, lines)}

    def _map(self, part: str) -> Path:
        return self._folder / f"{part.replace('/', '-')}.json"

    def unmapped(self) -> list[tuple[str, list[str]]]:
        """The parts of NEAR with their files that must be traced, since they or the source have changed."""
        found = [(part, self._changed(part)) for part in NEAR]
        return [(part, files) for part, files in found if files]

    def _changed(self, part: str) -> list[str]:
        known = self._parts.get(part, {}).get("states", {})
        return [file for file, state in self._states_of(part).items() if known.get(file) != state]

    def _states_of(self, part: str) -> dict[str, str]:
        """Of each of its files of tests."""
        folder = "/".join(part.split("/")[:2])
        beside = {name: whole for name, whole in _files(folder).items() if not _is_test(name)}
        whole = _digest(self._source, _state(beside))
        return {
            name: _digest(whole, content)
            for name, content in self._tests.items()
            if _is_test(name) and (name == part or name.startswith(f"{part}/"))
        }

    def learn(self, part: str, traced: dict[str, Any]) -> None:
        states, before = self._states_of(part), self._parts.get(part, {"tests": {}, "imports": []})
        others = states.keys() - set(traced["files"])
        self._parts[part] = {
            "states": states,
            "tests": {
                **{test: facts for test, facts in before["tests"].items() if _file(test) in others},
                **traced["tests"],
            },
            "imports": list(dict.fromkeys([*before["imports"], *traced["imports"]])),
        }
        self._map(part).write_text(json.dumps(self._parts[part]))

    def imports(self) -> list[str]:
        """Of the modules that tests import, those that are no part of vlm_runner."""
        return list(dict.fromkeys(name for part in NEAR for name in self._parts[part]["imports"]))

    def tests_for(self, mutant: Mutant, *, wider: bool) -> list[str]:
        """
        What calls its function: first what killed it before, then the cheapest file.

        What a module holds outside functions meets the tests that call its package or lie beside its tests.
        As many as take FIRST_SECONDS; `wider`: the others.
        """
        every = {
            test: facts
            for part in NEAR
            for test, facts in self._parts[part]["tests"].items()
            if _file(test) in self._tests
        }
        place = f"{mutant.file}:{mutant.function}"
        tests = [test for test, facts in every.items() if place in facts["calls"]]
        if not mutant.function or not tests:
            package, beside = str(SRC / mutant.package), f"tests/{mutant.package}/"
            tests = [
                test
                for test, facts in every.items()
                if test.startswith(beside) or any(call.startswith(package) for call in facts["calls"])
            ]
        cost: dict[str, float] = {}
        for test in tests:
            cost[_file(test)] = cost.get(_file(test), 0.0) + every[test]["seconds"]
        old = self.verdicts.get(mutant.key, {}).get("by", "")
        tests.sort(key=lambda test: (test != old, cost[_file(test)], _file(test)))
        spent = itertools.accumulate(every[test]["seconds"] for test in tests)
        first = sum(seconds <= FIRST_SECONDS for seconds in spent) or 1
        return tests[first:] if wider else tests[:first]

    def verdict(self, mutant: Mutant) -> dict[str, Any] | None:
        found = self.verdicts.get(mutant.key)
        return found if found and found["state"] == self._rests_on(found) else None

    def _rests_on(self, verdict: dict[str, Any]) -> str:
        """The state of what a verdict depends on."""
        killer = _file(verdict["by"])
        if verdict["fate"] in {"killed", "timeout"} and killer in self._tests and _is_test(killer):
            return _digest(self._source, self._shared, self._tests[killer])
        return _digest(self._source, _state(self._tests))

    def judge(self, mutant: Mutant, verdict: dict[str, Any], *, wider: bool) -> None:
        state = self._rests_on(verdict)
        line = {"key": mutant.key, "line": mutant.line, "state": state, "wider": wider, **verdict}
        self.verdicts[mutant.key] = line
        with self._verdicts.open("a") as out:
            out.write(json.dumps(line) + "\n")


def _file(test: str) -> str:
    return test.partition("::")[0]


def _is_test(name: str) -> bool:
    return Path(name).name.startswith("test_")


def _files(folder: str) -> dict[str, bytes]:
    """Names and contents."""
    found = (each for each in sorted((ROOT / folder).rglob("*")) if each.suffix != ".pyc")
    return {str(file.relative_to(ROOT)): file.read_bytes() for file in found if file.is_file()}


def _state(files: dict[str, bytes]) -> str:
    return _digest(*(part for name, whole in files.items() for part in (name, whole)))


# --- the command ---


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", choices=PACKAGES, help="one package")
    parser.add_argument(
        "--match", default="", help="only mutants whose key contains this; out of all, not of the sample"
    )
    parser.add_argument(
        "--survivors", action="store_true", help="only those that nothing killed the last time"
    )
    parser.add_argument("--wider", action="store_true", help="let survivors meet the WIDER tests")
    parser.add_argument(
        "--minutes", type=float, default=1e6, help="begin nothing after that; call again to go on"
    )
    asked = parser.parse_args()
    kept, until = Kept(KEPT), time.monotonic() + asked.minutes * 60
    drawn = sample(asked.number, asked.seed, asked.only)
    if asked.match:
        drawn = [mutant for mutant in sample(10**6, asked.seed, asked.only) if asked.match in mutant.key]
    with tempfile.TemporaryDirectory() as folder:
        copies = Copies(Path(folder), asked.jobs)
        for part, traced in _in_children(_traced, kept.unmapped(), copies, until):
            if why := traced["by"] if "by" in traced else traced["why"]:
                sys.exit(f"{part} fails without a mutant: {why}")
            kept.learn(part, traced)
            print(f"traced   {part}: {len(traced['files'])} files ({traced['seconds']} s)", file=sys.stderr)
        if time.monotonic() > until:
            return
        _warm(kept.imports())
        last = {key for key, one in kept.verdicts.items() if one["fate"] in {"survived", "error"}}
        todo = [
            one for one in drawn if kept.verdict(one) is None and (not asked.survivors or one.key in last)
        ]
        _judge(todo, kept, copies, until, wider=False)
        if asked.wider:
            alive = [one for one in drawn if (found := kept.verdict(one)) and found["fate"] == "survived"]
            _judge(
                [one for one in alive if not kept.verdicts[one.key]["wider"]], kept, copies, until, wider=True
            )
    sys.exit(report(drawn, kept))


def _warm(modules: Iterable[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    assert threading.active_count() == 1, "a process with threads must not fork"


def _judge(mutants: Iterable[Mutant], kept: Kept, copies: Copies, until: float, *, wider: bool) -> None:
    def task(mutant: Mutant) -> tuple[Mutant, list[str], list[str]]:
        tests = kept.tests_for(mutant, wider=wider)
        files = [*dict.fromkeys(map(_file, tests)), *(WIDER if wider else ())]
        return mutant, files, tests

    for mutant, verdict in _in_children(_judged, map(task, mutants), copies, until):
        kept.judge(mutant, verdict, wider=wider)
        print(f"{verdict['fate']:8} {mutant.key} ({verdict['by']}, {verdict['seconds']} s)", file=sys.stderr)


def report(drawn: Sequence[Mutant], kept: Kept) -> int:
    """Print a table of packages and what is amiss; 1 if that is anything but a test that ran too long."""
    excused: dict[str, str] = json.loads(EQUIVALENT.read_text())
    counts: dict[str, Counter[str]] = {package: Counter() for package in (*PACKAGES, "all")}
    amiss: list[str] = []
    for mutant in drawn:
        verdict = kept.verdict(mutant) or {"fate": "not judged", "by": ""}
        fate = verdict["fate"]
        if mutant.key in excused and fate != "not judged":
            fate = "equivalent" if fate == "survived" else f"{fate}, though named as equivalent"
        for package in (mutant.package, "all"):
            counts[package][fate] += 1
        if fate not in {"killed", "equivalent", "not judged"}:
            amiss.append(f"{fate}: line {mutant.line} of {mutant.key} {verdict['by']}")
    columns = ("killed", "timeout", "equivalent", "survived", "error", "not judged")
    print(f"| package | mutants | {' | '.join(columns)} |\n|---|{'---|' * (len(columns) + 1)}")
    for package, count in counts.items():
        print(f"| {package} | {count.total()} | {' | '.join(str(count[each]) for each in columns)} |")
    every = counts["all"]
    killed = every["killed"] + every["timeout"]
    print(f"\n{killed / max(1, killed + every['survived']):.1%} killed of those that are not equivalent.")
    print("\n".join(amiss))
    return int(any(not line.startswith("timeout:") for line in amiss))


if __name__ == "__main__":
    main()
