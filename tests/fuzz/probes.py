"""
Which statements of the product an input reached, for the price of one store each.

The modules are compiled anew, with a store into a shared bytearray before each statement of a function. A trace
function costs a call for each call and line of all Python code, which made most targets two to five times slower.
"""

from __future__ import annotations

import ast
import bisect
import builtins
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import CodeType, ModuleType

PACKAGE: Final = "vlm_runner"
NAME: Final = "__reached__"
"""A builtin, so that each module finds it; two underscores on both sides are not mangled in classes."""
reached: Final = bytearray(1 << 17)
"""1 for each statement that was reached; more of them than the product has."""
MOST_WAYS: Final = 32
"""Of one function: a loop over a table of cases has thousands."""
_statements: Final[list[tuple[str, int]]] = []
_functions: Final[list[int]] = []
"""The first statement of each function, whose others follow it."""


def count() -> int:
    return reached.count(1)


class Coverage:
    """
    The ways that inputs took: for each function, which of its statements one input reached.

    Of a reader whose every statement was reached, one input still takes a way that no other took.
    """

    def __init__(self) -> None:
        self._ways: dict[int, set[bytes]] = {}
        self._ever = bytearray(len(reached))
        reached[:] = bytes(len(reached))

    @property
    def statements(self) -> int:
        return self._ever.count(1)

    def add(self) -> bool:
        """Whether what was reached since the last call is new; what comes next is the next input's."""
        new, at = False, reached.find(1)
        while at >= 0:
            function = bisect.bisect_right(_functions, at) - 1
            start = _functions[function]
            end = _functions[function + 1] if function + 1 < len(_functions) else len(_statements)
            new |= self._add(start, bytes(reached[start:end]))
            at = reached.find(1, end)
        reached[: len(_statements)] = bytes(len(_statements))
        return new

    def _add(self, start: int, way: bytes) -> bool:
        ways = self._ways.setdefault(start, set())
        if way in ways:
            return False
        had = self._ever[start : start + len(way)]
        both = bytes(map(max, had, way))
        self._ever[start : start + len(way)] = both
        if len(ways) < MOST_WAYS:
            ways.add(way)
            return True
        return both != had


def install() -> None:
    """Probe all modules of the product that are imported from now on."""
    if any(name.split(".")[0] == PACKAGE for name in sys.modules):
        raise RuntimeError(f"{PACKAGE} is imported already: its statements cannot be counted.")
    setattr(builtins, NAME, reached)
    sys.meta_path.insert(0, _Finder())


def load(path: Path) -> ModuleType:
    """One module with probes, beside those that are imported as they are."""
    setattr(builtins, NAME, reached)
    name = f"probed_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Probed(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(
        spec
    )  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Probed(fullname, spec.loader.path)
        return spec


class _Probed(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        # Never from or into a cache of bytecode, which is for those who run the product.
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                _probe(node, path)
        return compile(tree, path, "exec", dont_inherit=True)


def _probe(function: ast.FunctionDef | ast.AsyncFunctionDef, path: str) -> None:
    _functions.append(len(_statements))
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, block, None), list):
                setattr(node, block, [each for one in statements for each in _with_probe(one, path)])
                # Functions inside of this one have their turn in the walk over all.
                waiting += [
                    one
                    for one in statements
                    if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                ]
        waiting += getattr(node, "handlers", []) + getattr(node, "cases", [])


def _with_probe(statement: ast.stmt, path: str) -> list[ast.stmt]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return [statement]  # a docstring stays the first
    probe = ast.parse(f"{NAME}[{len(_statements)}] = 1").body[0]
    _statements.append((path, statement.lineno))
    for node in ast.walk(probe):
        ast.copy_location(node, statement)
    return [probe, statement]
