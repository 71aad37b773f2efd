"""
What stands in a run's way before it exists: each rule once, as a function from facts to problems. Pure.

`prepare` raises the first; `lint`, `doctor` and `plan` list them under their own codes. Whoever finds a
problem, its sentence and its hint are these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.core.names import RUN_FOLDERS
from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.evaluate import check_metrics
from vlm_runner.models import Lifecycle
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Iterator

    from vlm_runner.aws.ports import Caller, FoundationModel
    from vlm_runner.core.run import Run
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.models.profile import Source
    from vlm_runner.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run would fail."""

    code: str
    """Of lint's rule, or of doctor's check where lint cannot see it."""
    message: str
    """A sentence without its period."""
    hint: str | None
    field: str | None = None
    """Of the spec."""
    source: Source | None = None
    """Where the model's own number comes from."""

    @property
    def error(self) -> ConfigurationError | DataError:
        kind = DataError if self.code.startswith("D") else ConfigurationError
        return kind(f"{self.message}.", hint=self.hint)


def refuse(*found: Iterable[Problem]) -> None:
    """
    Raise the first problem, if there is one.

    Raises:
        ConfigurationError, DataError: the run would fail.
    """
    for problems in found:
        for problem in problems:
            raise problem.error


def spec_problems(
    spec: RunSpec, profile: ModelProfile, metric_modules: Collection[str] = ()
) -> Iterator[Problem]:
    """What the spec alone shows; `metric_modules` are the settings'."""
    for name, value in spec.training.hyperparameters.items():
        try:
            profile.check_hyperparameters({name: value})
        except ConfigurationError as error:
            known = profile.hyperparameters.get(name)
            yield Problem(
                "S501",
                error.message.rstrip("."),
                error.hint,
                f"training.hyperparameters.{name}",
                known.source_of("maximum") if known is not None else None,
            )
    modes, mode = profile.serving.modes, spec.serving.mode.value
    if spec.serving.mode is not ServingMode.AUTO and mode not in modes:
        yield Problem(
            "S504",
            f"{profile.name} cannot be served as '{mode}'; choose from {', '.join(modes)}",
            "Set mode under [serving].",
            "serving.mode",
            profile.serving.source_of("modes"),
        )
    try:
        check_metrics(spec.test.metrics, metric_modules)
    except ConfigurationError as error:
        yield Problem("S509", error.message.rstrip("."), error.hint, "test.metrics")


def region_problems(profile: ModelProfile, region: str) -> Iterator[Problem]:
    """Whether the model is fine-tuned in `region`; empty: none was given, and none is assumed."""
    hint = f'Give --region {profile.regions[0]}, or set region = "{profile.regions[0]}" under [aws].'
    where = f"{profile.name} is fine-tuned in {', '.join(profile.regions)}"
    if not region:
        yield Problem("S507", f"No AWS region; {where}", hint, "aws.region")
    elif region not in profile.regions:
        yield Problem("S507", f"{where}, not in {region}", hint, "aws.region")


def lifecycle_problems(profile: ModelProfile, catalogue: Catalogue, day: dt.date) -> Iterator[Problem]:
    """What the catalogue's dates show; Bedrock itself, where it can be asked, knows better."""
    state, dates = profile.lifecycle_on(day), profile.lifecycle
    if state is Lifecycle.ACTIVE:
        return
    code, field = ("S502", "end_of_life") if state is Lifecycle.EOL else ("S503", "legacy")
    yield Problem(
        code,
        f"{profile.name} can no longer be fine-tuned: {_known_date(profile, day)}",
        alternatives(profile, catalogue, day),
        "model.base",
        dates.source_of(field),
    )


def model_problems(
    profile: ModelProfile, found: FoundationModel | None, catalogue: Catalogue, region: str, day: dt.date
) -> Iterator[Problem]:
    """What Bedrock says of the model; `found` is None where Bedrock does not know it."""
    hint = alternatives(profile, catalogue, day)
    if found is None or found.lifecycle != "ACTIVE":
        state = "does not know it" if found is None else f"calls it {found.lifecycle}"
        known = _known_date(profile, day)
        yield Problem(
            "C03",
            f"{profile.name} can no longer be fine-tuned: Bedrock in {region} {state}"
            + (f"; {known}" if known else ""),
            hint,
            "model.base",
        )
    elif "FINE_TUNING" not in found.customizations:
        supported = ", ".join(found.customizations) or "none"
        yield Problem(
            "C04",
            f"Bedrock does not fine-tune {profile.base_id} in {region}; its customizations: {supported}",
            hint,
            "model.base",
        )


def _known_date(profile: ModelProfile, day: dt.date) -> str:
    return {
        Lifecycle.ACTIVE: "",
        Lifecycle.LEGACY: f"it is Legacy since {profile.lifecycle.legacy}",
        Lifecycle.EOL: f"its end of life was {profile.lifecycle.end_of_life}",
    }[profile.lifecycle_on(day)]


