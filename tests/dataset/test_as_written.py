"""
Nothing is changed on the way in: what each source format holds, letter for letter.

Every value here is one that some reader of the field rewrites.
"""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from vlm_runner.dataset import folders, open_dataset
from vlm_runner.errors import DataError
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.spec import DatasetSpec, PromptSpec

from .world import png, write_parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEMPTING = [
    "2024-03-01",
    "2024-03-01T10:00:00Z",
    "2024-03-01 10:00:00",
    "10:30",
    "01234",
    "1e5",
    "1.10",
    "+5",
    "0x1F",
    "1_000",
    "NA",
    "N/A",
    "null",
    "None",
    "nan",
    "inf",
    "True",
    "false",
    "yes",
    str(2**53 + 1),
    "9" * 40,
    "[1, 2]",
    '{"a": 1}',
    " padded ",
    "two\nlines",
    'quoted "so", and so',
    "naïve ✓ 日本",
    "one\u2028line",
]
COLUMNS = tuple(f"c{number:02d}" for number in range(len(TEMPTING)))
ROWS = [dict(zip(COLUMNS, TEMPTING, strict=True)) for _ in range(3)]
"""A column for each value, which stands in all its rows: so a guess about the whole column is tempted too."""


def of_jsonl(folder: Path, rows: list[dict[str, str]]) -> Path:
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"image": f"{i}.png"} | row) + "\n" for i, row in enumerate(rows)),
        encoding="utf-8",
    )
    return folder / "rows.jsonl"


def of_json(folder: Path, rows: list[dict[str, str]]) -> Path:
    listed = [{"image": f"{i}.png"} | row for i, row in enumerate(rows)]
    (folder / "rows.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return folder / "rows.json"


def of_jsonl_gz(folder: Path, rows: list[dict[str, str]]) -> Path:
    plain = of_jsonl(folder, rows)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return folder / "rows.jsonl.gz"


def of_jsonl_zst(folder: Path, rows: list[dict[str, str]]) -> Path:
    plain = of_jsonl(folder, rows)
    with pa.CompressedOutputStream(str(folder / "rows.jsonl.zst"), "zstd") as file:
        file.write(plain.read_bytes())
    plain.unlink()
    return folder / "rows.jsonl.zst"


def of_csv(folder: Path, rows: list[dict[str, str]], ending: str = "csv", separator: str = ",") -> Path:
    path = folder / f"rows.{ending}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", *COLUMNS], delimiter=separator)
        writer.writeheader()
        writer.writerows({"image": f"{i}.png"} | row for i, row in enumerate(rows))
    return path


def of_tsv(folder: Path, rows: list[dict[str, str]]) -> Path:
    return of_csv(folder, rows, "tsv", "\t")


def of_csv_with_semicolons(folder: Path, rows: list[dict[str, str]]) -> Path:
    return of_csv(folder, rows, "csv", ";")


def of_parquet(folder: Path, rows: list[dict[str, str]]) -> Path:
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([{"image": png(i)} | row for i, row in enumerate(rows)])
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def of_save_to_disk(folder: Path, rows: list[dict[str, str]]) -> Path:
    import datasets

    made = datasets.Dataset.from_list([{"image": png(i)} | row for i, row in enumerate(rows)])
    made.save_to_disk(folder / "saved")
    return folder / "saved"


