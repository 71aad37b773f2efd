"""
vlm-runner in a notebook: plans, live runs, reports and rows as rich output.

`%load_ext vlm_runner.notebook` shows the library's own values richly. A `Session` keeps a runner open from
cell to cell:

    session = await notebook.open_session()
    await session.plan(spec)
    run = await session.run(spec)        # a live panel, until the run is done
    await session.report(run.run_id)     # its page, in the notebook

Only `display` and its updates are used, so any front end of Jupyter shows it. Where there is no notebook, a
run's events are printed as text.
"""

from vlm_runner.notebook.display import load_ipython_extension
from vlm_runner.notebook.panel import follow
from vlm_runner.notebook.rows import RowPreview, lint, preview
from vlm_runner.notebook.session import Session, open_session
from vlm_runner.sample import sample_folder
from vlm_runner.sandbox_process import SandboxProcess

__all__ = [
    "RowPreview",
    "SandboxProcess",
    "Session",
    "follow",
    "lint",
    "load_ipython_extension",
    "open_session",
    "preview",
    "sample_folder",
]
