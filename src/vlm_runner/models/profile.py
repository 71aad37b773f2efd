"""What one base model allows: the catalogue's tables as frozen values, and the questions asked of them."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lifecycle(StrEnum):
    ACTIVE = "ACTIVE"
    LEGACY = "LEGACY"
    """No new training job and no new provisioned throughput."""
    EOL = "EOL"


def _known(value: object) -> object:
    return None if value == "unknown" else value


Price = Annotated[Decimal | None, BeforeValidator(_known)]
"""US dollars; None where the catalogue says "unknown"."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Frozen, frozen=True):
    source: str
    date: dt.date
    about: bool = False
    """Only one source, and not AWS itself, tells this: it is shown as "about"."""


class Sourced(Source, frozen=True):
    """A table of the catalogue. `sources` holds those of single values that have their own."""

    note: str | None = None
    sources: dict[str, Source] = Field(default_factory=dict)

    def source_of(self, field: str) -> Source:
        """Where the value of `field` comes from, and when that was read."""
        return self.sources.get(field) or Source(source=self.source, date=self.date, about=self.about)


class LifecycleDates(Sourced, frozen=True):
    legacy: dt.date | None = None
    end_of_life: dt.date | None = None

    def on(self, day: dt.date) -> Lifecycle:
        if self.end_of_life is not None and day >= self.end_of_life:
            return Lifecycle.EOL
        if self.legacy is not None and day >= self.legacy:
            return Lifecycle.LEGACY
        return Lifecycle.ACTIVE


class Records(Sourced, frozen=True):
    """How many records a job takes: training and validation together, where it takes a validation set."""

    minimum: int
    maximum: int
    maximum_validation: int | None = None
    validation: bool = True
    """Whether a job takes a validation set. Else held-out rows stay ours: for the test calls only."""
    recommended_minimum: int | None = None
    adjustable: bool = False

    def counted(self, train: int, held_out: int) -> int:
        """How many of a run's rows count towards the limits."""
        return train + held_out if self.validation else train

    @property
    def counting(self) -> str:
        """What counts, for a sentence."""
        return "training and validation together" if self.validation else "training rows only"


class Tokens(Sourced, frozen=True):
    per_record: int


class Images(Sourced, frozen=True):
    """What training takes; what a test call takes is in `Inference`."""

    formats: tuple[str, ...]
    max_bytes: int
    per_record: int
    min_side: int | None = None
    max_side: int | None = None
    small_side: int | None = None
    """Pixels; what is narrower or lower is refused by tools of AWS's, and not by Bedrock's documentation."""
    in_all_or_none: bool = False
    """Whether all records of a dataset have images, or none has."""


