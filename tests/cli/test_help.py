"""Help comes at once: it does not wait for what only the command needs."""

from __future__ import annotations

import subprocess
import sys

from vlm_runner.cli.commands import COMMANDS

LOADED = {
    "ask", "cost", "delete", "demo", "events", "iam", "init", "keep", "list", "models", "preview", "prices",
    "release", "report", "stage", "track", "verify", "watch",
}  # fmt: skip
"""Commands whose help still loads what they need. A new one does not belong here."""
HEAVY = {"PIL", "aioboto3", "botocore", "datasets", "jinja2", "orjson", "pydantic", "vlm_runner.runner"}
CODE = f"""
import sys
from click import Context, Group
from click.testing import CliRunner
from vlm_runner.cli import cli

def ask(group, *words):
    context = Context(group)
    for name in group.list_commands(context):
        path = " ".join((*words, name))
        if path not in {LOADED}:
            answer = CliRunner().invoke(cli, [*path.split(), "--help"])
            assert answer.exit_code == 0 and "Example" in answer.output, answer.output
            print(path, *{HEAVY} & sys.modules.keys(), sep=":")
            command = group.get_command(context, name)
            if isinstance(command, Group):
                ask(command, *words, name)

ask(cli)
"""


def test_help_imports_nothing_that_takes_long() -> None:
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout

    loaded = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    assert loaded == {}
    assert {line.split()[0] for line in said.splitlines()} | LOADED == COMMANDS.keys()