def alternatives(profile: ModelProfile, catalogue: Catalogue, day: dt.date) -> str:
    """The models to use instead, as a hint."""
    others = catalogue.alternatives(profile, day)
    named = ", ".join(f"{other.base_id} ({', '.join(other.regions)})" for other in others)
    return f"Set model.base to one of: {named}." if named else "The catalogue has no other active model."


def role_problems(spec: RunSpec, caller: Caller) -> Iterator[Problem]:
    """Only roles of the account that calls can be passed (iam:PassRole does not cross accounts)."""
    roles = {"training.role_arn": spec.training.role_arn}
    if spec.serving.dead_man_switch is not None:
        roles["serving.dead_man_switch.role_arn"] = spec.serving.dead_man_switch.role_arn
    for field, arn in roles.items():
        owner = arn.split(":")[4]
        if owner != caller.account:
            yield Problem(
                "C05",
                f"{field} is a role of account {owner}, and these credentials are of {caller.account}",
                "Name a role of the account that you use, or change AWS_PROFILE.",
                field,
            )


def in_place_problems(spec: RunSpec, bucket: str) -> Iterator[Problem]:
    """
    Whether images can stay where `dataset.images_in_place` says; `bucket` is the run's.

    A dataset for Nova has its images in the bucket of its records (Nova user guide,
    fine-tune-prepare-data-understanding), and the job's role reads no other.
    """
    field = "dataset.images_in_place"
    ours = [f"s3://{bucket}/{spec.storage.prefix}{folder}/" for folder in RUN_FOLDERS]
    for folder in spec.dataset.images_in_place:
        there, _, _ = folder.removeprefix("s3://").partition("/")
        if there != bucket:
            yield Problem(
                "C32",
                f"{field} names {folder}, and images can only stay in the bucket of the records, {bucket}",
                f'Set bucket = "{there}" under [storage], or leave {folder} out: its images are copied.',
                field,
            )
        elif any(folder.startswith(own) or own.startswith(folder) for own in ours):
            yield Problem(
                "C32",
                f"{field} names {folder}, and runs write and delete in {', '.join(ours)}",
                "Name a folder beside them, or leave it out: its images are copied.",
                field,
            )


def parent_problems(
    spec: RunSpec, profile: ModelProfile, parent: Run, caller: Caller, region: str
) -> Iterator[Problem]:
    """Whether training can continue from the model of `parent`."""
    lineage, field = profile.lineage, "model.from_run"
    if lineage is None or not lineage.custom_base:
        yield Problem(
            "C28",
            f"The catalogue does not know that a custom model of {profile.name} can be trained further",
            "Leave from_run out, to train from the base model.",
            field,
        )
    if parent.spec.model.base != spec.model.base:
        yield Problem(
            "C29",
            f"Run {parent.run_id} trained {parent.spec.model.base}, and model.base is {spec.model.base}",
            f'Set base = "{parent.spec.model.base}" under [model].',
            field,
        )
    if (parent.account, parent.region) != (caller.account, region):
        yield Problem(
            "C30",
            f"The model of run {parent.run_id} is in {parent.account}, {parent.region}, "
            f"and this run is to be in {caller.account}, {region}",
            "Use the account and region of that run.",
            field,
        )


def count_problems(
    profile: ModelProfile, train: int, validation: int, *, at_most: bool = False
) -> Iterator[Problem]:
    """
    Whether the model takes so many records; Bedrock counts all that is sent, a validation set too.

    `at_most`: some of these rows may yet be skipped, so that only too few of them is certain.
    """
    records = profile.records
    total = records.counted(train, validation)
    if total < records.minimum:
        yield Problem(
            "D401",
            f"{total:,} records; {profile.name} takes {records.minimum:,} or more, {records.counting}",
            "Add rows, or choose a model that takes fewer.",
            source=records.source_of("minimum"),
        )
    if at_most:
        return
    if total > records.maximum:
        ask = f" Or ask for more: quota {profile.records_quota_code}." if records.adjustable else ""
        room = records.maximum - records.counted(0, validation)
        yield Problem(
            "D402",
            f"{total:,} records; {profile.name} takes {records.maximum:,} or fewer, {records.counting}",
            (f"Set max_rows = {room} under [dataset]." if room > 0 else "Use a smaller validation split.")
            + ask,
            source=records.source_of("maximum"),
        )
    if records.maximum_validation is not None and validation > records.maximum_validation:
        yield Problem(
            "D403",
            f"{validation:,} validation records; "
            f"{profile.name} takes {records.maximum_validation:,} or fewer",
            "Use a smaller validation split, or a smaller validation_fraction.",
            source=records.source_of("maximum_validation"),
        )


def key_problem(uri: str, run_id: str, fingerprint: str) -> Problem:
    """The claim at `uri`, of `run_id`, is for other content than `fingerprint`'s; "": there is none."""
    return Problem(
        "C26",
        f"{uri} says that these keys hold another dataset, prompt or image format (of run {run_id})"
        if run_id
        else f"objects that no run wrote lie beside {uri}, which does not exist; they are not overwritten",
        f'Set prefix = "{fingerprint[:8]}" under [storage], or leave it out: then no keys are shared.',
        "storage.prefix",
    )
