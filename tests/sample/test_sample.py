"""The sample that is shipped: loaded as a user would, and looked at as a reviewer would."""

import io
import re
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from vlm_runner.sample import sample_folder

SPLITS = ("train", "validation")
SCRIPTS = Path(__file__).parents[2] / "scripts" / "sample"
RESERVED = ("user:", "bot:", "assistant:", "system:", "<image>", "<video>", "[eos]", "{{", "{%")

needs_scripts = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the source distribution has no scripts")

Sample = dict[str, datasets.Dataset]
Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    cache = tmp_path_factory.mktemp("cache")
    parquet = {split: str(sample_folder() / f"{split}.parquet") for split in SPLITS}
    return dict(datasets.load_dataset("parquet", data_files=parquet, cache_dir=str(cache)))


@pytest.fixture(scope="module")
def rows(sample: Sample) -> list[Row]:
    """Every row, its image as the bytes that are stored."""
    return [
        row for split in sample.values() for row in split.cast_column("image", datasets.Image(decode=False))
    ]


def texts(row: Row) -> list[str]:
    return [row["page"], row["html"], *findings(row)]


def findings(row: Row) -> list[str]:
    return [text for finding in row["output"] for text in finding.values()]


def quoted(row: Row) -> list[str]:
    """The elements that the row's findings quote."""
    return [
        element for finding in row["output"] for element in re.findall(r"`([^`]+)`", finding["eval_reason"])
    ]


def test_the_folder_loads_by_itself(sample: Sample, tmp_path: Path) -> None:
    """
    load_dataset(folder) finds the same splits and features as naming the files does.
    """
    loaded = datasets.load_dataset(str(sample_folder()), cache_dir=str(tmp_path))

    assert set(loaded) == set(SPLITS)
    for split in SPLITS:
        assert loaded[split].features == sample[split].features
        assert loaded[split]["page"][:] == sample[split]["page"][:]


@pytest.mark.parametrize("split", SPLITS)
def test_has_the_columns_of_the_notebook(sample: Sample, split: str) -> None:
    finding = {key: datasets.Value("string") for key in ("rationale", "eval_items", "eval_reason", "plan")}

    assert sample[split].features == datasets.Features(
        {
            "image": datasets.Image(),
            "html": datasets.Value("string"),
            "output": datasets.List(finding),
            "page": datasets.Value("string"),
        }
    )


def test_is_large_enough_to_train_and_small_enough_to_ship(sample: Sample) -> None:
    shipped = [path for path in sample_folder().iterdir() if path.is_file()]

    assert len(sample["train"]) >= 16
    assert len(sample["validation"]) >= 4
    assert sum(path.stat().st_size for path in shipped) < 3_000_000


def test_no_page_is_in_both_splits(sample: Sample) -> None:
    pages = [page for split in SPLITS for page in sample[split]["page"]]

    assert len(pages) == len(set(pages))


def test_images_decode(sample: Sample) -> None:
    """
    What a user gets is a picture, not bytes.
    """
    for split in SPLITS:
        for image in sample[split]["image"]:
            assert image.size[0] == 1000
            assert 640 <= image.size[1] <= 860


def test_images_are_png_with_something_on_them(rows: list[Row]) -> None:
    seen = set()
    for row in rows:
        stored = row["image"]
        with Image.open(io.BytesIO(stored["bytes"])) as image:
            image.load()

            assert (image.format, image.mode) == ("PNG", "RGB")
            assert stored["path"] == f"{row['page']}.png"
            colours = image.getcolors(maxcolors=image.width * image.height)
            assert colours
            assert len(colours) > 50
            assert max(count for count, _ in colours) < 0.96 * image.width * image.height
        seen.add(stored["bytes"])

    assert len(seen) == len(rows)


def test_findings_quote_what_is_in_the_page(rows: list[Row]) -> None:
    for row in rows:
        for finding in row["output"]:
            assert "`<" in finding["eval_reason"]
        for element in quoted(row):
            assert element in row["html"]


def test_findings_are_complete_sentences(rows: list[Row]) -> None:
    for row in rows:
        for finding in row["output"]:
            assert all(finding.values())
            assert re.fullmatch(r"(WCAG \d\.\d\.\d+ .+|Best practice) \([a-z-]+\)", finding["eval_items"])
            assert "Fix a" in finding["eval_reason"]
            assert "%ELEMENT%" not in finding["plan"]


def test_reports_a_rule_once_per_page(rows: list[Row]) -> None:
    for row in rows:
        items = [finding["eval_items"] for finding in row["output"]]

        assert len(items) == len(set(items))


@pytest.mark.parametrize("split", SPLITS)
def test_some_pages_have_nothing_wrong(sample: Sample, split: str) -> None:
    outputs = sample[split]["output"]

    assert any(not output for output in outputs)
    assert any(outputs)


def test_defects_are_varied(rows: list[Row]) -> None:
    items = {finding["eval_items"] for row in rows for finding in row["output"]}

    assert len(items) >= 25


def test_pages_are_short_and_need_nothing_from_outside(rows: list[Row]) -> None:
    for row in rows:
        html = row["html"]

        assert html.startswith("<!DOCTYPE html>")
        assert len(html.encode()) < 8 * 1024
        assert "://" not in html
        assert "<script" not in html


def test_no_control_characters(rows: list[Row]) -> None:
    """
    A page has line breaks, a finding has not even those.
    """
    for row in rows:
        for text in texts(row):
            assert not [c for c in text if unicodedata.category(c).startswith("C") and c != "\n"]
        for text in findings(row):
            assert text == text.strip()
            assert "\n" not in text


@pytest.mark.parametrize("word", RESERVED)
def test_no_words_that_a_model_or_a_template_keeps_for_itself(rows: list[Row], word: str) -> None:
    for row in rows:
        for text in texts(row):
            assert word not in text.lower()


@needs_scripts
def test_is_what_the_repository_holds(rows: list[Row]) -> None:
    """
    Nobody edited a page and forgot to build, or wrote a remedy that no finding uses.
    """
    remedies = tomllib.loads((SCRIPTS / "remedies.toml").read_text())
    used = {(row["page"], finding["plan"]) for row in rows for finding in row["output"]}

    assert {row["page"]: row["html"] for row in rows} == {
        page.stem: page.read_text() for page in (SCRIPTS / "pages").glob("*.html")
    }
    assert {(page, plan) for page, plans in remedies["pages"].items() for plan in plans.values()} <= used


@needs_scripts
def test_pictures_named_by_pages_exist() -> None:
    for page in (SCRIPTS / "pages").glob("*.html"):
        for name in re.findall(r'(?:src|poster)="([^"]+)"', page.read_text()):
            assert (page.parent / name).is_file()


def test_asking_where_it_is_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vlm_runner.sample import sample_folder; assert sample_folder().is_dir(); "
        "assert not {'datasets', 'PIL', 'pyarrow'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
