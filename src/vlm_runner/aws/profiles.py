"""What the user's AWS configuration files say."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def profile_exists() -> Iterator[None]:
    """Raises ConfigurationError where botocore does not find the profile that it is given."""
    from botocore.exceptions import ProfileNotFound  # noqa: PLC0415 - a third of a second

    try:
        yield
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"{error}.", hint="List the profiles: aws configure list-profiles"
        ) from error


def region_of_profile(profile: str | None) -> str | None:
    """
    The region of an AWS profile (None: the default one), or None where it names none.

    Raises:
        ConfigurationError: the profile does not exist.
    """
    from botocore.session import Session  # noqa: PLC0415 - a third of a second

    with profile_exists():
        region = Session(profile=profile).get_config_variable("region")
    return str(region) if region else None


def check_region(region: str) -> None:
    """
    Botocore lets a line end pass, which no header takes, and calls the rest a fault of the credentials.

    Raises:
        ConfigurationError: no region has such a name.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", region):
        raise ConfigurationError(
            f"Invalid AWS region {region!r}: a name such as us-east-1 is expected.",
            hint="Correct --region, VLM_RUNNER_REGION, AWS_REGION, the profile, or region under [aws].",
        )


def endpoint_of(session: Any, service: str) -> str | None:
    """The address that environment or profile name for a service, as botocore looks for it."""
    from botocore.configprovider import ConfiguredEndpointProvider  # noqa: PLC0415 - see `region_of_profile`

    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    found = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service).provide()
    return str(found) if found else None


def check_endpoint(url: str | None) -> None:
    """
    Raises ConfigurationError where `url` (None: AWS's own) is no address of a server.

    The message does not repeat it: a password may be in it.
    """
    if url is None:
        return
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        sound = sound and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or " " in url:
        raise ConfigurationError(
            "Invalid endpoint URL for AWS: http:// or https://, a host and perhaps a port are expected, and "
            "no user name.",
            hint="Correct --endpoint-url, VLM_RUNNER_ENDPOINT_URL, AWS_ENDPOINT_URL, or endpoint_url in the "
            "profile.",
        )
