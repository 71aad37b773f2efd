"""
What one run shall do: the file `run.toml`, as frozen values.

The spec says what costs money and has no default for it: the base model must be named.
Everything that this module accepts is checked for form only; whether the model exists, is alive and
takes these hyperparameters is for `vlm_runner.models` to say.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from vlm_runner.errors import ConfigurationError
from vlm_runner.name_lengths import LONGEST_NAME, UID_LENGTH
from vlm_runner.nesting import is_too_deep
from vlm_runner.path_segment import path_segment
from vlm_runner.redact import one_line
from vlm_runner.serving_mode import ServingMode as ServingMode  # noqa: PLC0414 - a part of a spec
from vlm_runner.split_expression import plain_name

if TYPE_CHECKING:
    from collections.abc import Callable

ROLE_ARN = re.compile(r"arn:aws(-[^:]+)?:iam::[0-9]{12}:role/.+")  # CreateModelCustomizationJob, RoleArn
DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
LEAST_DEAD_MAN_SECONDS = 3600.0
"""Warming up takes 15 to 30 minutes by AWS's samples, and what is Creating cannot be deleted."""
FORMER_CONCURRENCY = 4
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS = 36_500 * 86_400.0
"""A hundred years: a date that lies much further away has no calendar."""
LARGEST_FILE = 16 * 1024 * 1024
"""Characters of a file of TOML, with templates in it; /dev/zero has no end."""
MOST_TOLD, LONGEST_TOLD = 20, 300
"""Fields that one error names, and characters about each: a file may be wrong in ten thousand places."""


