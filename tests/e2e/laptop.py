"""
What an end-to-end test works with: a sandbox, the real command line, plain boto3, and datasets.

Whatever a command prints as JSON is compared with its published schema, in every test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.request import Request, urlopen

import boto3
import structlog
from botocore.config import Config
from PIL import Image

from tests.conformance.validate import violations_in
from tests.forks import FORKS, Process
from tests.json_output.fitting import assert_fits
from vlm_runner.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"
SWITCH_ROLE = f"arn:aws:iam::{ACCOUNT}:role/vlm-runner-switch"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
NOVA = "amazon.nova-lite-v1:0:300k"


@dataclass
class Laptop:
    """One sandbox at a speed, and a folder."""

    home: Path
    url: str
    server: subprocess.Popen[bytes]
    region: str = "us-east-1"
    speed: float = 3600
    runners: list[Process] = field(default_factory=list)
    exchanges: Path = Path()
    """All that the sandbox was asked and answered; see sandbox/exchange_log.py."""

    @classmethod
    def start(
        cls, home: Path, *, speed: float, as_of: str | None = None, region: str = "us-east-1"
    ) -> Laptop:
        home.mkdir(parents=True, exist_ok=True)
        ready = home / "ready"
        command = [sys.executable, "-m", "vlm_runner", "sandbox", "serve", "--port", "0"]
        command += ["--model-units", "2", "--record", str(home / "exchanges.jsonl")]
        command += ["--ready-file", str(ready), "--speed", str(speed)]
        command += ["--as-of", as_of] if as_of else []
        with (home / "sandbox.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        until(ready.exists, "the sandbox to listen")
        exchanges = home / "exchanges.jsonl"
        return cls(home, ready.read_text().strip(), server, region, speed, exchanges=exchanges)

    def anew(self, home: Path, speed: float) -> Laptop:
        """The same sandbox, emptied, for another test in another folder."""
        self.ask("reset", {})
        self.ask("faults", method="DELETE")
        self.ask("clock", {"speed": speed})
        return dataclasses.replace(self, home=home, speed=speed, runners=[])

    def stop(self) -> None:
        """Also holds all that the sandbox answered against AWS's service models."""
        self.kill_runners()
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(20)
        found = violations_in(self.exchanges)
        assert found == [], "\n".join(found)

    def kill_runners(self) -> None:
        for runner in self.runners:
            if runner.poll() is None:
                runner.kill()
            runner.wait(20)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VLM_"))}
        return clean | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret-canary",
            "AWS_ENDPOINT_URL": self.url,
            "VLM_RUNNER_CHECKPOINT_URI": str(self.home / "store"),
            "VLM_RUNNER_POLL__FIRST": "0.05",
            "VLM_RUNNER_POLL__LONGEST": "0.2",
            "VLM_RUNNER_POLL__GONE_AFTER": "0.1",
            "VLM_RUNNER_POLL__CANCEL_EVERY": "0.1",
        }

    def cli(self, *words: str, timeout: float = 90, **environment: str) -> subprocess.CompletedProcess[str]:
        """A process of its own, to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._begin(words, environment, out.fileno(), err.fileno())
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            said, told = out.read().decode(), err.read().decode()
        assert_fits(words, said)
        return subprocess.CompletedProcess(words, code, said, told)

    def _begin(self, words: Sequence[str], environment: Mapping[str, str], out: int, err: int) -> Process:
        env = {**self.environment, **environment}
        forked = FORKS.start(words, env=env, cwd=self.home, stdout=out, stderr=err)
        if forked is not None:
            return forked
        command = [sys.executable, "-m", "vlm_runner", *words]
        return subprocess.Popen(command, env=env, cwd=self.home, stdout=out, stderr=err)

    def here(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As `cli`, in this process, which has long imported what each new one takes a second for."""
        return run_here(words, self.environment | environment, self.home)

    def cli_in_background(self, *words: str) -> Process:
        with (self.home / "runner.log").open("ab") as log:
            runner = self._begin(words, {}, log.fileno(), log.fileno())
        self.runners.append(runner)
        return runner

    def boto(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )

    def session_of(self, role_arn: str) -> dict[str, str]:
        """The environment of somebody who has assumed the role."""
        keys = self.boto("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }

    def ask(self, path: str, body: object | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = Request(f"{self.url}/_sandbox/{path}", data, headers, method=method)
        with urlopen(request, timeout=10) as response:
            return json.load(response)

    def paid(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.ask("ledger")["entries"] if entry["kind"] == kind]

    def assert_paid_once_and_over(self) -> None:
        jobs, throughputs = self.paid("customization_job"), self.paid("provisioned_throughput")
        assert (len(jobs), len(throughputs)) == (1, 1)
        assert not throughputs[0]["still_billing"]
        assert not self.boto("bedrock").list_provisioned_model_throughputs()["provisionedModelSummaries"]

    def status(self, run_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.cli("status", run_id, "--json").stdout)
        return answer

    def checkpoint(self, run_id: str) -> Any:
        """Straight from the file: a look that costs no process."""
        state = self.home / "store" / "runs" / run_id / "state.json"
        return json.loads(state.read_text()) if state.exists() else None

    def phase(self, run_id: str) -> str | None:
        checkpoint = self.checkpoint(run_id)
        return None if checkpoint is None else str(checkpoint["run"]["phase"])

    def await_phase(self, run_id: str, phase: str, runner: Process) -> None:
        """Until a runner in the background has come so far."""

        def there() -> bool:
            assert runner.poll() is None, (self.home / "runner.log").read_text()
            return self.phase(run_id) == phase

        until(there, f"run {run_id} to be {phase}")

    def spec(self, source: Path, name: str = "run.toml", **changes: str) -> Path:
        """A spec for Nova Lite; `changes` are whole TOML lines by section, replacing the default ones."""
        sections = {
            "dataset": f'source = "{source}"\nvalidation_split = "validation"',
            "model": f'base = "{NOVA}"',
            "training": f'role_arn = "{ROLE}"\nhyperparameters = {{ epochCount = 2 }}',
            "serving": 'mode = "provisioned"',
            "test": "rows = 2",
            "aws": f'region = "{self.region}"',
        } | changes
        path = self.home / name
        path.write_text("\n".join(f"[{section}]\n{lines}" for section, lines in sections.items()))
        return path


def run_here(
    words: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """The command line in this process, with all of this environment, in this folder."""
    out, err, before, was = io.StringIO(), io.StringIO(), dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    code: int | str | None = 0
    try:
        with (
            mock.patch.object(sys, "argv", ["vlm-runner", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(was)
        os.environ.clear()
        os.environ.update(before)
        structlog.reset_defaults()
    assert isinstance(code, int)
    assert_fits(words, out.getvalue())
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def until(true: Any, what: str, seconds: float = 60) -> None:
    """Real processes need real time; a condition ends the wait, never a guess."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def finding(number: int) -> dict[str, str]:
    return {
        "rationale": f"The page number {number} hides its purpose.",
        "eval_items": "WCAG 1.1.1",
        "eval_reason": f'<img src="{number}.png"> has no alternative text.',
        "plan": f"Add alt text number {number}.",
    }


def picture(number: int, kind: str = "PNG") -> bytes:
    """A small page-like image that no other number has."""
    image = Image.new("RGB", (120, 90), (number * 37 % 256, number * 91 % 256, 200))
    image.paste((250, 250, number % 250), (10, 10, 60, 20 + number % 60))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def notebook_dataset(folder: Path, rows: int, held_out: int = 4, kind: str = "PNG") -> Path:
    """A parquet folder in the notebook's schema: image, html, outputs (here a list of findings)."""
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    text = Value("string")
    output = List({"rationale": text, "eval_items": text, "eval_reason": text, "plan": text})
    features = Features({"image": ImageFeature(), "html": text, "outputs": output})
    folder.mkdir(parents=True, exist_ok=True)
    for split, start, count in (("train", 0, rows), ("validation", rows, held_out)):
        table = [
            {
                "image": {"bytes": picture(number, kind), "path": f"{number}.{kind.lower()}"},
                "html": f"<main><h1>Page {number}</h1><img src='{number}.png'></main>",
                "outputs": [finding(number)] if number % 5 else [],
            }
            for number in range(start, start + count)
        ]
        Dataset.from_list(table, features=features).to_parquet(folder / f"{split}.parquet")
    return folder
