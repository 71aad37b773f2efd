"""demo: the main job, end to end, on this machine."""

from __future__ import annotations

import json
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from vlm_runner import environment
from vlm_runner.cli import console
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.options import Where
from vlm_runner.cli.report import load_reports, save
from vlm_runner.cli.write_spec import DATASET, PROMPT, TEMPLATE
from vlm_runner.plan import plan_text
from vlm_runner.report.render import page
from vlm_runner.sample import sample_folder
from vlm_runner.sandbox_process import SandboxProcess, check_installed
from vlm_runner.settings import PollSettings, Settings
from vlm_runner.spec import RunSpec

SPEED = 1200.0
"""Simulated seconds a second: three hours of training in nine seconds."""

ACCOUNT = "123456789012"


@click.command()
@click.option(
    "--folder",
    default="vlm-runner-demo",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder for the spec and the checkpoint.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the result.")
def demo(folder: str, *, quiet: bool) -> None:
    """Run the whole job in a local sandbox: no AWS account, no cost.

    It needs the extra `sandbox`: pip install 'vlm-runner[sandbox]'.

    \b
    Example:
        vlm-runner demo
    """
    home = Path(folder).absolute()
    check_installed()
    console.say(f"Starting a simulated AWS whose clock runs {SPEED:.0f} times faster.")
    sandbox = SandboxProcess.start(home, speed=SPEED)
    try:
        environment.use_sandbox_credentials()
        spec_file = write_demo_spec(home)
        spec = RunSpec.from_toml(spec_file)
        settings = Settings(
            checkpoint_uri=str(home),
            region=spec.aws.region,
            endpoint_url=sandbox.url,
            poll=PollSettings(first=0.2, longest=1.0, gone_after=1.0),
        )
        run_id = f"demo-{secrets.token_hex(3)}"

        async def begin(runner: Any) -> Any:
            created = await runner.prepare(spec, run_id=run_id)
            preview = await runner.preview(created)
            console.say(plan_text(runner.plan_of(preview), settings=False))
            await runner.create(preview.created)
            return await runner.resume(run_id)

        code = drive_to_end(
            settings, begin, as_json=False, quiet=quiet, where=Where(None, None, None, str(home))
        )
        saved = save_report(settings, run_id, home / "report.html")
        console.result(ledger_text(sandbox.ledger()))
        console.say(
            f"\nThe report is {saved}: open it in a browser."
            f"\nThe spec is {spec_file}. Check the run: vlm-runner status {run_id} --store {folder}"
        )
    finally:
        sandbox.stop()
    sys.exit(code)


def save_report(settings: Settings, run_id: str, path: Path) -> Path:
    """The run's page, before the sandbox that holds its pictures is gone."""
    save(page(anyio.run(partial(load_reports, settings, [run_id]))), path)
    return path


def write_demo_spec(home: Path) -> Path:
    """The spec of the demonstration, written out so that it can be read and changed."""
    path = home / "run.toml"
    text = TEMPLATE.format(
        name=path.name,
        dataset=DATASET.format(source=json.dumps(str(sample_folder()))),
        prompt=PROMPT,
        role_arn=json.dumps(f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"),
        region=json.dumps("us-east-1"),
    )
    text = text.replace("# validation_split", "validation_split").replace("# compare_base", "compare_base")
    path.write_text(text, encoding="utf-8")
    return path


def ledger_text(entries: list[dict[str, Any]]) -> str:
    """What AWS would have put on the bill."""
    lines = ["", "Ledger of the sandbox (what AWS would bill):"]
    lines += [
        f"  {entry['kind']:<26}{entry['name']:<42}{_state(entry)}"
        for entry in entries
        if entry["kind"] != "custom_model_deployment"
    ]
    billing = sum(1 for entry in entries if entry["still_billing"] and entry["kind"] != "custom_model")
    lines.append(f"  still billing by the hour: {billing}")
    return "\n".join(lines)


def _state(entry: dict[str, Any]) -> str:
    usd = entry["cost_usd"]
    cost = "price unknown" if usd is None else f"${usd:.2f}" if usd >= 0.01 or not usd else "under a cent"
    if entry["kind"] == "custom_model":
        return f"stays, by the month; so far {cost}"
    return f"{'BILLING' if entry['still_billing'] else 'ended'}, {cost}"
