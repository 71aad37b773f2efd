"""Writes docs/schemas/: a JSON Schema for each command's JSON, and the page that lists them (`make docs`)."""

from __future__ import annotations

import json
from pathlib import Path

from vlm_runner.json_output import OUTPUTS, json_schema

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"

WHAT = {
    "start": "`start --json`, when the run is done or this process stops",
    "start-detach": "`start --detach --json`",
    "resume": "`resume --json`",
    "cancel": "`cancel --json`",
    "serve": "`serve --json`: of the run that serves; with `--compare-with` a list of both",
    "serve-detach": "`serve --detach --json`",
    "ask": "`ask --json`",
    "models": "`models --json`",
    "reap-models": "`reap --models --json`",
    "delete": "`delete --json`: what is, or would be, deleted",
    "status": "`status --json`",
    "list": "`list --json`",
    "events": "one line of `events`",
    "report": "`report --json`, and `report.json` in S3; of several runs a list",
    "lint": "`lint --json`",
    "doctor": "`doctor --json`",
    "plan": "`plan --json`",
    "preview": "`preview --json`",
    "prices": "`prices --json`",
    "cost": "`cost --json`",
    "iam": "`iam`: policy documents, by role",
    "reap": "`reap --json`",
    "verify": "`verify --json`",
    "sandbox-check": "`sandbox check --json`",
    "submit": "`submit --json`",
    "sweep": "`sweep --json`",
    "sweep-dry-run": "`sweep --dry-run --json`",
    "sagemaker-upsert": "`sagemaker upsert --json`",
    "sagemaker-start": "`sagemaker start --json`",
    "sagemaker-describe": "`sagemaker describe --json`",
    "sagemaker-wait": "`sagemaker wait --json`",
}


def index() -> str:
    lines = [
        "# JSON for programs",
        "",
        "With `--json` a command prints one JSON document on stdout. Each has a JSON Schema here, generated",
        "from the types in `vlm_runner.json_output`, which Python programs can import. Keys are stable:",
        "later versions add keys and remove none, so ignore unknown ones. A fact that a run does not",
        "have is `null`.",
        "",
        "| output | schema |",
        "|---|---|",
        *(f"| {WHAT[name]} | [{name}.json]({name}.json) |" for name in OUTPUTS),
    ]
    return "\n".join(lines) + "\n"


def contents() -> dict[str, str]:
    """Every file of the folder, by its name."""
    schemas = {f"{name}.json": json.dumps(json_schema(name), indent=2) + "\n" for name in OUTPUTS}
    return {"README.md": index(), **schemas}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in contents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