def seconds_of(text: str) -> float:
    """
    `"90m"` as 5400.0. Units are s, m, h, d.

    Raises:
        ValueError: it is anything else, or more than LONGEST_SECONDS.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration; write a number and s, m, h or d, such as 90m")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{text.strip()[:40]} is longer than a hundred years")
    return seconds


def _key_prefix(text: str) -> str:
    stripped = text.strip("/")
    for part in stripped.split("/") if stripped else []:
        path_segment(part)
    return f"{stripped}/" if stripped else ""


def _s3_folder(text: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\0*?]*)?", text):
        raise ValueError(f"'{text}' is not a folder in S3, such as s3://my-bucket/photos/")
    return f"{text.rstrip('/')}/"


def _role_arn(text: str) -> str:
    if not ROLE_ARN.fullmatch(text):
        raise ValueError(f"'{text}' is not a role ARN, such as arn:aws:iam::123456789012:role/bedrock-sft")
    return text


def kms_key_arn(text: str) -> str:
    # Not an alias, which a policy's Resource cannot name (KMS developer guide, "alias").
    if not re.fullmatch(r"arn:aws(-[^:]+)?:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+", text):
        raise ValueError("a KMS key's ARN looks like arn:aws:kms:us-east-1:123456789012:key/1234abcd-…")
    return text


def _model_key_arn(text: str) -> str:
    kms_key_arn(text)
    if not re.fullmatch(r"[A-Za-z0-9-]{36}", text.rpartition("/")[2]):  # Bedrock API reference, KmsKeyId
        raise ValueError("the id of a KMS key has 36 characters, as in 11111111-2222-3333-4444-555555555555")
    return text


TAG_TEXT = re.compile(r"[a-zA-Z0-9\s._:/=+@-]*")  # Bedrock API reference, Tag
MOST_TAGS = 45
"""A resource takes 50 (TooManyTagsException, Bedrock API reference), and some are ours."""
RESERVED_TAGS = ("aws:", "vlm-runner:")


def _tag_text(text: str) -> str:
    if not TAG_TEXT.fullmatch(text):
        raise ValueError("a tag has letters, digits, spaces and . _ : / = + @ - only")
    return text


def _own_tag_key(text: str) -> str:
    if text.lower().startswith(RESERVED_TAGS):
        raise ValueError(f"the key '{text}' is reserved: aws: by AWS, vlm-runner: for a run's own tags")
    return text


TagKey = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_tag_text), AfterValidator(_own_tag_key)
]
TagValue = Annotated[str, Field(max_length=256), AfterValidator(_tag_text)]
_SHORTEST_RUN_ID = 8
"""Characters that `{run_id}` has room for, at least."""


def _name_template(text: str, pattern: str) -> str:
    """A run finds what it created by its name alone, so that no template may do without the uid."""
    plain = text.replace("{uid}", "", 1).replace("{run_id}", "", 1)
    if "{uid}" not in text or "{" in plain or "}" in plain:
        raise ValueError("a name's template has {uid} once, {run_id} once at most, and no other braces")
    with_run_id = "{run_id}" in text
    room = LONGEST_NAME - UID_LENGTH - (_SHORTEST_RUN_ID if with_run_id else 0)
    if len(plain) > room:
        raise ValueError(f"it has {len(plain)} characters beside its {{…}}, and AWS leaves room for {room}")
    if not re.fullmatch(pattern, text.replace("{uid}", "u" * UID_LENGTH).replace("{run_id}", "r")):
        raise ValueError(f"AWS takes no such name: it must match {pattern}")
    return text


def _job_name(text: str) -> str:
    # Bedrock API reference, JobName, which says it as [a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*
    return _name_template(text, r"[a-zA-Z0-9][a-zA-Z0-9+\-.]*")


def _model_name(text: str) -> str:
    return _name_template(text, r"([0-9a-zA-Z][_-]?){1,63}")  # Bedrock API reference, CustomModelName


SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-zA-Z]+$", max_length=32)]
SecurityGroupId = Annotated[str, Field(pattern=r"^sg-[0-9a-zA-Z]+$", max_length=32)]


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise ValueError("a webhook's address begins with https:// (or http://)")
    return text


def _topic_arn(text: str) -> str:
    if not re.fullmatch(r"arn:aws(-[^:]+)?:sns:[a-z0-9-]+:[0-9]{12}:.+", text):
        raise ValueError("an SNS topic's ARN looks like arn:aws:sns:us-east-1:123456789012:runs")
    return text


def _duration_text(text: str) -> str:
    seconds_of(text)
    return text


S3Folder = Annotated[str, AfterValidator(_s3_folder)]
KeyPrefix = Annotated[str, AfterValidator(_key_prefix)]
Duration = Annotated[str, AfterValidator(_duration_text)]


def _number_as_text(value: Any) -> Any:
    # Bedrock takes hyperparameters as strings, and 0.00001 must not become 1e-05 on the way.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(value) if isinstance(value, int) else f"{value:.12f}".rstrip("0").rstrip(".")


HyperparameterValue = Annotated[str, BeforeValidator(_number_as_text)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


class Columns(Section, frozen=True):
    """
    Which column of the dataset holds what; None: find it by its usual names.

    Also a place within a column: `page.shot`, `pages[0].image`, `messages[].content[].image`.
    """

    image: str | None = None
    """An image, or a list of them."""
    html: str | None = None
    """The source of the page, for the accessibility presets."""
    output: str | None = None
    """The findings to learn, for the accessibility presets."""
    messages: str | None = None
    """For the presets messages, openai-vision, sharegpt and bedrock: the column of turns."""
    question: str | None = None
    """For the preset qa."""
    answer: str | None = None
    """For the preset qa: a text, or a list of right ones."""
    caption: str | None = None
    """For the preset caption: a text, or a list of them."""


@dataclass(frozen=True, slots=True)
class BadRows:
    """What becomes of rows that cannot be used, in lint and in staging alike."""

    skip: bool
    """Leave them out, and list them; else the first of them ends the run."""
    most: int | None = None
    """Of one split, that may be left out; None: any number."""

    def too_many(self, skipped: int) -> str | None:
        """Why so many rows of one split may not be left out; None where they may."""
        if not self.skip or self.most is None or skipped <= self.most:
            return None
        return f"{skipped:,} rows cannot be used, and max_bad_rows is {self.most:,}"


class DatasetSpec(Section, frozen=True):
    source: str = Field(min_length=1)
    """A dataset on the Hub (owner/name), a folder or file on this machine, or one in S3 (s3://bucket/folder/)."""
    folder: str | None = None
    """
    Where a relative path in `source` begins. By default the folder of the spec file, if `source` is there,
    else the current one. It does not affect the fingerprint: the same spec is the same run from anywhere.
    """
    revision: str | None = None
    """Of a dataset on the Hub: a branch, a tag or a commit. A run keeps to the commit that it began with."""
    config: str | None = None
    """Of a dataset on the Hub that has several."""
    split: str = "train"
    """A split, or an expression: `train[:10%]`, `train[100:200]`, `train+validation`."""
    validation_split: str | None = None
    """The split whose rows are held out."""
    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """The share of rows that is held out, by a hash of `seed` and of what they hold."""
    validation_column: str | None = None
    """A column that says of each row whether it is held out: where it holds one of `validation_values`."""
    validation_values: tuple[str, ...] = ("validation", "valid", "val", "dev")
    """What `validation_column` holds in a row that is held out."""
    seed: str = "vlm-runner"
    """Of the choice that `validation_fraction` makes: another seed holds back other rows."""
    group_column: str | None = None
    """Rows with the same value here stay together, on one side of `validation_fraction`."""
    drop_duplicates: bool = False
    """Leave out rows whose image and columns are all as in an earlier row."""
    columns: Columns = Columns()
    max_rows: int | None = Field(default=None, ge=1)
    """The first so many rows; with `shuffle_seed`, so many chosen by it, in the dataset's order."""
    shuffle_seed: int | str | None = None
    """Chooses the rows of `max_rows`."""
    fetch_images: bool = False
    """
    Fetch images whose column holds an http(s) address, or an s3:// one outside of `source`. The run is pinned
    to what they held.
    """
    images_in_place: tuple[S3Folder, ...] = Field(default=(), exclude_if=lambda value: not value)
    """
    Folders of the run's own bucket, such as `s3://my-bucket/photos/`. An image there that the model takes as
    it is stays there, and the records name it; every other image is copied into the run's folders.
    """
    private_addresses: bool = False
    """Let `fetch_images` reach private and loopback addresses, such as a server of your own network."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """A row that cannot be used ends the run (`fail`), or is left out, counted and listed (`skip`)."""
    max_bad_rows: int | None = Field(default=None, ge=0)
    """With `skip`: more bad rows than this end the run; None: any number may be left out."""

    @model_validator(mode="after")
    def _one_validation(self) -> Self:
        ways = (self.validation_split, self.validation_fraction, self.validation_column)
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give one of validation_split, validation_fraction and validation_column")
        if self.group_column is not None and self.validation_fraction is None:
            raise ValueError("group_column keeps rows together in validation_fraction, which is not given")
        if self.shuffle_seed is not None and self.max_rows is None:
            raise ValueError("shuffle_seed chooses the rows of max_rows, which is not given")
        if self.validation_split == self.split:
            raise ValueError(
                f"validation_split is '{self.split}' too; it must differ from the training split"
            )
        return self

    @property
    def bad_rows(self) -> BadRows:
        return BadRows(skip=self.on_bad_row == "skip", most=self.max_bad_rows)

    @property
    def train_name(self) -> str:
        """What the training rows are called in keys: one plain word."""
        return plain_name(self.split)

    @property
    def validation_name(self) -> str:
        """As `train_name`, of the held-out rows, if there are any."""
        if self.validation_split is None:
            return "validation" if self.train_name != "validation" else "held-out"
        name = plain_name(self.validation_split)
        if name != self.train_name:
            return name
        return "validation" if name != "validation" else "held-out"

    @property
    def path(self) -> Path | None:
        """Where `source` lies on this machine, in `folder` or in the current one; None: it does not."""
        try:
            named = Path(self.source).expanduser()
        except RuntimeError:  # ~ of a user who does not exist
            return None
        places = [named] if self.folder is None else [Path(self.folder) / named, named]
        return next((place.absolute() for place in places if _exists(place)), None)


class PromptSpec(Section, frozen=True):
    """
    A preset, or Jinja2 templates over the row's columns; a template replaces that part of a preset.

    In `user` and `turns` the tag `{% image %}` is the place of the next image, `{% image 2 %}` of the second.
    """

    preset: str | None = None
    """Its name, such as `accessibility`, `qa` or `messages`."""
    system: str | None = None
    """Template of the system text."""
    user: str | None = None
    """Template of the question."""
    assistant: str | None = None
    """Template of the answer to learn."""
    turns: str | None = None
    """All turns, each between `{% turn "user" %}` or `{% turn "assistant" %}` and `{% endturn %}`."""
    strip: tuple[str, ...] = ()
    """Words that are taken out of what the templates render, in any case."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.turns is not None and (self.preset or self.user or self.assistant):
            raise ValueError("turns is the template of all turns; leave preset, user and assistant out")
        if self.turns is None and self.preset is None and (self.user is None or self.assistant is None):
            raise ValueError('give preset = "accessibility", or both user and assistant templates')
        if any(not word.strip() for word in self.strip):
            raise ValueError("strip holds an empty word")
        return self


class ImagesSpec(Section, frozen=True):
    format: Literal["png", "keep"] = "png"
    """`keep` sends JPEG, GIF and WebP as they are; `png` converts them."""
    fit: bool = False
    """Downscale an image that is larger than the model allows, instead of refusing its row."""


class ModelSpec(Section, frozen=True):
    base: str = Field(min_length=1)
    """The base model's id as a customization job takes it, such as `amazon.nova-lite-v1:0:300k`."""
    from_run: str | None = None
    """A finished run of this base model: the training continues from its custom model."""


class VpcSpec(Section, frozen=True):
    """The VPC in which the job reads the bucket; how many of each: Bedrock API reference, VpcConfig."""

    subnets: tuple[SubnetId, ...] = Field(min_length=1, max_length=16)
    """Ids of subnets that reach S3."""
    security_groups: tuple[SecurityGroupId, ...] = Field(min_length=1, max_length=5)
    """Ids."""


class TrainingSpec(Section, frozen=True):
    role_arn: Annotated[str, AfterValidator(_role_arn)]
    """The role that Bedrock assumes for the job; `vlm-runner iam` prints what it needs."""
    hyperparameters: dict[str, HyperparameterValue] = Field(default_factory=dict)
    """By the model's own names; what is left out has the model's default."""
    kms_key: Annotated[str, AfterValidator(_model_key_arn)] | None = None
    """ARN of the KMS key that encrypts the custom model; None: a key of Bedrock's."""
    vpc: VpcSpec | None = None
    """None: the job reaches S3 as Bedrock does."""
    job_name: Annotated[str, AfterValidator(_job_name)] | None = None
    """
    A template: `{uid}` stands for 20 letters and digits of this run alone, `{run_id}` for as much of its id
    as there is room for; None: `vr-{run_id}-{uid}`.
    """
    model_name: Annotated[str, AfterValidator(_model_name)] | None = None
    """As `job_name`, of the custom model."""
    stalled_after: Duration = "6h"
    """Without any change of the job for so long, the run tells of it once, and waits on."""
    deadline: Duration | None = None
    """Counted from the job's creation: then it is stopped, and the run fails. None: however long it takes."""


class DeadManSwitchSpec(Section, frozen=True):
    """A one-time schedule of EventBridge Scheduler deletes the endpoint, whatever becomes of the runner."""

    after: Duration
    """Counted from the request for the endpoint, so longer than warming up and the test calls take."""
    role_arn: Annotated[str, AfterValidator(_role_arn)]
    """The role that EventBridge Scheduler assumes to delete it; `vlm-runner iam` prints its policies."""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if seconds_of(self.after) < LEAST_DEAD_MAN_SECONDS:
            raise ValueError(
                f"after is {self.after}; an endpoint takes half an hour to warm up, so give 1h or more"
            )
        return self


class ServingSpec(Section, frozen=True):
    mode: ServingMode = ServingMode.AUTO
    """`none` trains only."""
    model_units: int = Field(default=1, ge=1)
    """Of a provisioned throughput; each bills by the hour."""
    keep: bool | Duration = False
    """False: delete after the test calls. A duration or true: hand the endpoint to the user, loudly."""
    dead_man_switch: DeadManSwitchSpec | None = None


class TestSpec(Section, frozen=True):
    __test__ = False  # pytest: not a test class

    rows: int = Field(default=5, ge=0)
    """How many held-out rows the tuned model is asked about."""
    compare_base: bool = False
    """Ask the base model the same."""
    api: Literal["converse", "invoke"] = "converse"
    """Which of Bedrock's calls asks: Converse or InvokeModel."""
    max_tokens: int = Field(default=1024, ge=1)
    """Of one answer, at most."""
    temperature: float = Field(default=0.0, ge=0, le=1)
    """0 gives the likeliest answer."""
    concurrency: int = Field(default=64, ge=1, le=64)
    """Calls at once, at most: it grows to what Bedrock takes, and backs off where it throttles."""
    metrics: tuple[str, ...] = ()
    """
    Of your own, as "package.module:function" or the name of an entry point: called with reference and answer,
    it returns numbers. Only what is installed as an entry point, or allowed in the settings, is loaded.
    """


class StorageSpec(Section, frozen=True):
    bucket: str = "vlm-accessibility-{account}-{region}"
    """Created, private, if there is none; `{account}` and `{region}` are filled in."""
    prefix: KeyPrefix = ""
    """In front of all keys. They are yours then: other content under it is refused."""
    encryption: Literal["AES256", "aws:kms"] | None = None
    """
    The server-side encryption that every upload asks for, as some bucket policies demand; None: what the
    bucket does by default.
    """
    kms_key: Annotated[str, AfterValidator(kms_key_arn)] | None = None
    """ARN of the KMS key of `encryption = "aws:kms"`, which it implies; None: the account's key for S3."""

    @model_validator(mode="after")
    def _one_algorithm(self) -> Self:
        if self.kms_key is not None and self.encryption == "AES256":
            raise ValueError('kms_key belongs to encryption = "aws:kms", and encryption is "AES256"')
        return self

    @property
    def sse(self) -> str | None:
        """The algorithm, as S3 names it; None: the bucket's default."""
        return self.encryption or ("aws:kms" if self.kms_key is not None else None)


class AwsSpec(Section, frozen=True):
    region: str | None = None
    """None: from the flag, the environment or the profile; it is never guessed."""


class BudgetSpec(Section, frozen=True):
    max_cost: float | None = Field(default=None, ge=0)
    """US dollars; the run never creates what would exceed it."""


class EventsSpec(Section, frozen=True):
    """Who else hears of the run, as CloudEvents; secrets are in the settings, and never here."""

    file: str | None = None
    """JSON lines are appended to it; `-` is stdout."""
    webhook: Annotated[str, AfterValidator(_web_address)] | None = None
    """An address that each event is posted to."""
    event_bus: str | None = None
    """Name or ARN of an EventBridge bus."""
    sns_topic_arn: Annotated[str, AfterValidator(_topic_arn)] | None = None
    """A topic that each event is published to."""


class RunSpec(Section, frozen=True):
    """
    What one run shall do.

    Every section but `dataset`, `model` and `training` has defaults.
    """

    dataset: DatasetSpec
    prompt: PromptSpec = PromptSpec(preset="accessibility")
    images: ImagesSpec = ImagesSpec()
    model: ModelSpec
    training: TrainingSpec
    serving: ServingSpec = ServingSpec()
    test: TestSpec = TestSpec()
    storage: StorageSpec = StorageSpec()
    aws: AwsSpec = AwsSpec()
    budget: BudgetSpec = BudgetSpec()
    events: EventsSpec = EventsSpec()
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=MOST_TAGS)
    """Put on the job, the model and the endpoint, beside the run's own."""

    @property
    def fingerprint(self) -> str:
        """
        SHA-256 (hex) over the spec's canonical JSON: equal specs, equal fingerprints.

        Event sinks do not affect the fingerprint. What is left at its default does not count, so that a
        version with more fields takes the spec of a run under way for the same one, and pays for it once.
        """
        # The default of older versions, which it was counted as; how many calls go at once changes no result.
        plain = self
        if self.test.concurrency == FORMER_CONCURRENCY:
            test = self.test.model_copy(update={"concurrency": type(self.test)().concurrency})
            plain = self.model_copy(update={"test": test})
        content = plain.model_dump_json(
            by_alias=True, exclude={"events": True, "dataset": {"folder"}}, exclude_defaults=True
        )
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def former_fingerprint(self) -> str | None:
        """
        What versions before `serving.mode = "auto"` took for this spec's fingerprint, where it differs.

        To them "provisioned" was the default, which does not count.
        """
        if self.serving.mode is not ServingMode.PROVISIONED:
            return None
        serving = self.serving.model_copy(update={"mode": ServingMode.AUTO})
        return self.model_copy(update={"serving": serving}).fingerprint

    @property
    def content(self) -> str:
        """Eight hex digits of what decides the staged objects: runs that share it share their uploads."""
        parts = [self.dataset, self.prompt, self.images, self.model, self.storage]
        dumped = "|".join(part.model_dump_json(exclude={"folder"}) for part in parts)
        return hashlib.sha256(dumped.encode()).hexdigest()[:8]

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """
        Read a spec file.

        Raises:
            ConfigurationError: the file is missing, no TOML, or does not fit; every wrong field is named.
        """
        try:
            table = read_toml(path)
        except FileNotFoundError:
            raise ConfigurationError(f"No spec at {path}.", hint="Write one with: vlm-runner init") from None
        return cls.from_table(table, name=str(path), folder=path.parent)

    @classmethod
    def from_table(cls, table: dict[str, Any], *, name: str = "spec", folder: Path | None = None) -> Self:
        """As `from_toml`, for values already parsed; `folder` is that of their file, if they have one."""
        try:
            return cls.model_validate(table if folder is None else _with_folder(table, folder))
        except ValidationError as error:
            raise ConfigurationError(f"{name} does not fit: {sentence(error, RunSpec)}.") from error


