"""The notebook that this process is the kernel of, and one output of a cell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_runner.core.run import Run


def shell_of_kernel() -> Any:
    """IPython's shell if this process is a notebook's kernel, else None; imports nothing."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


class Output:
    """One output of a cell, which is shown at once and can be replaced."""

    def __init__(self, html: str, text: str) -> None:
        from IPython.display import display  # noqa: PLC0415 - there is one wherever there is a kernel

        show: Any = display
        self._shown = (html, text)
        self._handle = show(_bundle(html, text), raw=True, display_id=True)

    def replace(self, html: str, text: str) -> None:
        if (html, text) != self._shown:
            self._shown = (html, text)
            self._handle.update(_bundle(html, text), raw=True)


def _bundle(html: str, text: str) -> dict[str, str]:
    return {"text/html": html, "text/plain": text}


def run_line(run: Run) -> str:
    """`Run cats: succeeded`."""
    state = run.outcome.value if run.outcome is not None else f"in phase {run.phase.value}"
    return f"Run {run.run_id}: {state}" + (f": {run.reason}" if run.reason else "")
