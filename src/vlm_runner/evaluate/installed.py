"""
A spec's own metrics, which are code: only what was installed for this purpose, or allowed by the settings.

A spec may be a stranger's. If it could name any callable, `timeit:timeit` would run the dataset's text as
Python. So naming one is not enough: the package that has it declares it as an entry point, or whoever owns
the process allows its module. Imported only by who starts or drives a run.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from vlm_runner.evaluate.metrics import Metric

GROUP: Final = "vlm_runner.metrics"
"""Of entry points; the packaging guide's "Creating and discovering plugins"."""


def check_metrics(paths: Iterable[str], modules: Collection[str]) -> None:
    """
    Whether all of `paths` may be loaded. Imports nothing.

    A path is the name of an entry point in GROUP, or `package.module:function` of one, or of a module that
    `modules` has, itself or one of its parents.

    Raises:
        ConfigurationError: one may not.
    """
    for path in paths:
        _reference(path, modules)


def load_metrics(paths: Iterable[str], modules: Collection[str]) -> dict[str, Metric]:
    """
    Import them: this runs code of theirs.

    Raises:
        ConfigurationError: as for `check_metrics`; or module or name do not exist, or it is not callable.
    """
    return {path: _loaded(path, _reference(path, modules)) for path in paths}


def _reference(path: str, modules: Collection[str]) -> str:
    """The `package.module:function` that a path stands for."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    reference = f"{module}:{name}"
    for point in entry_points(group=GROUP):
        if path == point.name or reference == point.value.replace(" ", ""):
            return point.value.replace(" ", "")
    if any(module == allowed or module.startswith(f"{allowed}.") for allowed in modules if allowed):
        return reference
    raise ConfigurationError(
        f"The metric '{path}' is not allowed: no installed package has it as an entry point of {GROUP}.",
        hint="Declare it there; or, if you trust its code, allow its module: "
        f"VLM_RUNNER_METRIC_MODULES='[\"{module or path}\"]'.",
    )


def _loaded(path: str, reference: str) -> Metric:
    module, _, name = reference.partition(":")
    try:
        metric = getattr(importlib.import_module(module), name)
    except Exception as error:
        # A stranger's module may raise anything while it is imported.
        raise ConfigurationError(
            f"The metric '{path}' cannot be loaded: {error}.",
            hint="It must be installed in the environment of this process.",
        ) from error
    if not callable(metric):
        raise ConfigurationError(f"The metric '{path}' is not callable.")
    found: Metric = metric
    return found