def _with_folder(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With `dataset.folder`, where that says nothing yet and the source lies there."""
    dataset = table.get("dataset")
    source = dataset.get("source") if isinstance(dataset, dict) else None
    if not isinstance(source, str) or not source or "folder" in table["dataset"]:
        return table
    here = folder.absolute()
    if not _exists(here / source) or Path(source).is_absolute():
        return table
    return table | {"dataset": table["dataset"] | {"folder": str(here)}}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def read_toml(path: Path, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """
    The table of a TOML file that a user wrote.

    Raises:
        FileNotFoundError: there is none.
        ConfigurationError: it cannot be read, or is not valid TOML.
    """
    text = text_of(path, str(path))
    try:
        table = tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        table = None
    except ValueError as error:  # a number of more than 4,300 digits is no TOMLDecodeError
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
    # Dotted keys nest without recursion; what is done with the table then recurs.
    if table is None or is_too_deep(table):
        raise ConfigurationError(f"{path} is not valid TOML: it is nested too deeply.")
    return table


def text_of(path: Path, what: str) -> str:
    """
    A file that a user wrote or named; `what` is how errors call it.

    Raises:
        FileNotFoundError: there is none.
        ConfigurationError: it cannot be read, or is too long.
    """
    what = one_line(what, LONGEST_TOLD)  # a sweep may name its spec with 20,000 characters
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{what} cannot be read: {why}.") from error
    if len(text) > LARGEST_FILE:
        raise ConfigurationError(f"{what} has more than {LARGEST_FILE:,} characters.")
    return text


def sentence(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """
    What a pydantic error found, in one line, each with its field; no values: they may be secret.

    Of an unknown field the nearest one of `model` is named.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    told = [
        f"{_field(item['loc'])}: {_plain(item['msg'])}"
        + (_nearest(item["loc"], model) if item["type"] == "extra_forbidden" else "")
        for item in found[:MOST_TOLD]
    ]
    return "; ".join([*told, f"and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else told)


def _nearest(location: tuple[int | str, ...], model: type[BaseModel] | None) -> str:
    *above, name = location
    for part in above:
        field = None if model is None else model.model_fields.get(str(part))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)
    near = [] if model is None else get_close_matches(str(name), model.model_fields, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _field(location: tuple[int | str, ...]) -> str:
    return one_line(".".join(map(str, location)), LONGEST_TOLD) or "spec"


def _plain(message: str) -> str:
    told = message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "no such field")
    return one_line(told, LONGEST_TOLD)
