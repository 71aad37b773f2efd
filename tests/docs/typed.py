"""
Types the commands of a page into a real shell; `vlm-runner`, `aws` and `curl` are answered here.

The shell is bash, so pipes, variables, redirections and here-documents are its own. Each of the three is a
program of ten lines in the shell's PATH that passes its words, folder and environment to this process, which
has imported long ago what they need. `aws` is held against AWS's service models: an option that no operation
has, or a name that is misspelt, is an error, as with the AWS CLI.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import boto3
import jmespath
from botocore import xform_name
from botocore.exceptions import ClientError
from tests.e2e.laptop import run_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.e2e.laptop import Laptop

ROOT = Path(__file__).parents[2]
ANSWERED = ("vlm-runner", "aws", "curl")
ADDRESS = "http://127.0.0.1:4599"
"""Of the sandbox, in every page."""
ENDED_BY_AN_ERROR = "trap 'set $?; [ $1 = 101 ] || exit $1' ERR"
PROGRAM = """#!{python} -IS
import json, os, socket, sys
desk = socket.socket(socket.AF_UNIX)
desk.connect({path!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
asked = {{"words": words, "folder": os.getcwd(), "env": dict(os.environ)}}
desk.sendall(json.dumps(asked).encode() + b"\\n")
answer = json.loads(desk.makefile("rb").readline())
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


FENCE = re.compile(
    r"(?:^<!-- not run here: (?P<why>[^>]+?) -->\n)?^```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Each block of commands of a page, and why it is not run here; empty if it is."""
    whole = re.search(r"^<!-- commands here are not run: (.+?) -->$", text, re.MULTILINE | re.DOTALL)
    for fence in FENCE.finditer(text):
        if fence["language"] in {"console", "bash"}:
            yield fence["body"], fence["why"] or (whole[1] if whole else "")


def nameless(text: str) -> list[str]:
    """Lines that look like commands, in blocks that name no language."""
    lines = [
        line for fence in FENCE.finditer(text) if not fence["language"] for line in fence["body"].split("\n")
    ]
    return [line for line in lines if re.match(r"\$ |(vlm-runner|aws|make|python|docker) [\w-]", line)]


def commands(block: str) -> str:
    """What is typed: the lines after a prompt, and what belongs to their here-documents."""
    typed, until = [], None
    for line in block.splitlines():
        if until is not None:
            typed.append(line)
            until = None if line == until else until
        elif line.startswith("$ "):
            typed.append(line.removeprefix("$ "))
            found = re.search(r"<<'?(\w+)'?", line)
            until = found[1] if found else None
        elif typed and typed[-1].endswith("\\"):
            typed.append(line)
    return "\n".join(typed)


class Typist:
    """Somebody at a terminal, with a sandbox in place of AWS and a home of their own."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop, self.home = laptop, laptop.home / "somebody"
        self.before: dict[str, Callable[[], object]] = {}
        """What happens when a command of vlm-runner is typed, before it runs."""
        (self.home / ".aws").mkdir(parents=True)
        (self.home / ".aws" / "credentials").write_text(
            "[default]\naws_access_key_id = test\naws_secret_access_key = test\n"
        )

    def types(self, page: str) -> str:
        """
        All that a page has to type, in one shell; what came out. A command that fails ends it; exit code 101
        says only that a run is not finished.
        """
        text = (ROOT / page).read_text(encoding="utf-8")
        script = "\n".join(commands(body) for body, why in blocks(text) if not why)
        return self.run(script.replace(ADDRESS, self.laptop.url))

    def run(self, script: str) -> str:
        path = self.home / "desk"
        with socket.socket(socket.AF_UNIX) as desk:
            desk.bind(str(path))
            desk.listen()
            desk.settimeout(0.2)
            environment = {"PATH": f"{self._programs(path)}:/usr/bin:/bin", "HOME": str(self.home)}
            with (self.home / "out").open("w+b") as out:
                shell = subprocess.Popen(
                    ["bash", "-Euxo", "pipefail", "-c", f"{ENDED_BY_AN_ERROR}\n{script}"],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.home, env=environment,
                )  # fmt: skip
                try:
                    while shell.poll() is None:
                        with contextlib.suppress(TimeoutError):
                            self._answer(desk.accept()[0])
                finally:
                    shell.kill()
                    shell.wait()
                out.seek(0)
                said = out.read().decode()
        path.unlink()
        assert shell.returncode == 0, said
        return said

    def _programs(self, path: Path) -> Path:
        folder = self.home / "bin"
        folder.mkdir(exist_ok=True)
        for name in ANSWERED:
            (folder / name).write_text(PROGRAM.format(python=sys.executable, path=str(path)))
            (folder / name).chmod(stat.S_IRWXU)
        return folder

    def _answer(self, asker: socket.socket) -> None:
        with asker, asker.makefile("rb") as lines:
            asker.settimeout(None)
            asked = json.loads(lines.readline())
            done = self._perform(asked["words"], Path(asked["folder"]), self._environment(asked["env"]))
            answer = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
            asker.sendall(json.dumps(answer).encode() + b"\n")

    def _environment(self, typed: Mapping[str, str]) -> dict[str, str]:
        """The sandbox's address and pace, whatever the page says of them; credentials are the page's own."""
        given = {name: value for name, value in self.laptop.environment.items() if "ACCESS_KEY" not in name}
        files = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
        return (
            given
            | {name: value for name, value in typed.items() if name.startswith(("AWS_", "VLM_RUNNER_"))}
            | {name: str(self.home / ".aws" / file) for name, file in files.items()}
            | {"AWS_ENDPOINT_URL": self.laptop.url}
        )

    def _perform(
        self, words: list[str], folder: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        match words:
            case ["vlm-runner", "sandbox", "serve", *_]:
                return subprocess.CompletedProcess(words, 0, "", "")  # it runs already
            case ["vlm-runner", command, *rest]:
                self.before.get(command, int)()
                return run_here([command, *rest], environment, folder)
            case ["curl", "-s", address]:
                with urlopen(address, timeout=10) as response:
                    return subprocess.CompletedProcess(words, 0, response.read().decode(), "")
            case ["aws", service, operation, *options]:
                return _aws(service, operation, options, folder, environment)
            case _:
                return subprocess.CompletedProcess(words, 2, "", f"nobody answers {words}\n")


def _aws(
    service: str, operation: str, options: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """As the AWS CLI, whose options are the members of an operation's input in lower case with hyphens."""
    words = ["aws", service, operation, *options]
    given = {options[at].removeprefix("--"): options[at + 1] for at in range(0, len(options), 2)}
    query, form = given.pop("query", None), given.pop("output", "json")
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        client = boto3.Session().client(service)
        name = client.meta.method_to_api_mapping[operation.replace("-", "_")]
        shape = client.meta.service_model.operation_model(name).input_shape
        members = {xform_name(member, "-"): member for member in (shape.members if shape else {})}
        asked = {members[option]: _value(value, folder) for option, value in given.items()}
        answer = getattr(client, operation.replace("-", "_"))(**asked)
    except KeyError as error:
        return subprocess.CompletedProcess(words, 252, "", f"aws: unknown: {error}\n")
    except ClientError as error:
        return subprocess.CompletedProcess(words, 254, "", f"{error}\n")
    finally:
        os.environ.clear()
        os.environ.update(before)
    answer.pop("ResponseMetadata", None)
    found: Any = jmespath.search(query, answer) if query else answer
    text = str(found) if form == "text" else json.dumps(found, default=str)
    return subprocess.CompletedProcess(words, 0, f"{text}\n" if answer else "", "")


def _value(text: str, folder: Path) -> str:
    return (folder / text.removeprefix("file://")).read_text() if text.startswith("file://") else text
