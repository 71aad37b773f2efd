"""The catalogue of base models: read from `catalogue.toml`, and from a user's own file over it."""

from __future__ import annotations

import datetime as dt
import difflib
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from vlm_runner.errors import ConfigurationError
from vlm_runner.models.profile import Lifecycle, ModelProfile
from vlm_runner.spec import read_toml, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Table = dict[str, Any]

FORMER: Final = frozenset(
    {
        "default_output_tokens", "default_temperature", "default_top_p", "extended_access", "max_images",
        "max_temperature", "max_top_k", "min_temperature", "on_demand_requests_per_minute", "on_demand_since",
        "on_demand_tokens_per_minute", "provisioned_units_default", "records_per_warmup_step",
    }
)  # fmt: skip
"""Values that nothing read; a user's file may still have them."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    models: Mapping[str, ModelProfile]

    def find(self, base_id: str) -> ModelProfile:
        """
        The profile of the model that a customization job knows as `base_id`.

        Raises:
            ConfigurationError: no such model; names near matches and all there are.
        """
        if profile := self.models.get(base_id):
            return profile
        near = [known for known, profile in self.models.items() if profile.inference_id == base_id]
        near = near or difflib.get_close_matches(base_id, self.models, n=2, cutoff=0.75)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ConfigurationError(
            f"The model catalogue knows no base model '{base_id}'.",
            hint=f"{meant}Set model.base in the spec to one of: {', '.join(self.models)}.",
        )

    def living(self, day: dt.date) -> tuple[ModelProfile, ...]:
        """The models that a new job may be started on."""
        return tuple(
            profile for profile in self.models.values() if profile.lifecycle_on(day) is Lifecycle.ACTIVE
        )

    def known(self, base_id: str) -> ModelProfile | None:
        """None for a model that this catalogue does not have (any more): a run of one can still be shown."""
        return self.models.get(base_id)

    def alternatives(self, profile: ModelProfile, day: dt.date) -> tuple[ModelProfile, ...]:
        """Living models to use instead of `profile`."""
        return tuple(other for other in self.living(day) if other.base_id != profile.base_id)


def load_catalogue(extra: Path | None = None, live: Table | None = None) -> Catalogue:
    """
    The package's catalogue; `extra` is a file of the same form that adds models and replaces single values.

    `live` holds prices as AWS lists them, in the same form: over the package's own, and below the user's.

    Raises:
        ConfigurationError: `extra` cannot be read, or a model in it is not complete.
    """
    if extra is None and not live:
        return _packaged()
    table = merge(_packaged_table(), live or {})
    if extra is None:
        return _catalogue(table, "the catalogue with AWS's prices")
    return _catalogue(_complete(merge(table, _extra_table(extra)), extra), str(extra))


def find(base_id: str) -> ModelProfile:
    """`Catalogue.find` in the package's own catalogue."""
    return load_catalogue().find(base_id)


@lru_cache(maxsize=1)
def _packaged() -> Catalogue:
    return _catalogue(_packaged_table(), "catalogue.toml")


@lru_cache(maxsize=1)
def _packaged_table() -> Table:
    """It is merged into others time and again, which changes nothing in it."""
    text = (files("vlm_runner.models") / "catalogue.toml").read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)


def _extra_table(path: Path) -> Table:
    try:
        table = read_toml(path, Decimal)
    except FileNotFoundError as error:
        raise ConfigurationError(f"The model catalogue {path} cannot be read: {error}.") from error
    shaped = all(isinstance(kind, dict) and _tables(kind) for kind in table.values())
    if not shaped or table.keys() - {"families", "models"}:
        raise ConfigurationError(
            f"The model catalogue {path} does not fit.",
            hint="It holds tables [models.…] and [families.…] only.",
        )
    return _with_source(_each_section(table, _without_former), _own(path))


def _without_former(section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    return {name: value for name, value in section.items() if name not in FORMER}


def _tables(table: Table) -> bool:
    return all(isinstance(value, dict) for value in table.values())


def _own(path: Path) -> Table:
    """What a user's file is quoted as."""
    return {"source": str(path), "date": dt.datetime.fromtimestamp(path.stat().st_mtime, tz=dt.UTC).date()}


def _with_source(table: Table, own: Table) -> Table:
    # A user's own number must not pass under AWS's name, nor AWS's beside it under the user's.
    def sourced(section: Any) -> Any:
        if not isinstance(section, dict) or "source" in section:
            return section
        return {
            name: value if isinstance(value, dict) else {"value": value} | own
            for name, value in section.items()
        }

    return _each_section(table, sourced)


def _complete(table: Table, path: Path) -> Table:
    """A section that is the user's alone is quoted as a whole."""
    own = _own(path)
    return _each_section(table, lambda section: own | section if isinstance(section, dict) else section)


def _each_section(table: Table, change: Callable[[Any], Any]) -> Table:
    def sections(model: Table) -> Table:
        changed = {key: change(value) for key, value in model.items() if key != "hyperparameters"}
        if "hyperparameters" in model:
            named = model["hyperparameters"]
            changed["hyperparameters"] = {name: change(value) for name, value in named.items()}
        return changed

    return {kind: {name: sections(each) for name, each in models.items()} for kind, models in table.items()}


def merge(base: Table, over: Table) -> Table:
    """`base` with each value of `over` in its place, table by table."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        # A number with its own source replaces the other with its source, whole.
        deeper = isinstance(value, dict) and "value" not in value
        merged[key] = merge(old, value) if deeper and isinstance(old, dict) else value
    return merged


def _catalogue(table: Table, name: str) -> Catalogue:
    families = table.get("families", {})
    models = {}
    for base_id, own in table.get("models", {}).items():
        try:
            models[base_id] = _profile(base_id, own, families.get(own.get("family"), {}))
        except ValidationError as error:
            raise ConfigurationError(
                f"The model '{base_id}' in {name} does not fit: {sentence(error)}."
            ) from error
    return Catalogue(models)


def _profile(base_id: str, own: Table, family: Table) -> ModelProfile:
    # A model's table replaces its family's whole: half of each would carry the wrong source.
    table = family | own
    table["hyperparameters"] = family.get("hyperparameters", {}) | own.get("hyperparameters", {})
    table["hyperparameters"] = {name: _flat(value) for name, value in table["hyperparameters"].items()}
    sections = {
        key: _flat(value) for key, value in table.items() if isinstance(value, dict) and "source" in value
    }
    return ModelProfile.model_validate({"base_id": base_id, **table, **sections})


def _flat(section: Table) -> Table:
    """`{ value, source, date }` as its value, with its source kept aside."""
    single = {key: value for key, value in section.items() if isinstance(value, dict) and "value" in value}
    sources = {
        key: {name: told for name, told in value.items() if name != "value"} for key, value in single.items()
    }
    return section | {key: value["value"] for key, value in single.items()} | {"sources": sources}
