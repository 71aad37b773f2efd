"""`lint --fix` writes settings into a spec, whatever way the spec is written in."""

from __future__ import annotations

import tomllib

import pytest

from vlm_runner.lint.finding import LintReport, Location, Severity, SubsetStats
from vlm_runner.lint.fix import Fix, fixes, rewritten
from vlm_runner.lint.rules import rule
from vlm_runner.models import find

NOVA = find("amazon.nova-lite-v1:0:300k")
FIT = Fix("images", "fit", value=True, effect="images are downscaled")
STRIP = Fix("prompt", "strip", ("User:", 'a "quoted" word'), "removed from the rendered texts")
SPEC = """\
# my run

model = { base = "amazon.nova-lite-v1:0:300k" }  # the model
dataset.source = "./data"
training.role_arn = "arn:aws:iam::123456789012:role/sft"
"""


@pytest.mark.parametrize(
    "written",
    [
        "",
        "images = {}\n",
        'images = { format = "keep" }\n',
        "images.fit = false\n",
        'images.format = "png"\n',
        "[images]\n",
        '[ images ]  # here\nfit = false  # for now\nformat = "png"\n',
        '["images"]\n"fit"=false\n',
        '[test]\nrows = 2\n[images]\nformat = "png"\n\n[budget]\nmax_cost = 5.0\n',
    ],
)
def test_a_setting_is_written_whatever_the_style_of_the_file(written: str) -> None:
    text = SPEC + written
    before = tomllib.loads(text)

    after = rewritten(text, [FIT])

    assert tomllib.loads(after) == before | {"images": {**before.get("images", {}), "fit": True}}
    assert after.startswith(SPEC)


def test_the_comment_says_what_the_setting_does() -> None:
    assert "fit = true # lint --fix: images are downscaled\n" in rewritten(SPEC, [FIT])


def test_words_are_added_to_those_that_are_stripped_already() -> None:
    text = SPEC + '\n[prompt]\npreset = "accessibility"\nstrip = [\n  "System:",  # of an export\n]\n'

    assert tomllib.loads(rewritten(text, [STRIP]))["prompt"]["strip"] == [
        "System:", "User:", 'a "quoted" word',
    ]  # fmt: skip


def test_a_spec_without_a_prompt_keeps_the_default_preset() -> None:
    assert tomllib.loads(rewritten(SPEC, [STRIP]))["prompt"]["preset"] == "accessibility"


def test_a_list_keeps_its_comments_and_holds_no_word_twice() -> None:
    text = SPEC + '\n[prompt]\npreset = "qa"\nstrip = [\n  "user:",  # of an export\n]  # for Nova\n'

    after = rewritten(text, [STRIP])

    assert tomllib.loads(after)["prompt"]["strip"] == ["user:", 'a "quoted" word']
    assert "# of an export\n" in after
    assert "# for Nova; lint --fix: removed from the rendered texts\n" in after


DATASET = "[dataset]\nsource = 'd'\n"
MODEL = "[model]\nbase = 'amazon.nova-lite-v1:0:300k'\n"
TRAINING = "[training]\nrole_arn = 'arn:aws:iam::123456789012:role/sft'\n"


@pytest.mark.parametrize(
    "text",
    [
        "dataset.source = 'd'\ndataset.columns.image = 'x'\n" + MODEL + TRAINING,
        "dataset = { source = 'd', columns = { image = 'x' } }\n" + MODEL + TRAINING,
        "[dataset.columns]\nimage = 'x'\n" + DATASET + MODEL + TRAINING,
        DATASET + MODEL + "[dataset.columns]\nimage = 'x'\n" + TRAINING + "# the end",
        DATASET + MODEL + TRAINING + "[prompt]\nturns = '{% turn \"user\" %}{{ q }}{% endturn %}'\n",
        "prompt.preset = 'sharegpt'\n" + DATASET + MODEL + TRAINING,
        DATASET + MODEL + TRAINING + "[serving.dead_man_switch]\nafter = '12h'\n"
        "role_arn = 'arn:aws:iam::123456789012:role/s'\n",
    ],
)  # fmt: skip
def test_all_fixes_leave_a_spec_that_says_what_it_said_and_more(text: str) -> None:
    words = ("User:", 'a "quoted" word')

    before = tomllib.loads(text)
    after = tomllib.loads(rewritten(text, [FIT, STRIP, Fix("dataset", "on_bad_row", "skip", "left out")]))

    assert after == before | {
        "dataset": before["dataset"] | {"on_bad_row": "skip"},
        "images": {"fit": True},
        "prompt": before.get("prompt", {"preset": "accessibility"}) | {"strip": list(words)},
    }


def test_comments_and_line_ends_stay() -> None:
    text = SPEC.replace("\n", "\r\n") + '[prompt]  # of the preset\r\npreset = "accessibility"\r\n'

    after = rewritten(text, [STRIP, FIT])

    for comment in ("# my run\r\n", "# the model\r\n", "[prompt]  # of the preset\r\n"):
        assert comment in after
    assert after.count("\n") == after.count("\r\n")


def test_a_fix_reads_as_a_line_of_the_spec() -> None:
    assert str(FIT) == "[images] fit = true: images are downscaled"
    assert str(STRIP).startswith('[prompt] strip = ["User:", "a \\"quoted\\" word"]: ')


@pytest.mark.parametrize(
    ("bad", "rows", "offered"), [(1, 10, True), (1, 9, False), (10, 100, True), (11, 100, False)]
)
def test_rows_are_left_out_where_at_most_a_tenth_is_bad(bad: int, rows: int, offered: bool) -> None:
    report = LintReport("model", "source", census={"train": SubsetStats(rows=rows)})
    report.findings = [rule("I120").found("cut off", Location("train", n), fixes="skip") for n in range(bad)]
    assert all(finding.severity is Severity.ERROR for finding in report.findings)

    assert ("on_bad_row" in {fix.key for fix in fixes(report, NOVA)}) is offered
