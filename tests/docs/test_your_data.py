"""docs/your-data.md: each example is what it says, and `init` finds it by itself."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.e2e.laptop import picture

from vlm_runner.cli import cli
from vlm_runner.prompts import preset_names

TEXT = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    name: (json.loads(row), tomllib.loads(spec))
    for name, row, spec in re.findall(
        r"<!-- example: (.*?) -->\n```json\n(.*?)```\n```toml\n(.*?)```", TEXT, re.DOTALL
    )
}
FOUND = [name for name in EXAMPLES if not name.endswith(", by hand")]
ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"
REST = f"""[model]
base = "amazon.nova-lite-v1:0:300k"
[training]
role_arn = "{ROLE}"
[aws]
region = "us-east-1"
"""


def written(folder: Path, name: str, rows: int = 10) -> Path:
    """The example as JSON lines, each row with pictures of its own beside the file."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(rows):

        def own(value: Any, row: int = number) -> Any:
            if isinstance(value, list):
                return [own(each) for each in value]
            if isinstance(value, str) and value.endswith(".png") and "<" not in value:
                value = value.rpartition("/")[2]  # an object in S3 lies beside the file here
                (folder / f"{row}-{value}").write_bytes(picture(100 * row + len(value)))
                return f"{row}-{value}"
            if isinstance(value, dict):
                return {key: own(each) for key, each in value.items()}
            if value == "data:image/png;base64,…":
                return f"data:image/png;base64,{base64.b64encode(picture(row)).decode()}"
            return value

        lines.append(json.dumps({key: own(value) for key, value in EXAMPLES[name][0].items()}))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.jsonl"


def test_every_preset_has_an_example() -> None:
    presets = {spec["prompt"].get("preset") for _, spec in EXAMPLES.values()}

    assert set(preset_names()) <= presets
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("name", FOUND)
def test_init_writes_the_spec_that_the_page_shows_and_lint_finds_nothing_wrong(
    name: str, tmp_path: Path
) -> None:
    source, spec = written(tmp_path / "data", name), tmp_path / "run.toml"

    done = CliRunner().invoke(cli, ["init", str(spec), "--source", str(source), "--role-arn", ROLE])

    assert done.exit_code == 0, done.output
    made = tomllib.loads(spec.read_text(encoding="utf-8"))
    assert made["prompt"] == EXAMPLES[name][1]["prompt"]
    assert "columns" not in made["dataset"]
    linted = CliRunner().invoke(cli, ["lint", str(spec), "--json"])
    assert linted.exit_code == 0, linted.output
    assert "8 of the 8 rows that were looked at make a record" in spec.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in FOUND])
def test_an_example_written_by_hand_is_sound(name: str, tmp_path: Path) -> None:
    source, spec = written(tmp_path / "data", name), tmp_path / "run.toml"
    prompt = re.search(rf"<!-- example: {name} -->.*?```toml\n(.*?)```", TEXT, re.DOTALL)
    assert prompt is not None
    spec.write_text(f'[dataset]\nsource = "{source}"\n{REST}{prompt[1]}', encoding="utf-8")

    linted = CliRunner().invoke(cli, ["lint", str(spec), "--json"])

    assert linted.exit_code == 0, linted.output


def test_preview_shows_the_turns_and_where_the_images_stand(tmp_path: Path) -> None:
    source, spec = written(tmp_path / "data", "messages"), tmp_path / "run.toml"
    spec.write_text(
        f'[dataset]\nsource = "{source}"\n{REST}[prompt]\npreset = "messages"\n', encoding="utf-8"
    )

    done = CliRunner().invoke(cli, ["preview", str(spec), "--row", "2", "--json"])
    shown = json.loads(done.stdout)

    assert [(turn["role"], turn["text"], turn["images"]) for turn in shown["turns"]] == [
        ("user", "[image 1]\nWhat is it?", [1]),
        ("assistant", "A cat.", []),
        ("user", "And here?\n[image 2]", [2]),
        ("assistant", "A dog.", []),
    ]
    assert (shown["user"], shown["assistant"]) == ("And here?", "A dog.")
    assert "── user (about" in CliRunner().invoke(cli, ["preview", str(spec), "--row", "2"]).output
