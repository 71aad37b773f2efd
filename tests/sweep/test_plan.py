"""From sweep.toml to runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.sweep.plan import SweepSpec, plan, read_sweep
from vlm_runner.sweep.table import values_text

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {
    "dataset": {"source": "pages"},
    "model": {"base": "amazon.nova-lite-v1:0:300k"},
    "training": {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": {"epochCount": 1}},
}
RATE, EPOCHS = "training.hyperparameters.learningRate", "training.hyperparameters.epochCount"


def planned(**sweep: Any) -> Any:
    return plan(SweepSpec(**sweep), BASE)


def test_a_grid_is_every_combination() -> None:
    runs = planned(grid={RATE: [0.00001, 0.00005], EPOCHS: [1, 2, 3]})

    seen = [run.spec.training.hyperparameters for run in runs]
    assert len(runs) == len({run.run_id for run in runs}) == 6
    assert seen[0] == {"epochCount": "1", "learningRate": "0.00001"}
    assert seen[-1] == {"epochCount": "3", "learningRate": "0.00005"}


def test_a_list_is_each_entry_and_goes_with_a_grid() -> None:
    runs = planned(runs=[{"test.rows": 1}, {"test.rows": 2}], grid={EPOCHS: [1, 2]})

    assert [(run.spec.test.rows, run.values[EPOCHS]) for run in runs] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_same_file_gives_the_same_runs_and_equal_ones_count_once() -> None:
    sweep = {"grid": {EPOCHS: [1, 1, 2]}}

    assert [run.run_id for run in planned(**sweep)] == [run.run_id for run in planned(**sweep)]
    assert len(planned(**sweep)) == 2


def test_runs_on_the_same_data_share_their_keys() -> None:
    runs = planned(grid={RATE: [0.1, 0.2]})

    assert {run.spec.storage.prefix for run in runs} == {""}
    assert len({run.group for run in runs}) == 1


def test_other_data_need_no_prefix_unless_the_spec_has_one() -> None:
    grid = {"dataset.revision": ["a", "b"], EPOCHS: [1, 2]}

    free = planned(grid=grid)
    fixed = planned(grid=grid, runs=[{"storage.prefix": "team"}])

    assert {run.spec.storage.prefix for run in free} == {""}
    assert len({run.group for run in free}) == 2
    prefixes = {run.spec.storage.prefix for run in fixed}
    assert len(prefixes) == 2
    assert all(prefix.startswith("team/") and len(prefix) > len("team/") for prefix in prefixes)


def test_prompts_presets_and_numbers_of_rows_share_images() -> None:
    runs = planned(
        runs=[{"prompt.preset": "accessibility"}, {"prompt.preset": "caption"}],
        grid={"dataset.max_rows": [10, 20]},
    )

    assert len({run.run_id for run in runs}) == 4
    assert len({run.group for run in runs}) == 1


def test_a_run_that_an_older_version_began_is_known_by_the_id_and_the_spec_that_it_had() -> None:
    """Runs on several datasets had a prefix each, which was part of their id."""
    runs = planned(grid={"dataset.source": ["cats", "dogs"]})

    for run in runs:
        apart = run.spec.model_copy(
            update={"storage": run.spec.storage.model_copy(update={"prefix": f"{run.spec.content}/"})}
        )
        assert (f"sweep-{apart.fingerprint[:8]}", apart) in run.former


def test_a_template_may_be_a_file_beside_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        '[dataset]\nsource = "x"\n[model]\nbase = "m"\n[prompt]\nuser = "u"\nassistant = "{{ output }}"\n'
        '[training]\nrole_arn = "arn:aws:iam::123456789012:role/sft"\n'
    )
    (tmp_path / "short.txt").write_text("Judge {{ html }}")
    grid = '[grid]\n"prompt.user" = [{ file = "short.txt" }, "What is {{ html }}?"]\n'
    (tmp_path / "sweep.toml").write_text(grid)

    runs = read_sweep(tmp_path / "sweep.toml").runs
    (tmp_path / "short.txt").unlink()

    assert [run.spec.prompt.user for run in runs] == ["Judge {{ html }}", "What is {{ html }}?"]
    assert values_text(runs[0].values) == 'prompt.user = {"file": "short.txt"}'
    with pytest.raises(ConfigurationError, match=r"The template .*short.txt cannot be read"):
        read_sweep(tmp_path / "sweep.toml")


@pytest.mark.parametrize("section", [{"test.rows": 0}, {"serving.mode": "none"}])
def test_a_sweep_cannot_rank_by_answers_that_a_run_does_not_ask_for(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="ranks by 'similarity'"):
        planned(runs=[section], metric="similarity")
    assert planned(runs=[section], metric="training_loss")


@pytest.mark.parametrize("key", ["training.epochs", "model.base.name", "nonsense"])
def test_a_key_that_is_no_place_in_the_spec_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError):
        planned(grid={key: [1]})


def test_more_runs_than_anybody_means_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="1024 runs"):
        planned(grid={RATE: [n / 1e6 for n in range(32)], EPOCHS: list(range(32))})


def test_combinations_that_no_memory_holds_are_counted_and_not_made() -> None:
    with pytest.raises(ConfigurationError, match="more than 1000000000 runs"):
        planned(grid={f"training.hyperparameters.h{n}": list(range(10)) for n in range(5000)})


def test_a_key_without_values_makes_no_sweep_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(f'[grid]\n"{EPOCHS}" = []\n')

    with pytest.raises(ConfigurationError, match=f"grid.*{EPOCHS}.*at least 1 item"):
        read_sweep(tmp_path / "sweep.toml")


def test_a_sweep_stands_beside_its_spec(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        '[dataset]\nsource = "x"\n[model]\nbase = "m"\n'
        '[training]\nrole_arn = "arn:aws:iam::123456789012:role/sft"\n'
    )
    (tmp_path / "sweep.toml").write_text(f'spec = "base.toml"\n[grid]\n"{EPOCHS}" = [1, 2]\n')

    assert len(read_sweep(tmp_path / "sweep.toml").runs) == 2
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_sweep(tmp_path / "none.toml")
