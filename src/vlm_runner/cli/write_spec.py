"""init: a commented spec to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import tomlkit

from vlm_runner.cli import console
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.data_source import access
from vlm_runner.errors import UsageError, VlmRunnerError
from vlm_runner.redact import one_line
from vlm_runner.sample import sample_folder
from vlm_runner.spec import DatasetSpec

if TYPE_CHECKING:
    from vlm_runner.cli.suggest import Suggestion
    from vlm_runner.dataset.source import Peek

DEFAULT_SOURCE = "doodoo77/For_VLM_accessibility"

DATASET = """\
[dataset]
source = {source}                # Hub id, local folder or file, or s3://bucket/folder/
# revision = "main"              # resolved to a commit at start, and kept
split = "train"
# validation_split = "validation"      # held-out rows: for the validation loss, and for the test calls
# validation_fraction = 0.1            # or cut them off the split
# columns = {{ image = "screenshot", html = "source", output = "findings" }}
# validation_column = "part"           # or take the rows where a column says "validation"
# group_column = "site"          # rows of one site stay on one side of validation_fraction
# drop_duplicates = true
# on_bad_row = "skip"            # default: one row that cannot be used ends the run, and is named
"""

PROMPT = """\
[prompt]
preset = "accessibility"         # or system, user and assistant templates (Jinja2) over the columns
# preset = "accessibility-regions"     # a column of lists: first the whole page, then regions of it
# preset = "qa"                  # columns question and answer, which may be a list of right ones
# preset = "caption"             # column caption
# preset = "messages"            # a column of turns with role and content, as OpenAI and TRL have them
# preset = "openai-vision"       # the same with the images in it: OpenAI's vision fine-tuning
# preset = "sharegpt"            # a column of turns with from and value, as LLaVA has them
# preset = "bedrock"             # records for Bedrock (bedrock-conversation-2024)
# strip = ["<image>"]            # words to remove from the rendered texts, ignoring case
"""

TEMPLATE = """\
# What one run shall do. Start it with: vlm-runner start {name}
# What costs money has no default: look at [model], [training] and [serving].

{dataset}
{prompt}
[images]
format = "png"                   # "keep" sends JPEG, WebP and GIF as they are
# fit = true                     # downscale what is larger than the model takes

[model]
base = "amazon.nova-lite-v1:0:300k"    # us-east-1
# base = "amazon.nova-pro-v1:0:300k"   # us-east-1
# base = "amazon.nova-2-lite-v1:0:256k"  # us-east-1; 200 training rows or more

[training]
role_arn = {role_arn}
hyperparameters = {{ epochCount = 2, learningRate = 0.00001 }}
# kms_key = "arn:aws:kms:us-east-1:123456789012:key/…"              # encrypts the custom model
# vpc = {{ subnets = ["subnet-0abc"], security_groups = ["sg-0abc"] }}  # for the job; see docs/security.md
# deadline = "24h"               # then it is stopped: jobs have hung for days; see docs/reliability.md
# job_name = "team-a-{{run_id}}-{{uid}}"  # or model_name: a run finds its own by {{uid}}

[serving]
mode = "auto"                    # "on-demand" (by the token) if the model can, or "provisioned" (by the hour)
# mode = "none"                  # train only
# model_units = 1                # of a provisioned throughput
keep = false                     # true or "2h": hand it to you instead of deleting it; a throughput bills on
# [serving.dead_man_switch]      # AWS itself deletes the endpoint, even if no runner ever comes back
# after = "12h"                  # from the request for it; see docs/reliability.md
# role_arn = "arn:aws:iam::123456789012:role/vlm-runner-switch"     # vlm-runner iam prints its policies

[test]
rows = 5
# compare_base = true            # ask the base model the same
# concurrency = 8                # calls at once, at most (64); it grows to what Bedrock takes
# metrics = ["my_package.metrics:closeness"]   # adds to the built-in; is code, see docs/security.md

[storage]
# bucket = "vlm-accessibility-{{account}}-{{region}}"
# encryption = "aws:kms"         # or "AES256": asked for in every upload, where the bucket demands it
# kms_key = "arn:aws:kms:us-east-1:123456789012:key/…"              # else the account's own key for S3
# prefix = "team"                # in front of all keys; without it runs find keys of their own

# [events]                       # CloudEvents 1.0; a failing sink does not affect the run
# file = "events.jsonl"
# webhook = "https://example.com/hook"   # signed if VLM_RUNNER_EVENTS__WEBHOOK_SECRET is set
# event_bus = "default"
# sns_topic_arn = "arn:aws:sns:us-east-1:123456789012:runs"

# [tags]                         # on job, model and endpoint, beside the run's own
# team = "accessibility"

[aws]
region = {region}

