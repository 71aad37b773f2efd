"""What `start` refuses, and what lint and doctor list, is one problem with one sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner import preflight
from vlm_runner.aws.ports import Caller, FoundationModel
from vlm_runner.dataset import open_dataset
from vlm_runner.doctor import Status, Subject, run_checks
from vlm_runner.errors import AwsRefused, ConfigurationError, DataError, VlmRunnerError
from vlm_runner.lint import LintReport, lint_dataset
from vlm_runner.lint.finding import SubsetStats
from vlm_runner.lint.rows import check_counts
from vlm_runner.models import find, load_catalogue
from vlm_runner.sample import sample_folder
from vlm_runner.spec import DatasetSpec
from vlm_runner.testing.dataset import TinyDataset
from vlm_runner.testing.faults import Process
from vlm_runner.testing.world import World

if TYPE_CHECKING:
    from pathlib import Path

NOVA = find("amazon.nova-lite-v1:0:300k")
NOVA_2 = find("amazon.nova-2-lite-v1:0:256k")
LLAMA = find("meta.llama3-2-11b-instruct-v1:0:128k")
DAY = datetime(2026, 11, 22, tzinfo=UTC)
FOREIGN = "arn:aws:iam::999999999999:role/other"


class Unasked:
    """An inspection that answers nothing, so that only preflight's checks say anything."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object) -> None:
            raise AwsRefused(f"{name} is not asked here.")

        return refuse


async def refusal(world: World) -> VlmRunnerError:
    async with world.runner(Process()) as runner:
        with pytest.raises((ConfigurationError, DataError)) as caught:
            await runner.start(world.spec, run_id="cats")
    assert world.saved == [], "nothing was created"
    return caught.value


def linted(world: World) -> list[tuple[str, str]]:
    sample = DatasetSpec(source=str(sample_folder()))
    report = lint_dataset(open_dataset(sample), world.spec, NOVA, today=None, region=world.settings.region)
    return [(f"{finding.message}.", finding.fix) for finding in report.findings]


async def doctors(world: World, folder: Path) -> list[tuple[str, str | None]]:
    aws: Any = world.aws
    aws.region = world.settings.region
    inspection: Any = Unasked()
    checks = await run_checks(
        Subject(
            spec=world.spec,
            profile=NOVA,
            catalogue=load_catalogue(),
            aws=aws,
            inspection=inspection,
            now=lambda: DAY,
            store=folder,
        )
    )
    return [(f"{check.message}.", check.fix) for check in checks if check.status is Status.BAD]


SPEC = [
    {"training": {"role_arn": FOREIGN.replace("999999999999", "123456789012"), "hyperparameters": given}}
    for given in ({"epochCount": "99999"}, {"nonsense": "1"})
] + [{"test": {"rows": 1, "metrics": ["nowhere:nothing"]}}]


@pytest.mark.parametrize("sections", SPEC)
async def test_what_start_refuses_of_the_spec_lint_and_doctor_list(
    sections: dict[str, Any], tmp_path: Path
) -> None:
    world = World(**sections)

    error = await refusal(world)

    assert (error.message, error.hint) in linted(world)
    assert (error.message, error.hint) in await doctors(world, tmp_path)


async def test_a_wrong_region_is_one_sentence_for_all(tmp_path: Path) -> None:
    world = World()
    world.settings = world.settings.model_copy(update={"region": "us-west-2"})

    error = await refusal(world)

    assert (error.message, error.hint) in linted(world)
    assert (error.message, error.hint) in await doctors(world, tmp_path)


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"role_arn": FOREIGN}},
        {"serving": {"mode": "provisioned", "dead_man_switch": {"after": "2h", "role_arn": FOREIGN}}},
    ],
)
async def test_a_role_of_another_account_is_one_sentence_for_start_and_doctor(
    sections: dict[str, Any], tmp_path: Path
) -> None:
    world = World(**sections)

    error = await refusal(world)

    assert (error.message, error.hint) in await doctors(world, tmp_path)


@pytest.mark.parametrize("rows", [NOVA.records.minimum - 1, NOVA.records.maximum + 1])
async def test_too_few_and_too_many_rows_are_one_sentence_for_start_and_lint(rows: int) -> None:
    world = World()
    world.dataset = TinyDataset(rows)

    error = await refusal(world)

    report = LintReport(NOVA.base_id, "tiny", census={"train": SubsetStats(rows=rows)})
    found = check_counts(report, NOVA, train="train", validation=None, skip=False)
    assert (error.message, error.hint) in [(f"{each.message}.", each.fix) for each in found]


def test_rows_that_may_be_skipped_are_refused_only_where_they_are_too_few() -> None:
    few, many = NOVA.records.minimum - 1, NOVA.records.maximum + 1

    assert [p.code for p in preflight.count_problems(NOVA, few, 0, at_most=True)] == ["D401"]
    assert [*preflight.count_problems(NOVA, many, 0, at_most=True)] == []
    assert [p.code for p in preflight.count_problems(NOVA, many, 0)] == ["D402"]


@pytest.mark.parametrize(("train", "codes"), [(199, ["D401"]), (200, []), (20_000, []), (20_001, ["D402"])])
def test_held_out_rows_do_not_count_where_no_validation_set_is_taken(train: int, codes: list[str]) -> None:
    report = LintReport(NOVA_2.base_id, "tiny")
    report.census = {"train": SubsetStats(rows=train), "validation": SubsetStats(rows=100)}

    found = [
        each.code for each in check_counts(report, NOVA_2, train="train", validation="validation", skip=False)
    ]

    assert [p.code for p in preflight.count_problems(NOVA_2, train, 100)] == codes
    assert [code for code in found if code in {"D401", "D402"}] == codes
    assert found.count("D413") == 1


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (None, "C03", "does not know it; its end of life was 2026-07-07"),
        (FoundationModel("x", "LEGACY", ("FINE_TUNING",), ()), "C03", "calls it LEGACY; its end of life"),
        (FoundationModel("x", "ACTIVE", ("DISTILLATION",), ()), "C04", "its customizations: DISTILLATION"),
    ],
)
def test_bedrocks_word_on_a_model_is_explained_by_the_catalogues_dates(
    found: FoundationModel | None, code: str, said: str
) -> None:
    problem, *more = preflight.model_problems(LLAMA, found, load_catalogue(), "us-west-2", DAY.date())

    assert problem.code == code
    assert said in problem.message
    assert NOVA.base_id in (problem.hint or "")
    assert more == []


def test_an_active_model_and_our_own_role_are_no_problem() -> None:
    active = FoundationModel("x", "ACTIVE", ("FINE_TUNING",), ())
    world = World()

    preflight.refuse(
        preflight.model_problems(NOVA, active, load_catalogue(), "us-east-1", DAY.date()),
        preflight.role_problems(world.spec, Caller("123456789012", "arn:x", "aws")),
    )
