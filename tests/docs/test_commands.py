"""Every command that a page shows is run by a test, or says why not; and each is one that there is."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest
from tests.docs.typed import ROOT, Typist, blocks, nameless

from vlm_runner.cli import cli

if TYPE_CHECKING:
    from tests.e2e.laptop import Laptop

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]
    if path.name != "CHANGELOG.md"
)
HOW_TO = ("docs/how-to/prompts.md", "docs/how-to/recover.md", "docs/how-to/pay-less.md")
SANDBOX, FIRST_RUN = "docs/tutorial/sandbox.md", "docs/tutorial/first-run.md"
RUN_HERE = {SANDBOX, FIRST_RUN, *HOW_TO}


def typed_in(page: str) -> list[str]:
    """Every call of vlm-runner, also where its result is kept; what the shell would fill in is an x."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for body, _ in blocks(text) for line in body.replace("\\\n", " ").splitlines()]
    calls = [re.fullmatch(r"(?:\$ )?(?:\w+=\$\()?(vlm-runner .+?)\)?", line.strip()) for line in lines]
    bare = [re.split(r" (?:&|\|\||[|>] )", call[1])[0] for call in calls if call is not None]
    return [re.sub(r"\$\(.+?\)|\$\w+", "x", line) for line in bare]


LINES = sorted({line for page in PAGES for line in typed_in(page)})


def leave_no_role(laptop: Laptop) -> None:
    """An account that nobody has used has none; the sandbox's has some for other tests."""
    iam = laptop.boto("iam")
    for name in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_run_or_says_why_not(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    silent = [body for body, why in blocks(text) if not why and page not in RUN_HERE]

    assert silent == []
    assert nameless(text) == [], "a block of commands is of the language console or bash"


def test_pages_show_the_commands_that_matter() -> None:
    """
    The next test would hold for empty pages, too.
    """
    verbs = {line.split()[1] for line in LINES}

    assert {
        "init",
        "lint",
        "plan",
        "start",
        "resume",
        "serve",
        "submit",
        "sagemaker",
        "sweep",
    } <= verbs
    assert len(LINES) > 50


def test_each_command_is_one_that_there_is() -> None:
    for line in LINES:
        words = shlex.split(line, comments=True)[1:]
        command: click.Command = cli
        context = None
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            context = click.Context(command, parent=context)
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command = found
        if words != ["--help"] and not isinstance(command, click.Group):
            command.make_context("vlm-runner", words, parent=context)


def test_the_tutorial_on_ones_own_machine_is_true(laptop: Laptop) -> None:
    somebody = Typist(laptop)
    laptop.ask("clock", {"speed": 60})  # at which a job is not done after three seconds
    somebody.before["resume"] = lambda: laptop.ask("clock", {"speed": 3600})

    said = somebody.types(SANDBOX)

    assert "Resume with: vlm-runner resume first" in said
    assert (somebody.home / "first.html").exists()
    assert '"kind": "customization_job"' in said
    assert not [entry for entry in laptop.ask("ledger")["entries"] if entry["still_billing"]]


def test_a_stranger_comes_from_an_empty_account_to_a_run_and_leaves_nothing(laptop: Laptop) -> None:
    """
    With IAM applied: as administrator where the page makes roles, and else with what `iam` prints.
    """
    somebody = Typist(laptop)
    leave_no_role(laptop)

    somebody.types(FIRST_RUN)

    judged = [one for one in laptop.ask("authorizations") if "vlm-runner" in one["principal"]]
    assert {"bedrock:CreateModelCustomizationJob", "bedrock:DeleteCustomModel"} <= {
        one["action"] for one in judged
    }
    assert [one for one in judged if one["decision"] != "allowed"] == []
    assert (somebody.home / "first.html").exists()
    assert not [entry for entry in laptop.ask("ledger")["entries"] if entry["still_billing"]]
    assert laptop.boto("iam").list_roles()["Roles"] == []


def test_how_to_pages_are_true(laptop: Laptop) -> None:
    for page in HOW_TO:
        Typist(laptop.anew(laptop.home / page.rpartition("/")[2], speed=3600)).types(page)