class TileTokens(Sourced, frozen=True):
    kind: Literal["tiles"]
    tile_side: int
    tiles_per_side: int
    tokens_per_tile: int

    def of(self, width: int, height: int) -> int:
        def tiles(side: int) -> int:
            return min(self.tiles_per_side, max(side // self.tile_side, 1))

        return tiles(width) * tiles(height) * self.tokens_per_tile


class MeasuredPoint(Frozen, frozen=True):
    width: int
    height: int
    tokens: int


class MeasuredTokens(Sourced, frozen=True):
    """An estimate: linear in the area between the sizes that the documentation gives."""

    kind: Literal["measured"]
    min_long_side: int
    """A smaller image is enlarged to this before it is counted."""
    points: tuple[MeasuredPoint, ...] = Field(min_length=2)

    def of(self, width: int, height: int) -> int:
        scale = max(1.0, self.min_long_side / max(width, height))
        area = width * height * scale * scale
        known = sorted((point.width * point.height, point.tokens) for point in self.points)
        upper = next((i for i in range(1, len(known) - 1) if area <= known[i][0]), len(known) - 1)
        (area0, tokens0), (area1, tokens1) = known[upper - 1], known[upper]
        return math.ceil(tokens0 + (area - area0) * (tokens1 - tokens0) / (area1 - area0))


class TextRules(Sourced, frozen=True):
    reserved: tuple[str, ...]
    """Words that no text of a record may hold, in any case."""
    reserved_as_spelt: tuple[str, ...] = ()
    """Words that no text may hold in just this case."""
    other_blocks: tuple[str, ...] = ()
    """Of a turn's content, beside texts and images. Such a file is checked no further; we write none."""
    empty_system: bool = False
    """Whether `"system": []` stands for none."""
    format_any_case: bool = False
    """Whether an image's format may be written `PNG`."""
    system_required: bool
    same_bucket: bool = False
    schema_version: str
    schema_required: bool = False

    def reserved_in(self, text: str) -> Iterator[tuple[str, int]]:
        """Each reserved word that `text` holds, and the character where it first begins."""
        lowered = text.lower()
        for word in self.reserved:
            if (place := lowered.find(word.lower())) >= 0:
                yield word, place
        for word in self.reserved_as_spelt:
            if (place := text.find(word)) >= 0:
                yield word, place


class Hyperparameter(Sourced, frozen=True):
    type: Literal["int", "float"]
    minimum: Decimal
    maximum: Decimal
    default: Decimal

    def check(self, name: str, text: str) -> str:
        """`text` as a plain decimal number within the range; ConfigurationError else."""
        kind = "a whole number" if self.type == "int" else "a number"
        takes = f"{name} takes {kind} from {plain(self.minimum)} to {plain(self.maximum)}"
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            raise ConfigurationError(f"{takes}, not '{text}'.", hint=self._hint(name)) from None
        fits = number.is_finite() and self.minimum <= number <= self.maximum
        if not fits or (self.type == "int" and number != number.to_integral_value()):
            raise ConfigurationError(f"{takes}, not {text}.", hint=self._hint(name))
        return plain(number.to_integral_value() if self.type == "int" else number)

    def _hint(self, name: str) -> str:
        return f"Change training.hyperparameters.{name} in the spec; the default is {plain(self.default)}."


class Lineage(Sourced, frozen=True):
    custom_base: bool
    """Whether a custom model of it can be trained further, as the base of another job."""


class Serving(Sourced, frozen=True):
    provisioned: bool
    on_demand: bool
    deployments_in_progress: int | None = None

    @property
    def modes(self) -> tuple[str, ...]:
        """As the spec's `serving.mode` spells them."""
        offered = {"provisioned": self.provisioned, "on-demand": self.on_demand, "none": True}
        return tuple(mode for mode, is_offered in offered.items() if is_offered)


class Quotas(Sourced, frozen=True):
    scheduled_jobs: int
    running_jobs: int = 2
    """At a time, and not adjustable; not among AWS's published quotas, but seen in accounts."""
    provisioned_units_code: str
    """Of all model units without commitment in the account."""
    model_units_code: str | None = None
    """Of this model's own units; None where the code is not known, but the name."""
    model_units_name: str | None = None
    model_units_adjustable: bool = True


class Advice(Sourced, frozen=True):
    duplicate_below_records: int
    two_epochs_up_to_records: int


class Inference(Sourced, frozen=True):
    """What a test call takes; its image limits are tighter than those of training."""

    max_image_bytes: int
    max_image_side: int
    max_body_bytes: int
    max_output_tokens: int


BASE_TOKENS: Final = ("input_per_million_tokens", "output_per_million_tokens")
CUSTOM_TOKENS: Final = ("custom_input_per_million_tokens", "custom_output_per_million_tokens")
"""The prices of calls on demand, by their names in the catalogue."""


class Prices(Sourced, frozen=True):
    training_per_million_tokens: Price = None
    storage_per_month: Price = None
    throughput_per_unit_hour: Price = None
    throughput_per_unit_hour_one_month: Price = None
    throughput_per_unit_hour_six_months: Price = None
    input_per_million_tokens: Price = None
    output_per_million_tokens: Price = None
    """Of the base model on demand; by its inference profile where it has no other way."""
    custom_input_per_million_tokens: Price = None
    custom_output_per_million_tokens: Price = None
    """Of a custom model on demand."""

    def single_sourced(self, *names: str) -> bool:
        """Whether one of these prices is told by only one source, which is not AWS itself."""
        return any(getattr(self, name) is not None and self.source_of(name).about for name in names)


class ModelProfile(Frozen, frozen=True):
    """One base model, by the id that a customization job takes."""

    base_id: str
    inference_id: str
    """The base model's id for calls on demand, without the context suffix."""
    family: str
    name: str
    provider: str
    regions: tuple[str, ...]
    image_first: bool
    """Whether the image stands before the text, in training records and test calls alike."""
    records_quota_code: str | None = None
    usage_family: str | None = None
    """The model's name within AWS's usage types, by which its prices are listed; None: not known."""
    lifecycle: LifecycleDates
    records: Records
    tokens: Tokens
    images: Images
    image_counting: Annotated[TileTokens | MeasuredTokens, Field(alias="image_tokens", discriminator="kind")]
    text: TextRules
    hyperparameters: dict[str, Hyperparameter]
    serving: Serving
    quotas: Quotas
    inference: Inference
    prices: Prices
    advice: Advice | None = None
    lineage: Lineage | None = None
    """None: nothing is known about training from a custom model."""

    def lifecycle_on(self, day: dt.date) -> Lifecycle:
        return self.lifecycle.on(day)

    def image_tokens(self, width: int, height: int) -> int:
        """Tokens that an image of this size counts as; for Nova an estimate."""
        return self.image_counting.of(width, height)

    def check_hyperparameters(self, given: dict[str, str]) -> dict[str, str]:
        """
        `given`, each value as plain decimal text, as Bedrock takes it.

        Raises:
            ConfigurationError: a name that the model does not know, or a value out of its range.
        """
        for name in given:
            if name not in self.hyperparameters:
                raise ConfigurationError(
                    f"{self.name} has no hyperparameter '{name}'.",
                    hint=f"It takes {', '.join(sorted(self.hyperparameters))}.",
                )
        return {name: self.hyperparameters[name].check(name, text) for name, text in given.items()}

    def training_cost(self, tokens: int, epochs: int) -> Decimal | None:
        """US dollars for training on `tokens` for `epochs`; None where no price is known."""
        price = self.prices.training_per_million_tokens
        return None if price is None else price * tokens * epochs / 1_000_000

    def throughput_price(self, model_units: int = 1) -> Decimal | None:
        """US dollars an hour for a throughput without commitment; None where no price is known."""
        price = self.prices.throughput_per_unit_hour
        return None if price is None else price * model_units

    def storage_price(self) -> Decimal | None:
        """US dollars a month for keeping the custom model; None where no price is known."""
        return self.prices.storage_per_month

    def call_cost(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """US dollars for a call of the base model on demand; None where no price is known."""
        prices = self.prices
        return _tokens_cost(
            prices.input_per_million_tokens, prices.output_per_million_tokens, input_tokens, output_tokens
        )

    def custom_call_cost(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """The same of a custom model."""
        prices = self.prices
        return _tokens_cost(
            prices.custom_input_per_million_tokens,
            prices.custom_output_per_million_tokens,
            input_tokens,
            output_tokens,
        )


def _tokens_cost(
    price_in: Decimal | None, price_out: Decimal | None, input_tokens: int, output_tokens: int
) -> Decimal | None:
    if price_in is None or price_out is None:
        return None
    return (price_in * input_tokens + price_out * output_tokens) / 1_000_000


def plain(number: Decimal) -> str:
    """`number` without exponent or needless zeros: Bedrock takes hyperparameters as text."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
