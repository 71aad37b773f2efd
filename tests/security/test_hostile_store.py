"""Looking at what strangers hand over is safe: it runs, writes, asks and shows nothing that it should not."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import shlex
import sys
import textwrap
import threading
import traceback
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import click
import pytest
import structlog

from tests.security.hostile import (
    ENDINGS,
    METRIC_MODULE,
    OBJECTS,
    STEERING,
    hostile_checkpoint,
    hostile_store,
    table_of,
)
from vlm_runner.checkpoint.process_identity import this_process
from vlm_runner.cli import cli, main
from vlm_runner.cli.exit_codes import EXIT_CODES, run_exit_code
from vlm_runner.cli.painting import plain
from vlm_runner.cli.run_text import Reach, call_lines, status_lines
from vlm_runner.cli.run_view import UNFIT, CheckpointView, RunView, state_of
from vlm_runner.core.names import delete_command
from vlm_runner.errors import CheckpointError, RunNotFound, UsageError
from vlm_runner.path_segment import is_path_segment
from vlm_runner.redact import CONTROL
from vlm_runner.runner import Runner
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

READS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "cost": (("FEW", "--yes"),),
    "events": (("RUN",), ("DONE", "--follow")),
    "health": (("--file", "STORE/runs/steering-done/state.json"), ("--file", f"none{STEERING}")),
    "list": ((), ("--json",)),
    "report": (("FEW", "--output", "-"), ("--json", "EVERY"), ("--output", "-", "EVERY")),
    "status": ((), ("RUN",), ("RUN", "--json"), ("--last",)),
    "watch": (("DONE",),),
    "reap": ((), ("--json",), ("--older-than", "1s"), ("--models", "--older-than", "1s")),
    "models": ((), ("--json",)),
    "completion": (("bash",),),
    "delete": (("RUN",), ("RUN", "--json")),
    "doctor": (("SPEC",), ("SPEC", "--json")),
    "iam": (("SPEC",),),
    "lint": (("SPEC",), ("SPEC", "--json", "--all"), ("JSONL", "--model", "amazon.nova-lite-v1:0:300k")),
    "plan": (("SPEC", "--offline"), ("SPEC", "--offline", "--json"), ("SPEC",)),
    "preview": (("SPEC",), ("SPEC", "--row", "1", "--json")),
    "prices": ((), (f"model{STEERING}", "--offline")),
    "sagemaker describe": ((f"run{STEERING}",),),
    "sagemaker wait": ((f"run{STEERING}", "--timeout", "1s"),),
}
"""
The commands that only look, as they are called here.

