"""The pages about ECS and SageMaker name files, outputs and parameters that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.typed import blocks

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGES = [DEPLOY.parent / "docs" / "how-to" / f"{name}.md" for name in ("ecs", "sagemaker", "embed")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in [*PAGES, DEPLOY / "README.md"])


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"(?:deploy/|examples/|`)([\w.-]+\.(?:py|sh|yaml|json|conf))\b", TEXT)))
)
def test_a_file_that_is_named_is_there(name: str) -> None:
    assert (DEPLOY / name).exists() or (DEPLOY / "examples" / name).exists()


def test_what_is_read_off_the_stack_is_an_output_of_it() -> None:
    template = (DEPLOY / "template.yaml").read_text(encoding="utf-8")
    outputs = set(re.findall(r"^  (\w+): \{Value", template, re.MULTILINE))

    asked = set(re.findall(r"\$\(output (\w+)\)", TEXT))
    assert len(asked) >= 4
    assert asked <= outputs


def test_every_parameter_that_is_given_is_one_of_the_template() -> None:
    template = (DEPLOY / "template.yaml").read_text(encoding="utf-8")
    parameters = template[template.index("Parameters:") : template.index("Conditions:")]

    typed = "\n".join(body for body, _ in blocks(TEXT)).replace("\\\n", " ")
    (deploy,) = [line for line in typed.splitlines() if "--parameter-overrides" in line]
    given = re.findall(r"(\w+)=", deploy.partition("--parameter-overrides")[2])
    assert len(given) >= 3
    assert all(f"  {name}:\n" in parameters for name in given)
