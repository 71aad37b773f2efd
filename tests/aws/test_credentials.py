"""Credentials that cannot be had, in every way we know: one sentence and a hint, never a traceback."""

import io
import sys
from pathlib import Path

import pytest
from botocore.session import get_session

from vlm_runner.aws.credentials import check_authorities
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import ConfigurationError, CredentialsError

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE")
CONFIG = {
    "a helper that prints no JSON": "credential_process = echo hello",
    "a helper that is missing": "credential_process = /nowhere/helper",
    "a helper that fails": "credential_process = false",
    "a code without a terminal": "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = keys\n"
    "mfa_serial = arn:aws:iam::123456789012:mfa/me",
    "an sso-session that is not there": "sso_session = gone\nsso_account_id = 123456789012\n"
    "sso_role_name = r",
    "profiles in a circle": "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = other",
    "a CA bundle that is not there": "aws_access_key_id = AK\naws_secret_access_key = SK\n"
    "ca_bundle = ~/nowhere.pem",
    "a profile of aws login": "login_session = arn:aws:iam::123456789012:user/me",
    "none at all": "region = us-east-1",
}
OTHERS = """
[profile keys]
aws_access_key_id = AK
aws_secret_access_key = SK

[profile other]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = bad
"""


async def caller(endpoint_url: str) -> None:
    async with AwsSession(region="us-east-1", profile="bad", endpoint_url=endpoint_url) as aws:
        await aws.account.caller()


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.parametrize("lines", CONFIG.values(), ids=CONFIG)
async def test_credentials_that_cannot_be_had_are_one_sentence(lines: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[profile bad]\n{lines}\n{OTHERS}")
    with pytest.raises(CredentialsError) as caught:
        await caller("https://localhost:9")

    assert caught.value.hint
    assert "\n" not in caught.value.message


async def test_a_container_that_does_not_answer_has_no_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile bad]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/credentials")
    async with AwsSession(region="us-east-1", endpoint_url="http://127.0.0.1:9") as aws:
        with pytest.raises(CredentialsError):
            await aws.account.caller()


async def test_a_profile_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(ConfigurationError, match="bad"):
        await caller("http://127.0.0.1:9")


async def test_a_profile_of_aws_login_is_told_how_to_hand_on_its_credentials(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile bad]\nlogin_session = arn:aws:iam::123456789012:user/me\n")
    with pytest.raises(CredentialsError) as caught:
        await caller("http://127.0.0.1:9")

    assert "aws configure export-credentials --profile bad" in str(caught.value.hint)


def test_a_ca_bundle_below_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "authorities.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", "~/authorities.pem")
    session = get_session()

    check_authorities(session)

    assert session.get_config_variable("ca_bundle") == str(tmp_path / "authorities.pem")
