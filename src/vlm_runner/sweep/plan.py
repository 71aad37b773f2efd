"""From sweep.toml to the runs it describes; pure but for reading two files."""

from __future__ import annotations

import copy
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - pydantic looks at it
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from vlm_runner.core.names import slug
from vlm_runner.core.places import digest
from vlm_runner.core.text import storable
from vlm_runner.errors import ConfigurationError
from vlm_runner.path_segment import path_segment
from vlm_runner.spec import Duration, RunSpec, Section, ServingMode, read_toml, sentence, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_RUNS: Final = 1000
UNTOLD_RUNS: Final = 10**9
"""From here on how many there are is not said: Python writes no number of more than 4,300 digits."""
LOSSES: Final = ("validation_loss", "training_loss")
"""That a job ends with; the less, the better."""


class SweepSpec(Section, frozen=True):
    """
    The file `sweep.toml`. Keys of `grid` and `runs` are dotted paths into the spec.

    A template's value may be `{ file = "prompts/short.txt" }`; its path is relative to this file.
    """

    spec: str = "run.toml"
    """The spec that all runs share; its path is relative to this file."""
    name: Annotated[str, AfterValidator(path_segment)] = Field(default="sweep", max_length=40)
    jobs: int = Field(default=2, ge=1)
    """Customization jobs at a time: accounts were seen to have a limit of 2."""
    throughputs: int = Field(default=1, ge=1)
    """Throughputs or deployments at a time: each bills by the hour."""
    patience: Duration = "24h"
    """For how long a full quota is waited for, where others use the account too."""
    metric: str | None = Field(default=None, min_length=1)
    """
    What the comparison ranks by: `validation_loss` or `training_loss`, the less the better; or a score of the
    test answers, such as `similarity` or `findings.f1`, the more the better. None: the validation loss, or
    where no run has one the training loss.
    """
    stop_after: int | None = Field(default=None, ge=1)
    """Begin no further run once so many in a row were not better than the best; None: run all."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    runs: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of a sweep."""

    run_id: str
    spec: RunSpec
    values: dict[str, Any]
    """What it differs in."""
    former: tuple[tuple[str, RunSpec], ...]
    """Ids by which older versions knew it, each with the spec that it had there."""
    group: str
    """Runs of one group may share images, and are staged one after another, so that each is uploaded once."""


@dataclass(frozen=True, slots=True)
class Sweep:
    spec: SweepSpec
    runs: tuple[Planned, ...]


def read_sweep(path: Path) -> Sweep:
    """
    The runs of a file, in its order.

    Raises:
        ConfigurationError: a file is missing, invalid, or not a sweep; or a key does not exist in the spec.
    """
    table = _toml(path)
    try:
        spec = SweepSpec.model_validate(table)
    except ValidationError as error:
        raise ConfigurationError(f"{path} does not fit: {sentence(error)}.") from error
    base = path.parent / spec.spec
    runs = plan(spec, _toml(base), read=lambda name: _template(path.parent / name), folder=base.parent)
    return Sweep(spec, runs)


def _template(path: Path) -> str:
    try:
        return text_of(path, f"The template {path}")
    except FileNotFoundError as error:
        raise ConfigurationError(f"The template {path} cannot be read: {error.strerror}.") from error


def plan(
    sweep: SweepSpec,
    base: dict[str, Any],
    read: Callable[[str], str] = lambda name: name,
    folder: Path | None = None,
) -> tuple[Planned, ...]:
    """
    Every combination of the grid for every entry of the list; without duplicates.

    `read` gives the text of a template's file, by the name that the sweep has for it; `folder` is that of the
    shared spec.

    Raises:
        ConfigurationError: a key does not exist in the spec, a value does not fit, or a run cannot have the
            metric that is ranked by.
    """
    keys = list(sweep.grid)
    # Before they are made: a dozen keys of ten values have more combinations than memory holds.
    many = math.prod(map(len, sweep.grid.values())) * max(1, len(sweep.runs))
    if many > MOST_RUNS:
        has = many if many < UNTOLD_RUNS else f"more than {UNTOLD_RUNS}"
        raise ConfigurationError(f"This sweep has {has} runs; {MOST_RUNS} is the most.")
    grid = [dict(zip(keys, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    variants = [entry | point for entry in (sweep.runs or [{}]) for point in grid]
    made = [(values, _spec_of(base, values, read, folder)) for values in variants]
    several = len({spec.content for _, spec in made}) > 1
    name = slug(sweep.name, 40) or "sweep"
    planned: dict[str, Planned] = {}
    for values, bare in made:
        # Under a prefix the keys are the user's, and hold one content; elsewhere runs find their own.
        apart = _apart(bare) if several else bare
        spec = apart if bare.storage.prefix else bare
        run_id, *_ = _run_ids(name, spec)
        former = [(each, one) for one in (spec, apart) for each in _run_ids(name, one) if each != run_id]
        planned.setdefault(run_id, Planned(run_id, spec, values, tuple(former), images_group(spec)))
    for one in planned.values():
        _check_measured(sweep.metric, one.spec)
    return tuple(planned.values())


def _run_ids(name: str, spec: RunSpec) -> list[str]:
    """The id of a run, and the one that a version with another default mode gave it."""
    prints = (spec.fingerprint, spec.former_fingerprint)
    return [f"{name}-{each[:8]}" for each in prints if each is not None]


def _check_measured(metric: str | None, spec: RunSpec) -> None:
    asks = spec.test.rows > 0 and spec.serving.mode is not ServingMode.NONE
    if metric is None or metric in LOSSES or asks:
        return
    raise ConfigurationError(
        f"The sweep ranks by '{metric}', a score of test answers, but one of its runs has no tests.",
        hint='Set rows under [test] and a serving mode, or metric = "validation_loss" in the sweep.',
    )


def images_group(spec: RunSpec) -> str:
    """Eight hex digits of what runs that may share images have in common."""
    data = spec.dataset
    parts = (
        data.source,
        data.config,
        data.revision,
        spec.images.model_dump_json(),
        spec.storage.model_dump_json(),
    )
    return digest(*map(str, parts))[:8]


def _spec_of(
    base: dict[str, Any], values: dict[str, Any], read: Callable[[str], str], folder: Path | None
) -> RunSpec:
    table = copy.deepcopy(base)
    for path, value in values.items():
        *folders, last = path.split(".")
        place = table
        for section in folders:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"'{path}' does not exist in a spec: '{section}' is a value.")
        place[last] = read(value["file"]) if folders == ["prompt"] and _is_file(value) else value
    named = ", ".join(f"{path} = {json.dumps(value, default=str)}" for path, value in values.items())
    name = f"the spec with {storable(named)}" if named else "the spec"
    return RunSpec.from_table(table, name=name, folder=folder)


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"file"} and isinstance(value["file"], str)


def _apart(spec: RunSpec) -> RunSpec:
    storage = spec.storage.model_copy(update={"prefix": f"{spec.storage.prefix}{spec.content}/"})
    return spec.model_copy(update={"storage": storage})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist.") from None
