from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.dataset import Opened, open_dataset
from vlm_runner.dataset.split import sample
from vlm_runner.errors import ConfigurationError, DataError, RowError
from vlm_runner.spec import Columns, DatasetSpec

from .world import FINDING, png, row, write_jsonl, write_parquet, write_pictures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Open = Callable[..., Opened]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_(source: Path | str, required: tuple[str, ...] = ("html", "output"), **settings: Any) -> Opened:
        spec = DatasetSpec(source=str(source), **settings)
        return open_dataset(spec, cache_dir=tmp_path / "cache", required=required)

    return open_


def parquet_folder(root: Path) -> Path:
    write_parquet(root / "train-00000-of-00002.parquet", [row(i) for i in range(20)])
    write_parquet(root / "train-00001-of-00002.parquet", [row(i) for i in range(20, 40)])
    write_parquet(root / "validation-00000-of-00001.parquet", [row(i) for i in range(100, 103)])
    return root


def parquet_file(root: Path) -> Path:
    return write_parquet(root / "rows.parquet", [row(i) for i in range(40)])


def jsonl_file(root: Path) -> Path:
    write_pictures(root / "pictures", range(40))
    return write_jsonl(root / "rows.jsonl", [row(i, image=f"pictures/{i}.png") for i in range(40)])


def jsonl_folder(root: Path) -> Path:
    jsonl_file(root).rename(root / "train.jsonl")
    return root


def image_folder(root: Path) -> Path:
    write_pictures(root / "train", range(40))
    rows = [{"file_name": f"{i}.png", "html": f"<p>{i}</p>", "output": [FINDING]} for i in range(40)]
    write_jsonl(root / "train" / "metadata.jsonl", rows)
    return root


def raw_binary(root: Path) -> Path:
    return write_parquet(root / "rows.parquet", [row(i, image=png(i)) for i in range(40)])


def lists_of_one(root: Path) -> Path:
    rows = [row(i, image=None) | {"images": [row(i)["image"]]} for i in range(40)]
    for each in rows:
        del each["image"]
    return write_parquet(root / "rows.parquet", rows)


def saved(root: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([row(i) for i in range(40)]).cast_column(
        "image", datasets.Image()
    ).save_to_disk(root)
    return root


def saved_dict(root: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([row(i) for i in range(40)])
    datasets.DatasetDict({"train": rows}).save_to_disk(root)
    return root


SOURCES = [
    parquet_folder,
    parquet_file,
    jsonl_file,
    jsonl_folder,
    image_folder,
    raw_binary,
    lists_of_one,
    saved,
    saved_dict,
]


@pytest.mark.parametrize("make", SOURCES)
def test_every_kind_of_source_gives_the_same_rows(
    tmp_path: Path, opened: Open, make: Callable[[Path], Path]
) -> None:
    subset = opened(make(tmp_path / "data")).train

    rows = list(subset.rows())

    assert subset.num_rows == 40
    assert (subset.name, subset.revision) == ("train", None)
    assert [each.index for each in rows] == list(range(40))
    number = [int(each.fields["html"][3:-4]) for each in rows]
    assert sorted(number) == list(range(40))
    assert [each.image for each in rows] == [png(i) for i in number]
    assert all(each.fields["output"] == [FINDING] for each in rows)


@pytest.mark.parametrize("make", SOURCES)
def test_the_fingerprint_is_of_the_content_not_of_the_place(
    tmp_path: Path, opened: Open, make: Callable[[Path], Path]
) -> None:
    here = make(tmp_path / "here" / "data")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = tmp_path / "there" / here.relative_to(tmp_path / "here")

    first, moved = opened(here), opened(there)

    assert first.fingerprint == moved.fingerprint
    assert first.train.fingerprint == moved.train.fingerprint


def test_a_changed_row_changes_the_fingerprint_and_is_read(tmp_path: Path, opened: Open) -> None:
    first = opened(write_parquet(tmp_path / "rows.parquet", [row(0), row(1)]))

    second = opened(write_parquet(tmp_path / "rows.parquet", [row(0), row(2)]))

    assert first.fingerprint != second.fingerprint
    assert [each.image for each in second.train.rows()] == [png(0), png(2)]


@pytest.mark.parametrize(("make", "image"), [(jsonl_folder, "pictures/7.png"), (image_folder, "train/7.png")])
def test_a_changed_picture_beside_the_rows_changes_the_fingerprint(
    tmp_path: Path, opened: Open, make: Callable[[Path], Path], image: str
) -> None:
    source = make(tmp_path / "data")
    first = opened(source)

    (source / image).write_bytes(png(200))

    assert opened(source).fingerprint != first.fingerprint


def test_part_of_the_rows_has_its_own_fingerprint(tmp_path: Path, opened: Open) -> None:
    source = parquet_file(tmp_path)

    prints = {
        opened(source).fingerprint,
        opened(source, max_rows=39).fingerprint,
        opened(source, validation_fraction=0.1).fingerprint,
        opened(source, columns=Columns(html="output")).fingerprint,
    }

    assert len(prints) == 4
    assert opened(source, max_rows=40).fingerprint == opened(source).fingerprint


def test_a_seed_chooses_the_rows_and_they_keep_their_order(tmp_path: Path, opened: Open) -> None:
    source = parquet_file(tmp_path)

    def chosen(seed: int) -> list[str]:
        rows = opened(source, max_rows=5, shuffle_seed=seed).train.rows()
        return [str(row.fields["html"]) for row in rows]

    assert chosen(7) == chosen(7) == [f"<p>{number}</p>" for number in sample(40, 5, "7")]
    assert chosen(8) != chosen(7)
    assert opened(source, max_rows=40, shuffle_seed=7).fingerprint == opened(source).fingerprint


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (15, 17), (16, 40), (39, 40), (3, 35)])
def test_any_range_of_rows_can_be_read(tmp_path: Path, opened: Open, start: int, stop: int) -> None:
    subset = opened(parquet_file(tmp_path)).train

    rows = list(subset.rows(start, stop))

    assert [each.index for each in rows] == list(range(start, stop))
    assert [each.image for each in rows] == [png(i) for i in range(start, stop)]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 41)])
