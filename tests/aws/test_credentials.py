"""Credentials that cannot be had, in every way we know: one sentence and a hint, never a traceback."""

import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.session import get_session

from vlm_runner.aws import credentials
from vlm_runner.aws.credentials import ask_on_terminals_only, check_authorities
from vlm_runner.aws.errors import credentials_translated
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import ConfigurationError, CredentialsError, OutOfResources

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
    "a helper whose keys are no text": """credential_process = echo '{"Version": 1, "AccessKeyId": 5, \
"SecretAccessKey": [1], "SessionToken": {}}'""".replace("\\\n", ""),
    "a key with a space in it": "aws_access_key_id = A K\naws_secret_access_key = SK",
    "a key with a letter that no key has": "aws_access_key_id = AK\naws_secret_access_key = S\u00e9",
    "an SSO session that has ended": "sso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
    "sso_account_id = 123456789012\nsso_role_name = r",
    "a token file that is not there": "role_arn = arn:aws:iam::123456789012:role/r\n"
    "web_identity_token_file = /nowhere/token",
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


@pytest.mark.parametrize("key", ["AKIA\n", "AKIA\r\nX-Of-Mine: 1", "AK\udcff"])
async def test_a_key_that_no_header_takes_is_not_an_answer_that_was_lost(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-canary")
    async with AwsSession(region="us-east-1", endpoint_url="http://127.0.0.1:9") as aws:
        with pytest.raises(CredentialsError, match="access key") as caught:
            await aws.account.caller()

    assert "canary" not in str(caught.value)


async def test_a_helper_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(credentials, "HELPER_SECONDS", 0.5)
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 60\n")
    helper.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile bad]\ncredential_process = {helper}\n")
    with pytest.raises(CredentialsError, match="has not answered"):
        await caller("http://127.0.0.1:9")

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_credentials_that_cannot_be_had_leave_no_traceback_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as where no program has said anything
    lines = CONFIG["a token file that is not there"]
    (tmp_path / "config").write_text(f"[profile bad]\n{lines}\n")
    with pytest.raises(CredentialsError):
        await caller("http://127.0.0.1:9")

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("region", ["us-east-1\n", " us-east-1", "us/east", "", "us-east-1.example.com/"])
async def test_a_region_that_cannot_be_is_a_mistake_in_the_settings(region: str) -> None:
    async with AwsSession(region=region, endpoint_url="http://127.0.0.1:9") as aws:
        with pytest.raises(ConfigurationError, match="region") as caught:
            await aws.account.caller()

    assert not isinstance(caught.value, CredentialsError)
    assert "AWS_REGION" in str(caught.value.hint)


@pytest.mark.parametrize(
    "address",
    ["not a url", "127.0.0.1:9", "ftp://127.0.0.1", "http://:9", "http://h:x", "http://h:99999", "http://[::1",
     " http://h", "http://me:canary@h"],
)  # fmt: skip
async def test_an_endpoint_that_cannot_be_is_a_mistake_in_the_settings(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    async with AwsSession(region="us-east-1") as aws:
        with pytest.raises(ConfigurationError, match="endpoint URL") as caught:
            await aws.account.caller()

    assert not isinstance(caught.value, CredentialsError)
    assert "canary" not in str(caught.value)


def test_a_machine_without_more_files_says_nothing_of_the_credentials() -> None:
    with pytest.raises(OutOfResources), credentials_translated("reading credentials"):
        raise OSError(errno.EMFILE, "Too many open files", "/home/me/.aws/config")


def asked_for_a_code(monkeypatch: pytest.MonkeyPatch, typed: Callable[[str], str]) -> str:
    monkeypatch.setattr(sys, "stdin", mock.Mock(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", typed)
    session: Any = get_session()
    ask_on_terminals_only(session)
    prompter = session.get_component("credential_provider").get_provider("assume-role")._prompter
    return str(prompter("Code: "))


def test_ctrl_c_ends_the_question_for_an_mfa_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> str:
        signal.raise_signal(signal.SIGINT)
        return "123456"

    usual = signal.signal(signal.SIGINT, lambda *_: None)  # as an event loop's, which waits for its turn
    try:
        with pytest.raises(KeyboardInterrupt):
            asked_for_a_code(monkeypatch, interrupted)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def test_no_mfa_code_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialsError, match="No MFA code"):
        asked_for_a_code(monkeypatch, mock.Mock(side_effect=EOFError))


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
