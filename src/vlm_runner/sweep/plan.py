"""From sweep.toml to the runs it describes; pure but for reading two files."""

from __future__ import annotations

import copy
import itertools
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - pydantic looks at it
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from vlm_runner.core.names import slug
from vlm_runner.errors import ConfigurationError
from vlm_runner.path_segment import path_segment
from vlm_runner.spec import Duration, RunSpec, Section, sentence

MOST_RUNS = 1000


class SweepSpec(Section, frozen=True):
    """The file `sweep.toml`. Keys of `grid` and `runs` are dotted paths into the spec."""

    spec: str = "run.toml"
    """The spec that all runs share; its path is relative to this file."""
    name: Annotated[str, AfterValidator(path_segment)] = Field(default="sweep", max_length=40)
    jobs: int = Field(default=2, ge=1)
    """Customization jobs at a time: accounts were seen to have a limit of 2."""
    throughputs: int = Field(default=1, ge=1)
    """Throughputs or deployments at a time: each bills by the hour."""
    patience: Duration = "24h"
    """For how long a full quota is waited for, where others use the account too."""
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    runs: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of a sweep."""

    run_id: str
    spec: RunSpec
    values: dict[str, Any]
    """What it differs in."""
    former_run_id: str
    """The id by which an older version knew it; see `RunSpec.former_fingerprint`."""
    group: str
    """Runs of one group have the same images and records, under the same keys."""


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
    return Sweep(spec, plan(spec, _toml(path.parent / spec.spec)))


def plan(sweep: SweepSpec, base: dict[str, Any]) -> tuple[Planned, ...]:
    """Every combination of the grid for every entry of the list; without duplicates."""
    keys = list(sweep.grid)
    grid = [dict(zip(keys, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    variants = [entry | point for entry in (sweep.runs or [{}]) for point in grid]
    if len(variants) > MOST_RUNS:
        raise ConfigurationError(f"This sweep has {len(variants)} runs; {MOST_RUNS} is the most.")
    made = [(values, _spec_of(base, values)) for values in variants]
    groups = {spec.content for _, spec in made}
    planned: dict[str, Planned] = {}
    for values, bare in made:
        group = bare.content
        spec = bare if len(groups) == 1 else _apart(bare, group)
        name = slug(sweep.name, 40) or "sweep"
        run_id, former = f"{name}-{spec.fingerprint[:8]}", spec.former_fingerprint
        former_id = run_id if former is None else f"{name}-{former[:8]}"
        planned.setdefault(run_id, Planned(run_id, spec, values, former_id, group))
    return tuple(planned.values())


def _spec_of(base: dict[str, Any], values: dict[str, Any]) -> RunSpec:
    table = copy.deepcopy(base)
    for path, value in values.items():
        *folders, last = path.split(".")
        place = table
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"'{path}' does not exist in a spec: '{folder}' is a value.")
        place[last] = value
    named = ", ".join(f"{path} = {json.dumps(value)}" for path, value in values.items())
    return RunSpec.from_table(table, name=f"the spec with {named}" if named else "the spec")


def _apart(spec: RunSpec, group: str) -> RunSpec:
    storage = spec.storage.model_copy(update={"prefix": f"{spec.storage.prefix}{group}/"})
    return spec.model_copy(update={"storage": storage})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