def test_a_range_outside_is_a_mistake(tmp_path: Path, opened: Open, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        list(opened(parquet_file(tmp_path)).train.rows(start, stop))


def test_the_validation_split_by_name(tmp_path: Path, opened: Open) -> None:
    both = opened(parquet_folder(tmp_path), validation_split="validation")

    assert both.validation is not None
    assert [each.image for each in both.validation.rows()] == [png(i) for i in range(100, 103)]


def test_a_fraction_is_held_back_in_order_and_renumbered(tmp_path: Path, opened: Open) -> None:
    both = opened(parquet_file(tmp_path), validation_fraction=0.25)

    assert both.validation is not None
    assert (both.train.num_rows, both.validation.num_rows) == (30, 10)
    for subset in (both.train, both.validation):
        rows = list(subset.rows())
        assert [each.index for each in rows] == list(range(subset.num_rows))
        assert [each.source_index for each in rows] == sorted(each.source_index for each in rows)
        assert [each.image for each in rows] == [png(each.source_index) for each in rows]
    assert list(both.validation.rows(3, 5)) == list(both.validation.rows())[3:5]


def test_no_page_is_on_both_sides(tmp_path: Path, opened: Open) -> None:
    same_image = [row(i % 10, html=f"<p>{i}</p>") for i in range(30)]
    same_html = [row(100 + i, html=f"<h1>{i % 10}</h1>") for i in range(30)]

    both = opened(write_parquet(tmp_path / "a.parquet", same_image + same_html), validation_fraction=0.3)

    assert both.validation is not None
    train, held = list(both.train.rows()), list(both.validation.rows())
    assert not {each.image for each in train} & {each.image for each in held}
    assert not {each.fields["html"] for each in train} & {each.fields["html"] for each in held}


def test_one_page_alone_cannot_be_divided(tmp_path: Path, opened: Open) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(i, html="<p>same</p>") for i in range(5)])

    with pytest.raises(DataError, match="cannot be divided"):
        opened(source, validation_fraction=0.2)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "is missing"),
        ("", "is empty"),
        ("pictures/none.png", "cannot be read"),
        ("../secret.png", "outside"),
        ("/etc/passwd", "outside"),
        ("pictures/../../secret.png", "outside"),
        ("pictures", "cannot be read"),
        ("a\0b", "outside"),
        ("https://example.com/a.png", "fetch_images is not set"),
    ],
)
def test_a_row_without_its_image_is_an_error_of_that_row(
    tmp_path: Path, opened: Open, image: str | None, reason: str
) -> None:
    (tmp_path / "secret.png").write_bytes(png(0))
    write_pictures(tmp_path / "data" / "pictures", range(3))
    rows = [row(i, image=f"pictures/{i}.png") for i in range(3)]
    rows[1]["image"] = image
    subset = opened(write_jsonl(tmp_path / "data" / "rows.jsonl", rows)).train

    with pytest.raises(RowError, match=reason) as caught:
        list(subset.rows())

    assert (caught.value.subset, caught.value.row, caught.value.field) == ("train", 1, "image")
    assert [isinstance(each, RowError) for each in subset.scan()] == [False, True, False]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "missing"),
        ({"bytes": None, "path": None}, "empty"),
        ({"bytes": b"", "path": None}, "empty"),
        ({"bytes": None, "path": "/etc/passwd"}, "outside"),
    ],
)
def test_an_embedded_image_that_is_not_there(tmp_path: Path, opened: Open, image: Any, reason: str) -> None:
    source = write_parquet(tmp_path / "rows.parquet", [row(0), row(1, image=image)])

    with pytest.raises(RowError, match=reason):
        list(opened(source).train.rows())


