"""How the library's values reach a notebook: by IPython's formatters."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import VlmRunnerError
from vlm_runner.notebook.kernel import run_line
from vlm_runner.redact import printable, redacted

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.core.run import Run

SHOWN: Final = {
    ("vlm_runner.core.run", "Run"): "run_html",
    ("vlm_runner.lint.finding", "LintReport"): "lint_html",
    ("vlm_runner.plan.plan", "Plan"): "plan_html",
    ("vlm_runner.notebook.rows", "RowPreview"): "row_html",
    ("vlm_runner.report.assemble", "RunReport"): "report_html",
}
"""The class of a value, and the function of `views` that shows it."""


def load_ipython_extension(shell: Any) -> None:
    """Show the library's values richly; what `%load_ext vlm_runner.notebook` calls. May be called again."""
    # `datasets` imports tqdm, which misses ipywidgets in every first cell; nothing here needs them.
    warnings.filterwarnings("ignore", message="IProgress not found")
    html = shell.display_formatter.formatters["text/html"]
    text = shell.display_formatter.formatters["text/plain"]
    for (module, name), view in SHOWN.items():
        html.for_type_by_name(module, name, _lazily(view))
        text.for_type_by_name(module, name, _short)
    text.for_type_by_name("vlm_runner.core.run", "Run", _run_text)
    shell.set_custom_exc((VlmRunnerError,), _show_error)
    whole = shell.display_formatter.ipython_display_formatter
    whole.for_type_by_name("vlm_runner.runner", "RunHandle", _follow_in_background)


def _show_error(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: Any,  # noqa: ARG001 - IPython calls it so
    tb_offset: int | None = None,  # noqa: ARG001 - as above
) -> list[str]:
    """An error of ours says what is wrong and what to do; a traceback would only hide it."""
    said = printable(redacted(f"{kind.__name__}: {error}")).splitlines()
    shell._showtraceback(kind, error, said)  # noqa: SLF001 - what custom handlers of IPython's own call
    return said


def _lazily(view: str) -> Callable[[Any], str]:
    def shown(value: Any) -> str:
        made: str = getattr(import_module("vlm_runner.notebook.views"), view)(value)
        return made

    return shown


def _short(value: Any, printer: Any, _: bool) -> None:  # noqa: FBT001 - IPython calls it so
    printer.text(f"<{type(value).__name__}>")


def _run_text(run: Run, printer: Any, _: bool) -> None:  # noqa: FBT001 - IPython calls it so
    printer.text(run_line(run))


def _follow_in_background(handle: Any) -> None:
    # Loaded only when a run is shown: until then `%load_ext` needs no runner.
    import_module("vlm_runner.notebook.panel").follow_in_background(handle)