# [budget]
# max_cost = 100.0               # US dollars, a hard stop; needs all prices: see vlm-runner plan --help
"""


LONGEST_COMMENT = 400
"""Characters."""
LOOKED_AT = 8
"""Rows: enough to tell a shape, and little to download."""


@click.command()
@click.argument("spec_file", metavar="[FILE]", default="run.toml", type=click.Path(dir_okay=False))
@click.option("--source", metavar="X", help="The dataset; a few of its rows are read.")
@click.option("--sample", is_flag=True, help="The dataset that comes with vlm-runner: 25 web pages.")
@click.option("--config", metavar="NAME", help="Config, for a dataset that has several.")
@click.option(
    "--role-arn", default="arn:aws:iam::123456789012:role/bedrock-sft", help="Role of the customization job."
)
@click.option("--region", default="us-east-1", show_default=True, help="Region where Nova is fine-tuned.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(
    spec_file: str,
    source: str | None,
    config: str | None,
    role_arn: str,
    region: str,
    *,
    sample: bool,
    force: bool,
) -> None:
    """Write a commented spec for Amazon Nova Lite.

    FILE is run.toml by default. With --source the spec fits that dataset: its splits, columns and preset,
    each with the reason; what is unsure is marked, with the choices.

    \b
    Example:
        vlm-runner init --source ./my-dataset --role-arn arn:aws:iam::111122223333:role/sft
        vlm-runner init --sample
    """
    if sample and source is not None:
        raise UsageError("--sample is a dataset, and so is --source.", hint="Give one of them.")
    source = str(sample_folder()) if sample else source
    path = Path(spec_file)
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", hint="Overwrite it with: --force")
    dataset, prompt, unsure = sections(source, config, region)
    values = {"role_arn": role_arn, "region": region}
    # A JSON string is a TOML basic string too.
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    text = TEMPLATE.format(name=spec_file, dataset=dataset, prompt=prompt, **quoted)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    for each in unsure:
        console.say(f"Unsure: {each}.")
    console.say(f"Wrote {path}. Edit it, then: vlm-runner start {path}")


def sections(
    source: str | None, config: str | None = None, region: str | None = None
) -> tuple[str, str, list[str]]:
    """`[dataset]` and `[prompt]` for a source, and what is unsure about them."""
    shown = json.dumps(source or DEFAULT_SOURCE, ensure_ascii=False)
    if source is None:
        return DATASET.format(source=shown), PROMPT, []
    from vlm_runner.cli.suggest import suggest  # noqa: PLC0415 - `init` without a source needs none of it
    from vlm_runner.dataset.described import ConfigNeeded  # noqa: PLC0415 - as below
    from vlm_runner.dataset.source import peek  # noqa: PLC0415 - 1.5 s of CPU

    opened_with = access(settings_for(Where(None, None, None, None)), region)
    configs: tuple[str, ...] = ()

    def look(config: str | None) -> Peek:
        return peek(DatasetSpec(source=source, config=config), LOOKED_AT, **opened_with)

    try:
        try:
            looked = look(config)
        except ConfigNeeded as error:
            if config is not None or not error.configs:
                raise
            config, configs = error.configs[0], error.configs
            looked = look(config)
    except VlmRunnerError as error:
        said = _comment(error.message).rstrip(".")
        note = f"# The dataset could not be looked at: {said}\n"
        return note + DATASET.format(source=shown), PROMPT, [f"the dataset could not be looked at: {said}"]
    made = suggest(looked)
    if configs:
        made.unsure.insert(0, f"which config: {', '.join(configs)}; the first of them is taken")
    return _dataset_section(shown, config, made), _prompt_section(made), made.unsure


def _dataset_section(source: str, config: str | None, made: Suggestion) -> str:
    lines = [f"# Written after a look at its first rows: {_comment('; '.join(made.seen))}."]
    lines += [f"# UNSURE: {_comment(each)}." for each in made.unsure]
    lines += ["[dataset]", f"source = {source}"]
    lines += [f"config = {_toml(config)}"] if config is not None else []
    lines += [_line(key, value, why) for key, value, why in made.dataset]
    if made.columns:
        pairs = ", ".join(f"{role} = {_toml(name)}" for role, name in made.columns.items())
        lines.append(f"columns = {{ {pairs} }}")
    lines += [
        '# on_bad_row = "skip"            # default: a row that cannot be used ends the run, and is named'
    ]
    return "\n".join(lines) + "\n"


def _prompt_section(made: Suggestion) -> str:
    lines = ["[prompt]", *(_line(key, value, why) for key, value, why in made.prompt)]
    lines += ["# Or another preset, or templates of your own: see docs/your-data.md."]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, why: str) -> str:
    return f"{f'{key} = {_toml(value)}':<32} # {_comment(why)}"


def _comment(text: str) -> str:
    """Column names and messages are a stranger's: they must not end the comment."""
    return one_line(text, LONGEST_COMMENT)


def _toml(value: Any) -> str:
    return str(tomlkit.item(value).as_string())
