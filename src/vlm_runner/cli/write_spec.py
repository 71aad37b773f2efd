"""init: a commented spec to begin with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vlm_runner.errors import UsageError

TEMPLATE = """\
# What one run shall do. Start it with: vlm-runner start {name}
# What costs money has no default: look at [model], [training] and [serving].

[dataset]
source = {source}                # Hub id, local folder or file, or saved dataset
# revision = "main"              # resolved to a commit at start, and kept
split = "train"
# validation_split = "validation"      # held-out rows: for the validation loss, and for the test calls
# validation_fraction = 0.1            # or cut them off the split
# columns = {{ image = "screenshot", html = "source", output = "findings" }}
# validation_column = "part"           # or take the rows where a column says "validation"
# group_column = "site"          # rows of one site stay on one side of validation_fraction
# drop_duplicates = true
# on_bad_row = "skip"            # default: one row that cannot be used ends the run, and is named

[prompt]
preset = "accessibility"         # or system, user and assistant templates (Jinja2) over the columns
# preset = "accessibility-regions"     # a column of lists: first the whole page, then regions of it
# preset = "qa"                  # columns question and answer
# preset = "messages"            # a column of OpenAI's messages, their texts
# strip = ["<image>"]            # words to remove from the rendered texts, ignoring case

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
# concurrency = 4                # calls at once, at most; fewer where Bedrock throttles
# metrics = ["my_package.metrics:closeness"]   # adds to the built-in; is code, see docs/security.md

[storage]
# bucket = "vlm-accessibility-{{account}}-{{region}}"
# encryption = "aws:kms"         # or "AES256": asked for in every upload, where the bucket demands it
# kms_key = "arn:aws:kms:us-east-1:123456789012:key/…"              # else the account's own key for S3
# prefix = "second-try"          # another dataset or prompt in the same bucket

# [events]                       # CloudEvents 1.0; a failing sink does not affect the run
# file = "events.jsonl"
# webhook = "https://example.com/hook"   # signed if VLM_RUNNER_EVENTS__WEBHOOK_SECRET is set
# event_bus = "default"
# sns_topic_arn = "arn:aws:sns:us-east-1:123456789012:runs"

[aws]
region = {region}

# [budget]
# max_cost = 100.0               # US dollars, a hard stop; needs all prices: see vlm-runner plan --help
"""


@click.command()
@click.argument("spec_file", metavar="[FILE]", default="run.toml", type=click.Path(dir_okay=False))
@click.option("--source", default="doodoo77/For_VLM_accessibility", show_default=True, help="The dataset.")
@click.option("--role-arn", default="arn:aws:iam::123456789012:role/bedrock-sft", help="The job's role.")
@click.option("--region", default="us-east-1", show_default=True, help="Where Nova is fine-tuned.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(spec_file: str, source: str, role_arn: str, region: str, *, force: bool) -> None:
    """Write a commented spec for Amazon Nova Lite.

    FILE is run.toml by default.

    \b
    Example:
        vlm-runner init --source ./my-dataset --role-arn arn:aws:iam::111122223333:role/sft
    """
    path = Path(spec_file)
    values = {"source": source, "role_arn": role_arn, "region": region}
    # A JSON string is a TOML basic string too.
    text = TEMPLATE.format(name=spec_file, **{key: json.dumps(value) for key, value in values.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already.", hint="Overwrite it with: --force") from None
    click.echo(f"Wrote {path}. Edit it, then: vlm-runner start {path}", err=True)