def several(root: Path) -> Path:
    """Rows of one, two and three images."""
    rows = [{"images": [png(10 * i + k) for k in range(1 + i)], **_texts(i)} for i in range(3)]
    return write_parquet(root / "rows.parquet", rows)


def several_by_path(root: Path) -> Path:
    write_pictures(root, range(30))
    rows = [{"images": [f"{10 * i + k}.png" for k in range(1 + i)], **_texts(i)} for i in range(3)]
    return write_jsonl(root / "rows.jsonl", rows)


def several_saved(root: Path) -> Path:
    import datasets

    rows = [{"images": [row(10 * i + k)["image"] for k in range(1 + i)], **_texts(i)} for i in range(3)]
    table = datasets.Dataset.from_list(rows)
    table.cast_column("images", datasets.List(datasets.Image())).save_to_disk(root)
    return root


def _texts(number: int) -> dict[str, Any]:
    return {key: value for key, value in row(number).items() if key != "image"}


@pytest.mark.parametrize("make", [several, several_by_path, several_saved])
def test_a_list_of_images_comes_along_in_its_order(
    tmp_path: Path, opened: Open, make: Callable[[Path], Path]
) -> None:
    rows = list(opened(make(tmp_path / "data")).train.rows())

    assert [each.images for each in rows] == [
        tuple(png(10 * i + k) for k in range(1 + i)) for i in range(len(rows))
    ]
    assert [each.image for each in rows] == [png(0), png(10), png(20)]
    assert [each.fields["image_count"] for each in rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "reason"), [(None, "is missing"), (b"", "is empty"), ("no.png", "only a path|read")]
)
def test_of_several_images_the_one_that_is_not_there_is_named(
    tmp_path: Path, opened: Open, bad: Any, reason: str
) -> None:
    first: Any = "0.png" if isinstance(bad, str) else png(0)
    write_pictures(tmp_path, range(1))
    source = write_jsonl if isinstance(bad, str) else write_parquet
    name = "rows.jsonl" if isinstance(bad, str) else "rows.parquet"
    opened_ = opened(source(tmp_path / name, [{"images": [first, bad, first], **_texts(0)}]))

    with pytest.raises(RowError, match=rf"({reason}).*image 2 of 3") as raised:
        list(opened_.train.rows())

    assert (raised.value.row, raised.value.field) == (0, "images")


