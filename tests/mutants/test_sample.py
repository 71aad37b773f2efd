"""The tool that samples mutants (scripts/mutants.py): what it edits, and how it names an edit."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("vlm_runner_mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def edits(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, str]]:
    """From a source to its mutants: what is edited, and how the file reads then."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    file = tmp_path / "a.py"

    def of(source: str) -> dict[str, str]:
        found = {}
        for mutant in tool.mutants_of("a.py", (file.write_text(source), file)[1]):
            file.write_text(source)
            mutant.apply(file)
            found[mutant.key] = file.read_text()
        return found

    return of


def test_equal_edits_of_one_line_have_keys_of_their_own(edits: Callable[[str], dict[str, str]]) -> None:
    found = edits("def f(a):\n    return [a + 1, a * 1]\n")

    line = "a.py: return [a + 1, a * 1]"
    assert found[f"{line}: 1 -> 2"] == "def f(a):\n    return [a + 2, a * 1]\n"
    assert found[f"{line}: 1 -> 2 (occurrence 2)"] == "def f(a):\n    return [a + 1, a * 2]\n"


def test_constants_and_tables_of_a_module_are_mutated_and_defaults_too(
    edits: Callable[[str], dict[str, str]],
) -> None:
    found = edits(
        'LIMIT = 24 * 30\nKINDS = frozenset({"a", "b"})\nclass C:\n    n: int = 0\ndef f(x=5): ...\n'
    )

    assert {
        "a.py: LIMIT = 24 * 30: 24 -> 25",
        "a.py: LIMIT = 24 * 30: 24 * 30 -> (24 // 30)",
        'a.py: KINDS = frozenset({"a", "b"}): without \'a\'',
        'a.py: KINDS = frozenset({"a", "b"}): without \'b\'',
        "a.py: n: int = 0: 0 -> 1",
        "a.py: def f(x=5): ...: 5 -> 6",
    } <= found.keys()


@pytest.mark.parametrize(
    "source",
    [
        "from typing import Literal\ndef f(a: Literal[1]) -> Literal[2]: ...\n",
        "import functools\n@functools.lru_cache(maxsize=1)\ndef f(): ...\n",
        '__all__ = ["a", "b"]\n',
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    N = 1\n",
        'class C:\n    """One 1."""\n',
    ],
    ids=["annotations", "decorators", "names that are exported", "imports for types", "docstrings"],
)
def test_what_nobody_runs_is_left_alone(source: str, edits: Callable[[str], dict[str, str]]) -> None:
    assert edits(source) == {}


def test_text_beyond_ascii_does_not_move_an_edit(edits: Callable[[str], dict[str, str]]) -> None:
    assert 'N = "ä", 2\n' in edits('N = "ä", 1\n').values()


def test_every_mutant_is_python(tool: Any) -> None:
    file = ROOT / "src" / "vlm_runner" / "evaluate" / "metrics.py"
    source = file.read_bytes()

    for mutant in tool.mutants_of("evaluate", file):
        start, end = mutant.span
        compile(source[:start] + mutant.new.encode() + source[end:], mutant.key, "exec")


def test_a_change_elsewhere_in_a_package_keeps_its_sample(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most those are drawn anew for which there is no room."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PACKAGES", ("plan",))
    folder = tmp_path / "src" / "vlm_runner" / "plan"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("\n".join(f"A{n} = {n}" for n in range(100)))
    before = {mutant.key for mutant in tool.sample(30, 13)}
    (folder / "b.py").write_text("B = 1\n")

    after = {mutant.key for mutant in tool.sample(30, 13)}

    assert len(before) == len(after) == 30
    assert len(before - after) <= 1
    assert before != {mutant.key for mutant in tool.sample(30, 14)}


def test_what_is_named_as_equivalent_still_exists_and_has_a_reason(tool: Any) -> None:
    named: dict[str, str] = json.loads((ROOT / "tests" / "mutants" / "equivalent.json").read_text())
    files = {key.partition(": ")[0] for key in named}
    there = {mutant.key for file in files for mutant in tool.mutants_of("", ROOT / file)}

    assert named.keys() - there == set()
    assert all(reason.endswith(".") for reason in named.values())


KILLER = "tests/a/test_killer.py"


@pytest.mark.parametrize(
    ("changed", "holding"),
    [
        ("tests/a/test_other.py", {"killed", "late"}),
        ("tests/a/test_new.py", {"killed", "late"}),
        (KILLER, set()),
        ("tests/a/worlds.py", set()),
        ("src/vlm_runner/a.py", set()),
        ("tests/mutants/equivalent.json", {"killed", "late", "survived", "imported"}),
    ],
)
def test_a_verdict_holds_until_what_it_rests_on_changes(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, holding: set[str]
) -> None:
    """So after new tests only the survivors are judged again."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "EQUIVALENT", tmp_path / "tests" / "mutants" / "equivalent.json")
    for file in ("src/vlm_runner/a.py", KILLER, "tests/a/test_other.py", "tests/a/worlds.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    mutants = {
        name: tool.Mutant("a", "a.py", 1, "f", name, (0, 0), "")
        for name in ("killed", "late", "survived", "imported")
    }
    kept = tool.Kept(tmp_path / ".mutants")
    for name, fate, by in (
        ("killed", "killed", f"{KILLER}::test_it"),
        ("late", "timeout", f"{KILLER}::test_it"),
        ("survived", "survived", ""),
        ("imported", "killed", "import: NameError: x"),
    ):
        kept.judge(mutants[name], {"fate": fate, "by": by}, wider=False)
    (tmp_path / changed).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / changed).write_text("# changed")

    again = tool.Kept(tmp_path / ".mutants")

    assert {name for name, mutant in mutants.items() if again.verdict(mutant)} == holding


def test_only_files_of_tests_that_changed_are_traced_again(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "NEAR", ("tests/a", "tests/b/test_only.py"))
    monkeypatch.setattr(tool, "EQUIVALENT", tmp_path / "equivalent.json")
    one, two, only, other = (
        "tests/a/test_1.py",
        "tests/a/test_2.py",
        "tests/b/test_only.py",
        "tests/b/test_3.py",
    )
    for file in ("src/vlm_runner/a.py", one, two, only, other):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    kept = tool.Kept(tmp_path / ".mutants")
    assert kept.unmapped() == [("tests/a", [one, two]), ("tests/b/test_only.py", [only])]
    for part, files in kept.unmapped():
        tests = {f"{file}::test_it": {"seconds": 1.0, "calls": ["a.py:f"]} for file in files}
        kept.learn(part, {"files": files, "tests": tests, "imports": []})
    assert tool.Kept(tmp_path / ".mutants").unmapped() == []

    (tmp_path / two).write_text("# changed")
    (tmp_path / other).write_text("# changed")
    again = tool.Kept(tmp_path / ".mutants")
    assert again.unmapped() == [("tests/a", [two])]
    again.learn("tests/a", {"files": [two], "tests": {}, "imports": []})
    (tmp_path / only).unlink()
    last = tool.Kept(tmp_path / ".mutants")

    assert last.unmapped() == []
    assert last.tests_for(tool.Mutant("a", "a.py", 1, "f", "", (0, 0), ""), wider=False) == [
        f"{one}::test_it"
    ]
    (tmp_path / "src" / "vlm_runner" / "a.py").write_text("# changed")
    assert tool.Kept(tmp_path / ".mutants").unmapped() == [("tests/a", [one, two])]
