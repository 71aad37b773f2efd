from __future__ import annotations

import datetime as dt
import tomllib
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_runner.errors import ConfigurationError
from vlm_runner.models import Lifecycle, find, load_catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
LLAMA_90B = "meta.llama3-2-90b-instruct-v1:0:128k"
NOVA = "amazon.nova-lite-v1:0:300k"
NOVA_PRO = "amazon.nova-pro-v1:0:300k"
NOVA_2 = "amazon.nova-2-lite-v1:0:256k"
TODAY = dt.date(2026, 11, 22)


def bare_numbers(value: Any, path: str = "", *, sourced: bool = False) -> Iterator[str]:
    """Every number (or day) under `value` that has no source and date over it."""
    if isinstance(value, dict):
        sourced = sourced or (bool(value.get("source")) and isinstance(value.get("date"), dt.date))
        for key, item in value.items():
            yield from bare_numbers(item, f"{path}.{key}", sourced=sourced)
    elif isinstance(value, list):
        for item in value:
            yield from bare_numbers(item, path, sourced=sourced)
    elif isinstance(value, int | float | dt.date) and not isinstance(value, bool) and not sourced:
        yield path


def raw() -> dict[str, Any]:
    return tomllib.loads((files("vlm_runner.models") / "catalogue.toml").read_text(encoding="utf-8"))


def test_every_number_has_a_source_and_a_date() -> None:
    assert list(bare_numbers(raw())) == []


def test_the_test_above_sees_a_number_without_source() -> None:
    assert list(bare_numbers({"tokens": {"per_record": 1}})) == [".tokens.per_record"]
    assert list(bare_numbers({"tokens": {"per_record": {"value": 1, "source": "a page"}}})) != []


def test_a_single_number_keeps_its_own_source() -> None:
    nova_2 = find(NOVA_2)

    assert nova_2.records.minimum == 200
    assert "nova-2-sft-data-prep" in nova_2.records.source_of("minimum").source
    assert "quotas" in nova_2.records.source_of("maximum").source


def test_only_nova_2_lite_takes_no_validation_set() -> None:
    without = {base_id for base_id, model in load_catalogue().models.items() if not model.records.validation}

    assert without == {NOVA_2}
    assert find(NOVA_2).inference.max_output_tokens == 64_000
    assert find(NOVA).inference.max_output_tokens == 5_000


def test_there_are_both_families() -> None:
    assert set(load_catalogue().models) == {LLAMA, LLAMA_90B, NOVA, NOVA_PRO, NOVA_2}


@pytest.mark.parametrize(
    ("base_id", "region", "records", "tokens", "formats"),
    [
        (LLAMA, "us-west-2", (100, 10_000), 16_000, {"png", "jpeg", "gif", "webp"}),
        (LLAMA_90B, "us-west-2", (100, 10_000), 10_000, {"png", "jpeg", "gif", "webp"}),
        (NOVA, "us-east-1", (8, 20_000), 32_000, {"png", "jpeg", "gif", "webp"}),
        (NOVA_PRO, "us-east-1", (8, 20_000), 32_000, {"png", "jpeg", "gif", "webp"}),
        (NOVA_2, "us-east-1", (200, 20_000), 32_000, {"png", "jpeg", "gif"}),
    ],
)
def test_data_rules(
    base_id: str, region: str, records: tuple[int, int], tokens: int, formats: set[str]
) -> None:
    profile = find(base_id)

    assert profile.regions == (region,)
    assert (profile.records.minimum, profile.records.maximum) == records
    assert profile.tokens.per_record == tokens
    assert set(profile.images.formats) == formats
    assert profile.images.max_bytes == 10_000_000
    assert profile.inference.max_image_bytes == 3_750_000
    assert profile.inference.max_image_side == 8_000


def test_an_unknown_model_is_answered_with_near_ones_and_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        find("amazon.nova-lite-v1:0")

    assert f"Did you mean {NOVA}?" in str(caught.value)
    assert LLAMA_90B in str(caught.value)


@pytest.mark.parametrize(
    ("day", "state"),
    [
        ("2026-01-06", Lifecycle.ACTIVE),
        ("2026-01-07", Lifecycle.LEGACY),
        ("2026-07-06", Lifecycle.LEGACY),
        ("2026-07-07", Lifecycle.EOL),
    ],
)
def test_llama_ages(day: str, state: Lifecycle) -> None:
    assert find(LLAMA).lifecycle_on(dt.date.fromisoformat(day)) is state
    assert find(NOVA).lifecycle_on(dt.date.fromisoformat(day)) is Lifecycle.ACTIVE


def test_a_dead_model_has_living_alternatives() -> None:
    catalogue = load_catalogue()

    names = [profile.base_id for profile in catalogue.alternatives(catalogue.find(LLAMA), TODAY)]

    assert names == [NOVA, NOVA_PRO, NOVA_2]


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((100, 100), 1601),
        ((1119, 1119), 1601),
        ((1120, 1119), 3202),
        ((1280, 800), 3202),
        ((1120, 1120), 6404),
        ((8192, 8192), 6404),
    ],
)
def test_llama_counts_tiles(size: tuple[int, int], tokens: int) -> None:
    assert find(LLAMA).image_tokens(*size) == tokens


