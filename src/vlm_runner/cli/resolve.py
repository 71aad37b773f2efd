"""Flags, spec and environment, resolved to settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from vlm_runner import environment
from vlm_runner.aws.profiles import region_of_profile
from vlm_runner.errors import ConfigurationError
from vlm_runner.settings import Settings
from vlm_runner.spec import sentence

if TYPE_CHECKING:
    from vlm_runner.cli.options import Where


def verifying(settings: Settings, *, verify: bool) -> Settings:
    """`settings`, with the flag's word; where it is not given, as they are."""
    upload = settings.upload.model_copy(update={"verify": settings.upload.verify or verify})
    return settings.model_copy(update={"upload": upload})


def settings_for(where: Where, *, spec_region: str | None = None, ask_profile: bool = False) -> Settings:
    """
    Flag, then spec, then environment; with `ask_profile`, then the region of the AWS profile.

    A region that the spec names wins over AWS_REGION: the spec is about one run, the variable about a shell.
    """
    try:
        base = Settings.from_environment()
    except ValidationError as error:
        raise ConfigurationError(
            f"The environment's VLM_RUNNER_ variables are not valid: {sentence(error)}."
        ) from error
    region = where.region or base.region or spec_region or environment.aws_region()
    if region is None and ask_profile:
        region = region_of_profile(where.profile or base.profile)
    changes: dict[str, Any] = {
        "region": region,
        "hf_token": base.hf_token or (SecretStr(token) if (token := environment.hub_token()) else None),
    }
    given = {"profile": where.profile, "endpoint_url": where.endpoint_url, "checkpoint_uri": where.store}
    return base.model_copy(update=changes | {key: value for key, value in given.items() if value is not None})
