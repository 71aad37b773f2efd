"""The base models of the sandbox, read from `catalogue.toml`; every number there cites its source."""

import re
import tomllib
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vlm_runner.sandbox.errors import AwsError, invalid

# What Bedrock answers for an id that does not exist in the Region called.
INVALID_MODEL = "The provided model identifier is invalid."


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hyperparameter(_Frozen):
    kind: Literal["integer", "number"]
    min: float
    max: float
    default: float


class Prices(_Frozen):
    """US dollars; None where the price is not known."""

    training_per_million: float | None = None
    storage_per_month: float | None = None
    unit_hour: dict[str, float] = {}
    input_per_million: float | None = None
    output_per_million: float | None = None
    custom_input_per_million: float | None = None
    custom_output_per_million: float | None = None


class FoundationModel(_Frozen):
    id: str
    context: str
    name: str
    provider: str
    family: Literal["llama", "nova"]
    region: str
    usage_family: str | None = None
    """Its name within usage types; None where AWS's is not known, so that it is not listed."""
    tokens_per_record: int
    on_demand_base: bool
    legacy_at: datetime | None = None
    end_of_life_at: datetime | None = None
    prices: Prices = Prices()
    image_formats: tuple[str, ...]
    image_bytes: int
    image_sides: tuple[int, int]
    images_per_record: int
    images_per_request: int
    records: tuple[int, int]
    validation_records: int
    validation_set: bool
    reserved_words: tuple[str, ...]
    other_blocks: tuple[str, ...] = ()
    empty_system: bool = False
    format_any_case: bool = False
    same_bucket: bool
    schema_version_required: bool
    on_demand_deployment: bool
    max_output_tokens: int
    hyperparameters: dict[str, Hyperparameter]

    @property
    def customizable_id(self) -> str:
        """The id that customization jobs accept: it ends in the size of the context window."""
        return f"{self.id}:{self.context}"

    @property
    def profile_id(self) -> str:
        """The id of the model's cross-Region inference profile."""
        return f"us.{self.id}"

    def arn(self, region: str) -> str:
        return f"arn:aws:bedrock:{region}::foundation-model/{self.customizable_id}"

    def lifecycle(self, now: datetime) -> Literal["ACTIVE", "LEGACY", "GONE"]:
        if self.end_of_life_at and now >= self.end_of_life_at:
            return "GONE"
        return "LEGACY" if self.legacy_at and now >= self.legacy_at else "ACTIVE"

    def require_alive(self, now: datetime) -> None:
        if self.lifecycle(now) == "GONE":
            raise AwsError(
                "ResourceNotFoundException",
                "This model version has reached the end of its life. "
                "Please refer to the AWS documentation for more details.",
            )

    def require_active(self, now: datetime) -> None:
        """Legacy models accept no new fine-tuning jobs or throughput (user guide, model-lifecycle)."""
        self.require_alive(now)
        if self.lifecycle(now) == "LEGACY":
            raise AwsError(
                "ResourceNotFoundException",
                "Access denied. This Model is marked by provider as Legacy and you have not been actively "
                "using the model in the last 15 days. Please upgrade to an active model on Amazon Bedrock",
            )


@cache
def foundation_models() -> tuple[FoundationModel, ...]:
    table = tomllib.loads((files(__package__) / "catalogue.toml").read_text("utf-8"))
    return tuple(_model(row, table["families"][row["family"]]) for row in table["models"])


def _model(row: dict[str, Any], family: dict[str, Any]) -> FoundationModel:
    parameters = family["hyperparameters"] | row.get("hyperparameters", {})
    return FoundationModel.model_validate(family | row | {"hyperparameters": parameters})


def find_model(identifier: str, region: str) -> tuple[FoundationModel, bool]:
    """
    The model behind an id or ARN, and whether it was asked for with its context suffix.

    Raises:
        AwsError: unknown, or not in this Region.
    """
    wanted = re.sub(r"^arn:aws[^:]*:bedrock:[^:]*::foundation-model/", "", identifier)
    for model in foundation_models():
        if model.region == region and wanted in {model.id, model.customizable_id}:
            return model, wanted == model.customizable_id
    raise invalid(INVALID_MODEL)