@pytest.mark.parametrize(("size", "tokens"), [((900, 450), 800), ((900, 900), 1300), ((1300, 1300), 2600)])
def test_nova_counts_as_the_page_says(size: tuple[int, int], tokens: int) -> None:
    assert find(NOVA).image_tokens(*size) == tokens


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(width=st.integers(1, 8000), height=st.integers(1, 8000))
def test_a_larger_image_never_counts_less(width: int, height: int) -> None:
    for base_id in (LLAMA, NOVA):
        count = find(base_id).image_tokens

        assert 0 < count(width, height) <= count(width + 900, height + 900)


def test_hyperparameters_of_the_notebook_pass() -> None:
    given_ones = {"epochCount": "2", "batchSize": "1", "learningRate": "0.00001"}

    assert find(LLAMA).check_hyperparameters(given_ones) == given_ones


def test_an_exponent_becomes_plain_text() -> None:
    assert find(NOVA).check_hyperparameters({"learningRate": "1e-05"}) == {"learningRate": "0.00001"}


@pytest.mark.parametrize(
    ("base_id", "name", "value"),
    [
        (NOVA, "batchSize", "1"),
        (NOVA, "epochCount", "6"),
        (NOVA, "epochCount", "0"),
        (NOVA, "epochCount", "2.5"),
        (NOVA, "epochCount", "two"),
        (NOVA, "learningRate", "nan"),
        (NOVA, "learningRate", "inf"),
        (NOVA, "learningRate", "0.001"),
        (NOVA_2, "learningRateWarmupSteps", "21"),
        (LLAMA, "batchSize", "2"),
    ],
)
def test_a_wrong_hyperparameter_is_named(base_id: str, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        find(base_id).check_hyperparameters({name: value})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=12))
def test_no_text_breaks_the_check(text: str) -> None:
    try:
        checked = find(NOVA).check_hyperparameters({"epochCount": text})
    except ConfigurationError:
        return
    assert checked["epochCount"] in {"1", "2", "3", "4", "5"}


def test_what_is_known_of_prices_is_exact_and_the_rest_is_none() -> None:
    llama, nova = find(LLAMA), find(NOVA)

    assert llama.training_cost(1_701_000, 2) == Decimal("11.907")
    assert llama.throughput_price(2) == Decimal("46.00")
    assert llama.storage_price() == Decimal("1.95")
    assert llama.call_cost(1, 1) is None
    assert nova.training_cost(1_000_000, 1) is None
    assert nova.call_cost(1_000_000, 1_000_000) == Decimal("0.30")
    assert find(NOVA_PRO).throughput_price() is None


def test_a_custom_model_has_token_prices_of_its_own() -> None:
    nova_2 = find(NOVA_2)

    assert nova_2.call_cost(1_000_000, 1_000_000) == Decimal("3.08")
    assert nova_2.custom_call_cost(1_000_000, 1_000_000) == Decimal("2.80")


def test_what_one_source_alone_tells_is_called_about() -> None:
    nova, nova_2 = find(NOVA), find(NOVA_2)

    assert nova.throughput_price() == Decimal("108.15")
    assert nova.prices.source_of("throughput_per_unit_hour").about
    assert nova_2.prices.source_of("training_per_million_tokens").about
    assert not nova_2.prices.source_of("custom_input_per_million_tokens").about
    assert not nova_2.prices.source_of("input_per_million_tokens").about


def test_only_nova_is_served_on_demand() -> None:
    assert find(LLAMA).serving.modes == ("provisioned", "none")
    assert find(NOVA).serving.modes == ("provisioned", "on-demand", "none")


def test_a_users_file_replaces_a_value_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f'[models."{NOVA}".prices]\ntraining_per_million_tokens = 1.25\n')

    nova = load_catalogue(path).find(NOVA)

    assert nova.training_cost(2_000_000, 3) == Decimal("7.50")
    assert nova.call_cost(1_000_000, 0) == Decimal("0.06")
    assert nova.prices.source_of("training_per_million_tokens").source == str(path)
    assert "aws.amazon.com" in nova.prices.source_of("input_per_million_tokens").source
    assert find(NOVA).training_cost(1, 1) is None


def test_a_users_file_may_have_values_that_older_versions_knew(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        "[families.nova.inference]\nmax_output_tokens = 9000\nmax_top_k = 50\n"
        f'[models."{NOVA}".lifecycle]\nextended_access = 2027-01-01\n'
    )

    assert load_catalogue(path).find(NOVA).inference.max_output_tokens == 9000


def test_a_users_file_adds_a_model(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        '[models."amazon.nova-next-v1:0:1m"]\nfamily = "nova"\nname = "Next"\n'
        'inference_id = "amazon.nova-next-v1:0"\n'
        '[models."amazon.nova-next-v1:0:1m".prices]\n'
        '[models."amazon.nova-next-v1:0:1m".tokens]\nper_record = 64_000\n'
    )

    added = load_catalogue(path).find("amazon.nova-next-v1:0:1m")
    assert added.images.per_record == 10
    assert added.tokens.per_record == 64_000
    assert (added.tokens.source, added.prices.source) == (str(path), str(path))


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "models = 3",
        "[models]\nx = 1",
        '[models."x"]\nfamily = "nova"\n',
        f'[models."{NOVA}".prices]\nwrong = 1\n',
    ],
)
def test_a_broken_users_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r"models\.toml"):
        load_catalogue(path)


def test_a_users_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_catalogue(tmp_path / "none.toml")
