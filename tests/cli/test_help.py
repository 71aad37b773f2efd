"""Help comes at once: it does not wait for what only the command needs."""

from __future__ import annotations

import subprocess
import sys

ASKED = (
    ("cancel",),
    ("doctor",),
    ("health",),
    ("lint",),
    ("plan",),
    ("reap",),
    ("resume",),
    ("sagemaker",),
    ("sagemaker", "start"),
    ("sandbox", "serve"),
    ("serve",),
    ("start",),
    ("status",),
    ("submit",),
    ("sweep",),
)
HEAVY = {"PIL", "aioboto3", "botocore", "datasets", "jinja2", "orjson", "pydantic", "vlm_runner.runner"}


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from vlm_runner.cli import cli\n"
        f"for words in {ASKED}:\n"
        "    answer = CliRunner().invoke(cli, [*words, '--help'])\n"
        "    assert answer.exit_code == 0 and 'Example' in answer.output, answer\n"
        f"print(*{HEAVY} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.split() == []
