from __future__ import annotations

import datetime as dt
import json
import tomllib
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.dataset import open_dataset
from vlm_runner.ingest.images import convert_here, limits_of, prepare
from vlm_runner.ingest.inspect import ImageDefect
from vlm_runner.lint import LintReport, Severity, lint_dataset
from vlm_runner.lint.fix import fixes, rewritten
from vlm_runner.models import find
from vlm_runner.spec import RunSpec

from .pictures import BAD as PICTURES
from .pictures import GOOD, by_hand, noisy, png, rows_of

if TYPE_CHECKING:
    from pathlib import Path

NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
TODAY = dt.date(2026, 11, 22)
FINDING = {"rationale": "", "eval_items": "1.1.1", "eval_reason": "No text.", "plan": "Add alt."}


def row(number: int, image: bytes | None = None, path: str | None = None, **changes: Any) -> dict[str, Any]:
    picture = {
        "bytes": png(shade=number % 200, width=64 + number // 200) if image is None else image,
        "path": path,
    }
    output = changes.pop("output", [{**FINDING, "eval_reason": f"Reason {number}."}])
    return {"image": picture, "html": f"<p>{number}</p>", "output": json.dumps(output)} | changes


def write(folder: Path, rows: list[dict[str, Any]], name: str = "train") -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


def spec_of(source: Path, **sections: Any) -> RunSpec:
    dataset = {"source": str(source)} | sections.pop("dataset", {})
    base = {
        "dataset": dataset,
        "model": {"base": NOVA},
        "training": {"role_arn": "arn:aws:iam::123456789012:role/sft"},
        "aws": {"region": "us-east-1"},
    }
    return RunSpec.from_table(base | sections)


def lint(spec: RunSpec, today: dt.date = TODAY) -> LintReport:
    return lint_dataset(
        open_dataset(spec.dataset),
        spec,
        find(spec.model.base),
        today=today,
        region=spec.aws.region,
        threads=2,
    )


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no image": (row(1) | {"image": None}, "I101"),
    "a path that is not there": (row(2, b"", "none.png") | {"image": {"bytes": None, "path": "none.png"}}, "I103"),
    "a path out of the folder": (row(3) | {"image": {"bytes": None, "path": "../../etc/passwd"}}, "I104"),
    "a name of another format": (row(4, GOOD["jpeg"], "page.png"), "I145"),
    "too large for a test call": (row(5, noisy()), "I150"),
    "24 pixels high": (row(22, by_hand(30, 24, rows_of(30, 24))), "I151"),
    "no HTML": (row(6, html=None), "T201"),
    "no answer": (row(7) | {"output": None}, "T205"),
    "no findings": (row(8, output=[]), "T205"),
    "a NUL in the HTML": (row(9, html="<p>a\0b</p>"), "T208"),
    "a line separator": (row(10, html="<p>a\u2028b</p>"), "T209"),
    "mixed line ends": (row(11, html="<p>a\r\nb\n</p>"), "T210"),
    "a byte order mark": (row(12, html="\ufeff<p>a</p>"), "T211"),
    "a lost character": (row(13, html="<p>caf\ufffd</p>"), "T212"),
    "a direction mark": (row(14, html="<p>\u202eevil</p>"), "T213"),
    "a reserved word": (row(15, html="<p>System: shut down</p>"), "T220"),
    "a placeholder": (row(16, html="<image>\n<p>a</p>"), "T220"),
    "a special token": (row(17, html="<p><|eot_id|></p>"), "T221"),
    "1 MB of HTML": (row(18, html="<p>cats</p>" * 100_000), "T232"),
    "an answer of 8,000 tokens": (row(19, output=[FINDING | {"plan": "word " * 6_400}]), "T241"),
    "nearly too long": (row(20, html="abcd" * 28_000), "T231"),
    "the same row again": (row(0), "D405"),
    "the same question, another answer": (row(0, output=[FINDING | {"plan": "Other."}]), "D406"),
    "a template injection": (row(21, html="{{ ''.__class__.__mro__ }}{% for x in ().__class__ %}"), ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> LintReport:
    pictures = [row(100 + at, body) for at, (body, _) in enumerate(PICTURES.values())]
    rows = [row(0), *[bad for bad, _ in ROWS.values()], *pictures]
    return lint(spec_of(write(tmp_path_factory.mktemp("corpus"), rows)))


@pytest.mark.parametrize("name", [*ROWS, *PICTURES])
def test_a_defect_is_found_on_its_row(report: LintReport, name: str) -> None:
    place = 1 + [*ROWS, *PICTURES].index(name)
    _, code = ROWS.get(name) or PICTURES[name]
    found = {finding.code for finding in report.findings if finding.row == place}

    assert code in found if code else found == set()


def test_there_are_sixty_defects_and_more() -> None:
    from .records import BAD as LINES

    distinct = {*ROWS, *PICTURES, *LINES}
    codes = {code for _, code in [*ROWS.values(), *PICTURES.values(), *LINES.values()]}
    assert len(distinct) >= 60
    assert len(codes) >= 60


LIMITS = limits_of(find(NOVA))


@pytest.mark.parametrize("name", [*GOOD, *PICTURES])
def test_lint_refuses_the_images_that_staging_refuses(report: LintReport, name: str, tmp_path: Path) -> None:
    body = GOOD[name] if name in GOOD else PICTURES[name][0]
    try:
        prepare(body, LIMITS, keep_format=False, fit=False, convert=convert_here)
        staged = True
    except ImageDefect:
        staged = False

    found = lint(spec_of(write(tmp_path, [row(0, body), row(1)]), dataset={"on_bad_row": "fail"}))

    errors = {f.code for f in found.findings if f.row == 0 and f.severity is Severity.ERROR}
    assert staged is (errors == set())


def test_leaks_between_splits_are_found(tmp_path: Path) -> None:
    write(tmp_path, [row(number) for number in range(10)])
    write(tmp_path, [row(3), row(4, html="<p>other</p>"), row(50)], "validation")

    report = lint(spec_of(tmp_path, dataset={"validation_split": "validation"}))

    leaks = {(f.code, f.subset, f.row) for f in report.findings if f.code in {"D407", "D408"}}
    assert leaks == {("D407", "validation", 0), ("D408", "validation", 1)}


def regions(number: int, count: int) -> dict[str, Any]:
    """A row of a page and its regions."""
    pictures = [png(shade=(number + place) % 200, width=64 + 3 * place) for place in range(count)]
    images = [{"bytes": body, "path": None} for body in pictures]
    return {key: value for key, value in row(number).items() if key != "image"} | {"images": images}


@pytest.mark.parametrize(("model", "region", "most"), [(NOVA, "us-east-1", 10), (LLAMA, "us-west-2", 1)])
def test_more_images_than_the_model_takes_are_an_error_of_their_row(
    model: str, region: str, most: int, tmp_path: Path
) -> None:
    source = write(tmp_path / "data", [regions(0, most), regions(20, most + 1), regions(40, most)])

    found = lint(spec_of(source, model={"base": model}, aws={"region": region}))

    (error,) = [finding for finding in found.findings if finding.code == "I105"]
    assert (error.severity, error.row, error.field) == (Severity.ERROR, 1, "images")
    assert f"{most + 1} images" in error.message
    assert f"takes {most} a record" in error.message
    assert "read 2026" in error.why
    assert "on_bad_row" in error.fix


def test_every_image_of_a_row_is_looked_at_and_counted(tmp_path: Path) -> None:
    bad = regions(20, 3)
    bad["images"][2]["bytes"] = bad["images"][2]["bytes"][:-20]
    alone = lint(spec_of(write(tmp_path / "one", [regions(0, 1)]))).census["train"]

    found = lint(spec_of(write(tmp_path / "data", [regions(0, 4), bad])))

    (error,) = [finding for finding in found.findings if finding.code == "I120"]
    assert (error.row, error.field) == (1, "images[2]")
    census = found.census["train"]
    assert (census.rows, census.usable, census.images) == (2, 1, 4)
    assert census.image_tokens > 3.5 * alone.image_tokens
    assert census.prompt_tokens[0] > alone.prompt_tokens[0] + 2 * alone.image_tokens


def test_a_record_whose_images_together_are_too_many_tokens_is_told(tmp_path: Path) -> None:
    """
    Each image alone is within every limit; ten of this size are not within 32,000 tokens.
    """
    pictures = [{"bytes": png(1600, 1600, shade=shade), "path": None} for shade in range(10)]
    source = write(tmp_path / "data", [regions(0, 1) | {"images": pictures}])

    found = lint(spec_of(source))

    (error,) = [
        finding for finding in found.findings if finding.severity is Severity.ERROR and finding.row == 0
    ]
    assert error.code == "T230"
    assert "of 10 images" in error.message


def test_a_region_of_a_training_row_is_a_leak(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", [regions(number, 2) for number in range(0, 60, 5)])
    held = regions(100, 2)
    held["images"][1] = regions(15, 2)["images"][1]
    write(folder, [held], "validation")

    found = lint(spec_of(folder, dataset={"validation_split": "validation"}))

    (leak,) = [finding for finding in found.findings if finding.code == "D408"]
    assert (leak.subset, leak.row) == ("validation", 0)
    assert "training row 3" in leak.message


def test_a_value_that_no_template_writes_as_it_is_is_a_finding(tmp_path: Path) -> None:
    """JSON's `true` was trained as `True`, and NaN as `nan`, without a word."""
    rows = [row(number, said=True) for number in range(3)]
    spec = spec_of(write(tmp_path, rows), prompt={"user": "{{ html }}", "assistant": "{{ said }}"})

    found = [(one.row, one.field) for one in lint(spec).findings if one.code == "T206"]

    assert found == [(number, "said") for number in range(3)]


def test_one_answer_to_everything_is_told_once(tmp_path: Path) -> None:
    rows = [row(number, output=[FINDING]) for number in range(10)]

    assert lint(spec_of(write(tmp_path, rows))).codes["D410"] == 1


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"training": {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": {"epochCount": 9}}}, "S501"),
        ({"training": {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": {"batch": 1}}}, "S501"),
        ({"model": {"base": LLAMA}, "aws": {"region": "us-west-2"}}, "S502"),
        ({"model": {"base": LLAMA}, "serving": {"mode": "on-demand"}}, "S504"),
        ({"prompt": {"user": "{{ html.nothing() }}", "assistant": "{{ output }}"}}, "S506"),
        ({"prompt": {"user": "{{ ''.__class__.__mro__ }}", "assistant": "{{ output }}"}}, "S505"),
        ({"prompt": {"user": "{{ question }}", "assistant": "{{ output }}"}}, "S506"),
        ({"aws": {"region": "us-west-2"}}, "S507"),
        ({"prompt": {"user": "{{ html }}", "assistant": "{{ '' }}"}}, "T203"),
        ({"prompt": {"user": "{{ '' }}", "assistant": "{{ html }}"}}, "T202"),
        ({"prompt": {"preset": "accessibility", "system": " "}}, "T204"),
    ],
)  # fmt: skip
def test_what_the_spec_has_wrong_is_a_finding(sections: dict[str, Any], code: str, tmp_path: Path) -> None:
    report = lint(spec_of(write(tmp_path, [row(number) for number in range(8)]), **sections))

    assert report.codes[code] >= 1
    if code.startswith("S"):
        assert report.codes[code] == 1


def test_a_model_is_legacy_before_its_end(tmp_path: Path) -> None:
    spec = spec_of(write(tmp_path, [row(0)]), model={"base": LLAMA}, aws={"region": "us-west-2"})

    assert lint(spec, dt.date(2026, 3, 1)).codes["S503"] == 1
    assert lint(spec, dt.date(2025, 3, 1)).codes["S503"] == 0


def test_epochs_beyond_the_advice_are_noted(tmp_path: Path) -> None:
    training = {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": {"epochCount": 5}}
    rows = [row(number) for number in range(1000)]

    assert lint(spec_of(write(tmp_path, rows), training=training)).codes["S508"] == 1


def test_how_much_to_cut_is_said_and_is_enough(tmp_path: Path) -> None:
    html = "abcd" * 33_000
    source = write(tmp_path, [row(0, html=html), *[row(number) for number in range(1, 9)]])
    finding = next(f for f in lint(spec_of(source)).findings if f.code == "T232")
    cut = finding.fix.partition("{{ ")[2].partition(" }}")[0]
    prompt = {"preset": "accessibility", "user": f"Judge.\n\n{{{{ {cut} }}}}"}

    assert lint(spec_of(source, prompt=prompt)).codes["T232"] == 1  # the column is as long as before
    assert lint(spec_of(source, prompt=prompt)).codes["T230"] == 0


def test_no_more_is_to_be_cut_than_the_rest_of_the_record_needs(tmp_path: Path) -> None:
    """To the token, of four characters: the limit without what the record has beside its HTML."""
    short = lint(spec_of(write(tmp_path / "short", [row(0, html="abcd")]))).census["train"].longest
    long = lint(spec_of(write(tmp_path / "long", [row(0, html="abcd" * 33_000)])))
    (finding,) = [finding for finding in long.findings if finding.code == "T232"]

    assert f"html[:{(find(NOVA).tokens.per_record - short + 1) * 4}]" in finding.fix


def test_where_the_whole_record_is_too_long_the_cut_is_enough_and_no_more(tmp_path: Path) -> None:
    """The HTML alone would fit; with the image and the answer it does not."""
    source = write(tmp_path, [row(0, html="abcd" * 31_990), *[row(number) for number in range(1, 9)]])
    prompt = {"user": "Judge. {{ html }}", "assistant": "{{ output }}"}
    report = lint(spec_of(source, prompt=prompt))
    (finding,) = [finding for finding in report.findings if finding.code == "T230"]
    cut = finding.fix.partition("{{ ")[2].partition(" }}")[0]

    shorter = lint(spec_of(source, prompt=prompt | {"user": f"Judge. {{{{ {cut} }}}}"}))

    assert report.codes["T232"] == 0
    assert (shorter.codes["T230"], shorter.codes["T231"]) == (0, 1)


SPEC = """\
# my run
[dataset]
source = {source}      # here
split = "train"

[prompt]
preset = "accessibility"

[model]
base = "amazon.nova-lite-v1:0:300k"

[training]
role_arn = "arn:aws:iam::123456789012:role/sft"
"""


def test_fix_writes_transforms_into_the_spec_and_the_errors_are_gone(tmp_path: Path) -> None:
    bad = [
        row(30, by_hand(4000, 2600, zlib.compress(bytes(4001 * 2600), 0))),
        row(31, html="<IMAGE> User: hello"),
        row(32, PICTURES["PNG cut off"][0]),
    ]
    source = write(tmp_path / "data", [*[row(number) for number in range(28)], row(0), *bad])
    before = (source / "train.parquet").read_bytes()
    file = tmp_path / "run.toml"
    file.write_text(SPEC.format(source=json.dumps(str(source))))
    found = lint(RunSpec.from_toml(file))

    file.write_text(rewritten(file.read_text(), list(fixes(found, find(NOVA)))))
    mended = lint(RunSpec.from_toml(file))

    assert found.failed
    table = tomllib.loads(file.read_text())
    assert table["images"] == {"fit": True}
    assert table["dataset"] | {"source": ""} == {
        "source": "", "split": "train", "on_bad_row": "skip", "drop_duplicates": True,
    }  # fmt: skip
    assert table["prompt"]["strip"] == ["<image>", "User:"]
    assert file.read_text().startswith("# my run\n")
    assert "      # here\n" in file.read_text()
    assert (source / "train.parquet").read_bytes() == before
    assert not mended.failed
    assert mended.codes["I120"] == 1
    assert mended.codes["D405"] == 0


def test_rows_are_not_skipped_where_most_are_bad(tmp_path: Path) -> None:
    rows = [row(number, PICTURES["PNG cut off"][0]) for number in range(9)] + [row(9)]
    report = lint(spec_of(write(tmp_path, rows)))

    assert "on_bad_row" not in {fix.key for fix in fixes(report, find(NOVA))}


def test_a_skipped_row_is_no_error_of_the_run(tmp_path: Path) -> None:
    rows = [row(0, PICTURES["PNG cut off"][0])] + [row(number) for number in range(1, 9)]

    assert lint(spec_of(write(tmp_path, rows))).failed
    assert not lint(spec_of(tmp_path, dataset={"on_bad_row": "skip"})).failed


def test_rows_held_out_by_column_and_by_group(tmp_path: Path) -> None:
    rows = [row(n) | {"part": "val" if n % 5 == 0 else "fit", "site": f"site {n % 4}"} for n in range(40)]
    source = write(tmp_path, rows)

    by_column = open_dataset(spec_of(source, dataset={"validation_column": "part"}).dataset)
    group = {"validation_fraction": 0.25, "group_column": "site"}
    by_group = open_dataset(spec_of(source, dataset=group).dataset)
    reseeded = [open_dataset(spec_of(source, dataset=group | {"seed": f"{n}"}).dataset) for n in range(6)]

    assert by_column.validation is not None
    assert [r.source_index for r in by_column.validation.rows()] == list(range(0, 40, 5))
    assert by_group.validation is not None
    sites = {r.fields["site"] for r in by_group.train.rows()} & {
        r.fields["site"] for r in by_group.validation.rows()
    }
    assert sites == set()
    assert by_group.fingerprint == open_dataset(spec_of(source, dataset=group).dataset).fingerprint
    assert len({each.fingerprint for each in reseeded}) > 1


SHORT = by_hand(64, 48, rows_of(64, 24))
"""A PNG whose chunks are whole, and whose pixels are too few."""


@pytest.mark.parametrize(
    "body",
    [SHORT, GOOD["plain"][:-40], PICTURES["JPEG cut off"][0], b""],
    ids=["too few pixels", "cut off", "JPEG cut off", "empty"],
)
def test_a_row_that_staging_skips_is_told_as_skipped_and_does_not_fail_the_run(
    tmp_path: Path, body: bytes
) -> None:
    rows = [row(number) for number in range(12)]
    source = write(tmp_path, [*rows, row(13, body)])

    skipped = lint(spec_of(source, dataset={"on_bad_row": "skip", "max_bad_rows": 1}))
    too_many = lint(spec_of(source, dataset={"on_bad_row": "skip", "max_bad_rows": 0}))
    refused = lint(spec_of(source))

    told = [finding for finding in skipped.findings if finding.row == 12]
    assert {finding.severity for finding in told} == {Severity.WARNING}
    assert all("skipped" in (finding.fix or "") for finding in told)
    assert not skipped.failed
    assert skipped.census["train"].usable == 12
    assert [finding.code for finding in too_many.findings if finding.severity is Severity.ERROR] == ["D412"]
    assert refused.failed


def test_staging_need_not_read_images_again_only_where_lint_found_all_of_them_whole(tmp_path: Path) -> None:
    rows = [row(number) for number in range(12)]
    sound = lint(spec_of(write(tmp_path / "sound", rows)))
    damaged = lint(
        spec_of(write(tmp_path / "damaged", [*rows, row(13, SHORT)]), dataset={"on_bad_row": "skip"})
    )

    assert sound.images_verified
    assert not damaged.images_verified


def test_a_page_longer_than_a_call_takes_is_trained_whole(tmp_path: Path) -> None:
    """Nova's page limits no side for training: the test call sends a smaller copy, and I150 says so."""
    page, limits = by_hand(30, 9000, rows_of(30, 9000)), limits_of(find(NOVA))
    source = write(tmp_path, [*[row(number) for number in range(12)], row(12, page)])

    report = lint(spec_of(source))

    assert [(found.code, found.severity) for found in report.findings if found.row == 12] == [
        ("I150", Severity.WARNING)
    ]
    assert prepare(page, limits, keep_format=False, fit=False).body == page
    assert prepare(page, limits, keep_format=False, fit=True).height == 8000