def of_folder(folder: Path, rows: list[dict[str, str]]) -> Path:
    lines = [json.dumps({"file_name": f"{i}.png"} | row) + "\n" for i, row in enumerate(rows)]
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def of_folder_with_csv(folder: Path, rows: list[dict[str, str]]) -> Path:
    made = of_csv(folder, rows)
    text = made.read_text(encoding="utf-8").replace("image,", "file_name,", 1)
    (folder / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    made.unlink()
    return folder


def of_webdataset(folder: Path, rows: list[dict[str, str]]) -> Path:
    import webdataset  # type: ignore[import-untyped]

    with webdataset.TarWriter(str(folder / "shard-000.tar")) as archive:
        for i, row in enumerate(rows):
            texts = {f"{name}.txt": row[name] for name in COLUMNS}
            archive.write({"__key__": f"{i:04d}", "png": png(i)} | texts)
    return folder / "shard-000.tar"


FORMATS: list[Callable[[Path, list[dict[str, str]]], Path]] = [
    of_jsonl, of_json, of_jsonl_gz, of_jsonl_zst, of_csv, of_tsv, of_csv_with_semicolons, of_parquet,
    of_save_to_disk, of_folder, of_folder_with_csv, of_webdataset,
]  # fmt: skip


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_texts_are_trained_as_they_were_written(
    write: Callable[[Path, list[dict[str, str]]], Path], tmp_path: Path
) -> None:
    ending = ".txt" if write is of_webdataset else ""
    for i in range(len(ROWS)):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    spec = DatasetSpec(source=str(write(tmp_path, ROWS)))

    rows = list(open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows())

    for name, value in zip(COLUMNS, TEMPTING, strict=True):
        prompt = compile_prompt(PromptSpec(user=f"{{{{ row['{name}{ending}'] }}}}", assistant="x"))
        for row in rows:
            assert prompt.render(row.fields, subset="train", row=row.index).user == value
    assert [row.image for row in rows] == [png(i) for i in range(len(ROWS))]


LABELS = ["login", "checkout", "404"]


def labelled_parquet(folder: Path) -> Path:
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "kind": datasets.ClassLabel(names=LABELS),
            "kinds": datasets.List(datasets.ClassLabel(names=LABELS)),
        }
    )
    rows = [{"image": {"bytes": png(i), "path": None}, "kind": i, "kinds": [0, i]} for i in range(3)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def labelled_by_card(folder: Path) -> Path:
    """As older datasets on the Hub: numbers in the rows, their names in the card."""
    names = "".join(f"            '{i}': {name!r}\n" for i, name in enumerate(LABELS))
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: string\n  - name: kind\n    dtype:\n"
        f"      class_label:\n        names:\n{names}---\n# Pages\n"
    )
    lines = [json.dumps({"image": f"{i}.png", "kind": i, "kinds": [LABELS[0], LABELS[i]]}) for i in range(3)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("write", [labelled_parquet, labelled_by_card], ids=lambda write: write.__name__)
def test_a_label_is_its_name(write: Callable[[Path], Path], tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    spec = DatasetSpec(source=str(write(tmp_path)))

    rows = list(open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows())

    assert [row.fields["kind"] for row in rows] == LABELS
    assert [row.fields["kinds"] for row in rows] == [[LABELS[0], name] for name in LABELS]


def test_folders_of_bare_images_are_their_labels(tmp_path: Path) -> None:
    for number, name in enumerate(LABELS):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").write_bytes(png(number))
    spec = DatasetSpec(source=str(tmp_path / "data"))

    rows = list(open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows())

    assert {row.fields["label"]: row.image for row in rows} == {
        name: png(number) for number, name in enumerate(LABELS)
    }


VALUES = [2**53 + 1, 2**70, True, None, 0.1, [1, "a", None], {"a": {"b": [1]}}, "text", [], [[1.5]]]


def test_what_json_holds_besides_texts_is_what_it_was(tmp_path: Path) -> None:
    """Also where one column holds values of several types, and keys that other rows do not have."""
    (tmp_path / "0.png").write_bytes(png(0))
    rows = [{"image": "0.png", "value": value, f"only{i}": i} for i, value in enumerate(VALUES)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = DatasetSpec(source=str(tmp_path / "rows.jsonl"))

    read = list(open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows())

    assert [row.fields["value"] for row in read] == VALUES
    assert [type(row.fields["value"]) for row in read] == [type(value) for value in VALUES]
    assert [row.fields["only3"] for row in read] == [3 if i == 3 else None for i in range(len(VALUES))]


def test_a_key_that_an_object_leaves_out_is_null_as_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    rows = [{"image": "0.png", "turns": [{"role": "user"}, {"role": "assistant", "name": "x"}]}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]))
    spec = DatasetSpec(source=str(tmp_path / "rows.jsonl"))

    (row,) = open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.rows()

    assert row.fields["turns"] == [{"role": "user", "name": None}, {"role": "assistant", "name": "x"}]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"image": "0.png"}\n{"image": \n', "line 2 is not JSON"),
        ("a.jsonl", '{"image": "0.png"}\n[1]\n', "line 2 is a list, not an object"),
        ("a.json", '[{"image": "0.png"}, "x"]', "item 1 is a string, not an object"),
        ("a.json", '{"images": [],\n "annotations": []}', "COCO"),
        ("a.json", '{"version": 1,\n "data": []}', "holds one object, not rows. Its rows may be in data"),
        (
            "a.json",
            '{"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]}',
            "images",
        ),
        (
            "a.json",
            '{"images": [], "annotations": [{"image_id": 1, "caption": ""}, {"image_id": 2, "caption": ""}]}',
            "COCO",
        ),
        (
            "a.json",
            '{"questions": [{"image": "0.png", "question": "q"}, {"image": "1.png", "question": "r"}]}',
            "Its rows may be in questions",
        ),
        (
            "a.json",
            '{"image": {"0": "0.png", "1": "1.png"}, "text": {"0": "x", "1": "y"}}',
            "pandas' to_json",
        ),
        ("a.csv", "image,text\n0.png,a,b\n", "line 2 has 3 cells, and its header has 2"),
        ("a.csv", "image,image\n0.png,a\n", "two columns 'image'"),
        ("a.csv", 'image,text\n0.png,"a\n', "unexpected end of data"),
        ("a.csv", b"image,text\n0.png,\xe9\n", "not UTF-8"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.tar", b"no tar", "damaged or cut off"),
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a.parquet.* Git LFS pointer",
        ),
    ],
)
def test_a_damaged_file_is_named_with_the_place(
    tmp_path: Path, name: str, text: str | bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(DataError, match=said) as caught:
        open_dataset(DatasetSpec(source=str(tmp_path / name)), cache_dir=tmp_path / "cache", required=())

    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("train-1.parquet", b"<html>sign in</html>"),
        ("train-1.jsonl.gz", gzip.compress(b'{"image": "0.png"}\n' * 9, mtime=0)[:-12]),
    ],
)
def test_of_several_files_the_damaged_one_is_named_with_what_to_do(
    name: str, body: bytes, tmp_path: Path
) -> None:
    ending = name.partition(".")[2]
    if ending == "parquet":
        write_parquet(tmp_path / "train-0.parquet", [{"image": "0.png"}])
    else:
        (tmp_path / f"train-0.{ending}").write_bytes(gzip.compress(b'{"image": "0.png"}\n'))
    (tmp_path / name).write_bytes(body)

    with pytest.raises(DataError) as caught:
        open_dataset(DatasetSpec(source=str(tmp_path)), cache_dir=tmp_path / "cache", required=())

    assert str(caught.value).startswith(f"{name} in {tmp_path} cannot be read: ")
    assert "fetch or write it anew" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("a.zip", "Unpack it"),
        ("a.xlsx", "Save it as CSV"),
        ("a.PNG", "Give dataset.source the folder"),
        ("a.x", ""),
    ],
)
def test_a_file_that_is_not_read_is_told_what_to_do_instead(name: str, instead: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")

    with pytest.raises(DataError, match="Unsupported dataset") as caught:
        open_dataset(DatasetSpec(source=str(tmp_path / name)), cache_dir=tmp_path / "cache", required=())

    assert (caught.value.hint or "").startswith(instead or "Supported formats")
    assert ".parquet" in (caught.value.hint or "")


def test_the_list_that_holds_the_rows_is_told_how_to_get(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"info": 1,\n "questions": [{"image": "0.png"}]}')

    with pytest.raises(DataError) as caught:
        open_dataset(DatasetSpec(source=str(tmp_path / "a.json")), cache_dir=tmp_path / "cache", required=())

    assert "jq .questions a.json > rows.json" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "row",
    [
        {
            "image": "0.png",
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        },
        {"images": [{"bytes": "x"}, {"bytes": "y"}], "text": "q"},
        {"image": "0.png", "output": [{"rationale": "a"}, {"rationale": "b"}]},
        {"pages": [{"image": "0.png"}, {"image": "1.png"}], "text": "q"},
    ],
)
def test_one_row_may_hold_lists_of_objects_of_its_own(row: dict[str, object], tmp_path: Path) -> None:
    """Some people have a file for each row."""
    (tmp_path / "a.json").write_text(json.dumps(row))
    columns = {"columns": {"image": "pages[].image"}} if "pages" in row else {}
    spec = DatasetSpec.model_validate({"source": str(tmp_path / "a.json"), **columns})

    assert open_dataset(spec, cache_dir=tmp_path / "cache", required=()).train.num_rows == 1


def test_a_sample_of_a_shard_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST_SAMPLE", 10_000)
    row = dict.fromkeys(COLUMNS, "x" * 4000)
    source = of_webdataset(tmp_path, [row])

    with pytest.raises(DataError, match=r"The sample 0000 in shard-000\.tar has more than 10,000 bytes"):
        open_dataset(DatasetSpec(source=str(source)), cache_dir=tmp_path / "cache", required=())