def test_rows_that_share_a_region_stay_on_one_side(tmp_path: Path, opened: Open) -> None:
    rows = [{"images": [png(i), png(100 + i // 4)], **_texts(i)} for i in range(40)]
    both = opened(write_parquet(tmp_path / "rows.parquet", rows), validation_fraction=0.3)
    assert both.validation is not None

    train, held = ({row.images[1] for row in part.rows()} for part in (both.train, both.validation))

    assert not train & held


def test_rows_whose_regions_differ_are_no_duplicates(tmp_path: Path, opened: Open) -> None:
    rows = [{"images": [png(0), png(k)], **_texts(0)} for k in (1, 2, 1)]
    source = write_parquet(tmp_path / "rows.parquet", rows)

    assert opened(source, drop_duplicates=True).train.num_rows == 2


def test_a_row_of_a_part_is_named_as_the_dataset_names_it_too(tmp_path: Path, opened: Open) -> None:
    rows = [row(i, image=png(i) if i != 10 else b"") for i in range(20)]
    both = opened(write_parquet(tmp_path / "rows.parquet", rows), validation_fraction=0.5)
    assert both.validation is not None

    errors = [
        each for part in (both.train, both.validation) for each in part.scan() if isinstance(each, RowError)
    ]

    assert len(errors) == 1
    assert "row 10 of the dataset's split 'train'" in str(errors[0])


def test_columns_by_other_names(tmp_path: Path, opened: Open) -> None:
    rows = [{"id": i, "shot": png(i), "dom": "<p>", "verdict": FINDING, "output": "mine"} for i in range(2)]
    columns = Columns(image="shot", html="dom", output="verdict")

    (first, _) = opened(write_parquet(tmp_path / "rows.parquet", rows), columns=columns).train.rows()

    assert first.image == png(0)
    own = {"id": 0, "dom": "<p>", "verdict": FINDING}
    assert first.fields == own | {"html": "<p>", "output": [FINDING], "image_count": 1}


def test_other_columns_come_along_and_other_images_do_not(tmp_path: Path, opened: Open) -> None:
    rows = [{"image": png(0), "thumbnail": png(1), "question": "?", "answer": "!"}]

    (first,) = opened(write_parquet(tmp_path / "rows.parquet", rows), required=()).train.rows()

    assert first.fields == {"question": "?", "answer": "!", "image_count": 1}


def test_a_jsonl_with_findings_in_every_form(tmp_path: Path, opened: Open) -> None:
    write_pictures(tmp_path / "data", range(4))
    outputs = [[FINDING], FINDING, "", "just text"]
    rows = [row(i, image=f"{i}.png", output=output) for i, output in enumerate(outputs)]

    read = list(opened(write_jsonl(tmp_path / "data" / "rows.jsonl", rows)).train.rows())

    assert [each.fields["output"] for each in read] == [[FINDING], [FINDING], "", "just text"]


def test_a_missing_split_is_named_with_those_there_are(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(ConfigurationError, match="no split 'test'; it has train, validation"):
        opened(parquet_folder(tmp_path), split="test")


@pytest.mark.parametrize("split", ["../train", "a/b", "train[", "train[1:2:3]", "train[:200%]", "", "+train"])
def test_what_is_no_split_is_refused(tmp_path: Path, opened: Open, split: str) -> None:
    with pytest.raises(ConfigurationError, match=r"dataset\.split: "):
        opened(parquet_file(tmp_path), split=split)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("empty.jsonl", "", "empty"),
        ("broken.jsonl", '{"image": 1}\nnot json\n', "cannot be read"),
        ("broken.parquet", "PAR1 no", "cannot be read"),
        ("saved/state.json", "{}", "cannot be read"),
    ],
)
def test_a_broken_source_is_one_sentence(
    tmp_path: Path, opened: Open, name: str, text: str, said: str
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / name).write_text(text)
    source = tmp_path / "saved" if name.startswith("saved") else tmp_path / name

    with pytest.raises(DataError, match=said) as caught:
        opened(source)

    assert "\n" not in str(caught.value)


def test_a_split_without_rows_is_empty(tmp_path: Path, opened: Open) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([row(0)]).slice(0, 0), tmp_path / "a.parquet")

    with pytest.raises(DataError, match="is empty"):
        opened(tmp_path / "a.parquet")


def test_a_missing_column_is_named(tmp_path: Path, opened: Open) -> None:
    source = write_parquet(tmp_path / "rows.parquet", [{"image": png(0), "output": [FINDING]}])

    with pytest.raises(DataError, match="has no html column; its columns are image, output"):
        opened(source)


def test_a_text_column_that_holds_bytes_is_refused(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(DataError, match="column 'html' holds no text"):
        opened(write_parquet(tmp_path / "rows.parquet", [row(0, html=b"\x00")]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "s3://bucket/rows"}, "s3:// is not supported yet"),
        ({"source": "./no/such/folder"}, "File or folder not found"),
        ({"source": "data/none.parquet"}, "File or folder not found"),
        ({"source": "name"}, "File or folder not found"),
    ],
)
def test_a_source_that_is_none(opened: Open, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        opened(**settings)


def test_local_data_has_no_revision(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(ConfigurationError, match="no revision 'main'"):
        opened(parquet_file(tmp_path), revision="main")


def test_a_script_beside_the_rows_is_not_run(tmp_path: Path, opened: Open) -> None:
    folder = parquet_folder(tmp_path / "rows")
    (folder / "rows.py").write_text("raise SystemExit('run')")

    assert opened(folder).train.num_rows == 40


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, vlm_runner.dataset;"
        "heavy = ('datasets', 'pyarrow', 'numpy', 'huggingface_hub', 'PIL');"
        "print([name for name in heavy if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