RUN stands for each run of the store in turn, DONE for those that are done, FEW for one of each kind, where a
call takes a connection; EVERY for those of FEW that can be read, in one call.
"""

ACT: Final = frozenset(
    {
        "cancel",
        "demo",
        "init",
        "release",
        "resume",
        "sagemaker delete",
        "sagemaker start",
        "sagemaker stop",
        "sagemaker upsert",
        "sandbox check",
        "sandbox serve",
        "stage",
        "start",
        "submit",
        "serve",
        "ask",
        "keep",
        "sweep",
        "track",
        "verify",
    }
)
"""The commands that create, drive, delete or serve: whoever calls them trusts what they name."""


def commands(group: click.Group, *above: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name))


def test_every_command_is_known_to_look_or_to_act() -> None:
    """
    A new command that looks is called here with what strangers wrote; one that acts is none of this.
    """
    assert set(commands(cli)) == READS.keys() | ACT
    assert not READS.keys() & ACT


class Audit:
    """
    What this process did while it looked, as the interpreter itself reports it.

    Connections are refused unless `told` has their address.
    """

    def __init__(self) -> None:
        self.told: set[tuple[str, int]] = set()
        self.watching = False
        self.connections: list[str] = []
        self.started: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "socket.connect":
            address = args[1]
            if isinstance(address, tuple) and address[:2] not in self.told:
                self.connections.append(str(address))
                raise ConnectionRefusedError("nobody told this process to connect there")
        elif event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
            if (args[0], args[1] if len(args) > 1 else 0) not in self.told:
                self.connections.append(f"{event} {args[:2]}")
                raise ConnectionRefusedError("nobody told this process to look it up")
        elif event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}:
            self.started.append(f"{event} {args}")
            raise PermissionError("nobody told this process to start another")
        elif event == "import" and args[0] == METRIC_MODULE:
            self.started.append(f"import {args[0]}")


@pytest.fixture(scope="session")
def audit() -> Audit:
    """One for the session: an audit hook cannot be removed."""
    return Audit()


class StrangersAws(BaseHTTPRequestHandler):
    """The endpoint that was told: objects of a stranger, names and messages of a stranger."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = next((body for end, body in OBJECTS.items() if end in path), None)
        if body is not None:
            self._answer(200, "application/octet-stream", body)
        elif "list-type" in query:
            self._answer(
                200,
                "application/xml",
                b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            )
        elif path.endswith("/provisioned-model-throughputs"):
            self._json(200, {"provisionedModelSummaries": [self._throughput()]})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        if self.path.endswith("/listTagsForResource"):
            tags = {"vlm-runner:run-uid": STEERING, "vlm-runner:run-id": "../../owned" + STEERING}
            self._json(200, {"tags": [{"key": key, "value": value} for key, value in tags.items()]})
        else:
            self._json(400, {"message": STEERING, "__type": "ValidationException"})

    do_HEAD = do_PUT = do_DELETE = do_POST  # noqa: N815 - the names that http.server calls

    def _throughput(self) -> dict[str, Any]:
        return {
            "provisionedModelName": f"vr-{STEERING}",
            "provisionedModelArn": "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl",
            "modelArn": STEERING,
            "desiredModelArn": STEERING,
            "foundationModelArn": STEERING,
            "modelUnits": 1,
            "desiredModelUnits": 1,
            "status": STEERING,
            "creationTime": "2026-11-22T12:00:00Z",
            "lastModifiedTime": "2026-11-22T12:00:00Z",
        }

    def _json(self, code: int, value: Any) -> None:
        self._answer(code, "application/json", json.dumps(value).encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", '"0123456789abcdef0123456789abcdef"')
        self.send_header("last-modified", "Sun, 22 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *_: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that closes its connection is no error, and stderr is the command's."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ThreadingHTTPServer]:
    with QuietServer(("127.0.0.1", 0), StrangersAws) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Look:
    """A folder with a hostile store, spec and dataset, and an empty one from which all is called."""

    def __init__(self, home: Path, audit: Audit, port: int) -> None:
        self.home, self.here, self.audit = home, home / "here", audit
        self.url = f"http://127.0.0.1:{port}"
        audit.told = {("127.0.0.1", port)}
        self.store = home / "store"
        self.runs = hostile_store(self.store)
        sound = self.runs["sound"]
        every = [run for runs in self.runs.values() for run in runs]
        self.some = {
            "RUN": [*every, f"no{STEERING}", "../../owned"],
            "DONE": [run for run in sound if run.endswith(("-done", "-failed"))],
            "FEW": [*(run for run in sound if run.endswith("-done")), "steering-kept", "far-off", "pipe"],
        }
        self.here.mkdir()
        code = "from pathlib import Path\nPath('owned-by-an-import').write_text('owned')\n"
        (home / "path").mkdir()
        (home / "path" / f"{METRIC_MODULE}.py").write_text(code)
        self._write_spec()

    def _write_spec(self) -> None:
        data = self.home / "data"
        data.mkdir()
        rows: list[Any] = [
            {"file_name": name, "output": STEERING, "page": f"{STEERING}{{{{ 7 * 7 }}}}"}
            for name in ("../outside/secret.txt", "../../etc/passwd", f"a{STEERING}.png", "none.png")
        ]
        (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        others = [*rows, None, [], STEERING, {"messages": STEERING}]
        (self.home / "train.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in others) + "[" * 50_000
        )
        spec: dict[str, dict[str, Any]] = {
            "dataset": {"source": str(data), "on_bad_row": "skip"},
            "prompt": {"user": f"{{{{ page }}}}{STEERING}", "assistant": "{{ output }}"},
            "model": {"base": "amazon.nova-lite-v1:0:300k"},
            "training": {"role_arn": "arn:aws:iam::123456789012:role/" + STEERING},
            "test": {"metrics": [f"{METRIC_MODULE}:score", f"os:system{STEERING}"]},
            "storage": {"bucket": f"bucket{STEERING}"},
            "events": {"webhook": "https://evil.example/hook", "file": str(self.here / "events.jsonl")},
        }
        text = ""
        for section, table in spec.items():
            text += f"[{section}]\n" + "".join(
                f"{key} = {json.dumps(value)}\n" for key, value in table.items()
            )
        (self.home / "run.toml").write_text(text.replace("\x7f", ""))

    def calls(self, name: str) -> Iterator[list[str]]:
        places = {
            "SPEC": str(self.home / "run.toml"),
            "JSONL": str(self.home / "train.jsonl"),
        }
        for words in READS[name]:
            whole = [
                *name.split(),
                *(places.get(word, word.replace("STORE", str(self.store))) for word in words),
            ]
            if kind := self.some.keys() & set(words):
                for run in self.some[kind.pop()]:
                    yield [run if word in self.some else word for word in whole]
            elif "EVERY" in words:
                yield [*whole[:-1], *(run for run in self.some["FEW"] if run in self.runs["sound"])]
            else:
                yield whole

    def call(self, words: list[str], **environment: str) -> tuple[int, str, str]:
        """In this process, as a shell in the empty folder would: exit code, stdout and stderr."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VLM_"))}
        env = kept | {
            "HOME": str(self.home / "user"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_ENDPOINT_URL": self.url,
            "VLM_RUNNER_CHECKPOINT_URI": str(self.store),
            "VLM_RUNNER_POLL__GONE_AFTER": "0.02",
            **environment,
        }
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        code: Any = 0
        before = Path.cwd()
        with (
            mock.patch.dict(os.environ, env, clear=True),
            mock.patch.object(sys, "argv", ["vlm-runner", *words]),
            mock.patch.object(sys, "path", [str(self.home / "path"), *sys.path]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            os.chdir(self.here)
            self.audit.watching = True
            try:
                main()
            except SystemExit as end:
                code = end.code
            except Exception:  # noqa: BLE001 - the test names the command
                code = traceback.format_exc(limit=-3)
            finally:
                self.audit.watching = False
                os.chdir(before)
                structlog.reset_defaults()
        said = [stream.buffer.getvalue().decode(errors="surrogateescape") for stream in (out, err)]
        return code, said[0], said[1]

    def tree(self) -> dict[str, Any]:
        """All that is in the home but the cache of AWS's prices."""
        found: dict[str, Any] = {}
        for folder, names, files in os.walk(self.home):
            for name in [*names, *files]:
                path = Path(folder, name)
                state = path.lstat()
                found[str(path.relative_to(self.home))] = (state.st_mode, state.st_size, state.st_mtime_ns)
        return {path: what for path, what in found.items() if not path.startswith("cache")}


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory, audit: Audit, endpoint: ThreadingHTTPServer) -> Look:
    return Look(tmp_path_factory.mktemp("home"), audit, endpoint.server_address[1])


@pytest.mark.parametrize("name", sorted(READS))
def test_a_command_that_looks_is_safe(name: str, look: Look) -> None:
    before = look.tree()
    look.audit.connections.clear()
    look.audit.started.clear()
    faults: list[str] = []
    for words in look.calls(name):
        code, out, err = look.call(words)
        shown = f"vlm-runner {' '.join(words)!r}"
        if code not in EXIT_CODES or (code == 1 and name != "health"):
            faults.append(f"{shown} exits with {code}: {err}")
        if found := CONTROL.findall(out + err):
            faults.append(f"{shown} prints {sorted(set(found))!r}")
        if "--output" not in words and "\nFORGED" in out + err:
            faults.append(f"{shown} prints a line of the run's own: {(out + err)[:1000]!r}")
        if "Traceback" in out + err or "the secret of another" in out + err:
            faults.append(f"{shown} prints {(out + err)[:2000]!r}")
        if "--output" in words and ("<script>owned" in out or "<img src=x" in out):
            faults.append(f"{shown} lets markup through")

    after = look.tree()
    assert not faults, "\n\n".join([f"{len(faults)} faults", *faults[:12]])
    assert after == before
    assert (look.audit.connections, look.audit.started) == ([], [])


async def test_the_library_reads_a_hostile_store(look: Look) -> None:
    """`Runner.get`, the list of runs and `lease.load` give a run or an error of ours, and nothing else."""
    before = look.tree()
    async with Runner.open(Settings(checkpoint_uri=str(look.store), region="us-east-1")) as runner:
        listed = await runner.store.run_ids()
        for run_id in look.runs["sound"]:
            assert (await runner.get(run_id)).run_id == run_id
        for run_id in look.runs["damaged"]:
            with pytest.raises(CheckpointError):
                await runner.get(run_id)
        for run_id in ("nowhere", "no-such-run"):
            with pytest.raises(RunNotFound):
                await runner.get(run_id)
        for run_id in ("../../owned", f"odd{STEERING}", "a b", "..owned", "", "/etc"):
            with pytest.raises(UsageError):
                await runner.get(run_id)

    assert set(look.runs["sound"]) <= set(listed)
    assert all(is_path_segment(run_id) for run_id in listed)
    assert look.tree() == before


SUBSTITUTES: Final[tuple[Any, ...]] = (None, True, 7, -(10**400), 0.5, "", "text\x1b", [], [7], {}, {"a": 7})


def places(value: Any) -> Iterator[tuple[dict[str, Any] | list[Any], str | int]]:
    """Each place within a JSON value, with what holds it; of a list, its first and last."""
    keys: list[Any] = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1} if value else ())
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def test_a_sealed_checkpoint_of_any_shape_is_shown_or_refused() -> None:
    """
    A checksum proves that a document was not damaged, and not that it was ours: each value is replaced by
    those of other types, as the quick view of `status` meets them.
    """
    now, reach = datetime.now(UTC), Reach()
    for kinds in (ENDINGS["kept"], ENDINGS["failed"]):
        table = table_of(hostile_checkpoint("shape", kinds, "x"))
        table["holder"] = this_process("test").model_dump()
        for holder, key in places(table):
            kept = holder[key]  # type: ignore[index]
            for value in SUBSTITUTES:
                holder[key] = value  # type: ignore[index]
                try:
                    seen = CheckpointView.from_json(table)
                except UNFIT:
                    continue
                lines = status_lines(seen, "here", state_of(seen, 5.0), now, reach=reach)
                assert not CONTROL.search(plain(lines))
                assert run_exit_code(seen.run) in EXIT_CODES
            holder[key] = kept  # type: ignore[index]


def test_what_a_person_is_told_to_paste_is_one_command() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:provisioned-model/x; touch owned"

    for mode in ("provisioned", "on-demand"):
        assert arn in shlex.split(delete_command(mode, arn, "us-east-1 $(touch owned)"))
    run = hostile_checkpoint("paste", ENDINGS["renting"], "\"]); owned() #{0.x}'").run
    for line in plain(call_lines(RunView.of(run))).splitlines():
        if line.strip().startswith("aws "):
            assert run.serving is not None
            assert run.serving.arn in shlex.split(line)
    python = plain(call_lines(RunView.of(run))).partition("or in Python:")[2]
    nodes = ast.walk(ast.parse(textwrap.dedent(python.strip("\n"))))
    named = [one.func.id for one in nodes if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)]
    assert named == ["Path"]
