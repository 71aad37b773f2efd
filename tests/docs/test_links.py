"""Where our pages lead: only to hosts that were looked at, and to one repository and one site."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
LINK = re.compile(r"""https?://[^\s<>()"'`\\\]]+""")
OURS = {"github.com", "vlm-runner.github.io"}
KNOWN = OURS | {"aws.amazon.com", "www.standardwebhooks.com"}
"""Nobody can ask them from here: each was read by a person when it was added."""
NOT_LINKS = {"127.0.0.1", "localhost"}
"""Of examples."""
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").glob("*.ipynb"),
        ROOT / "mkdocs.yml",
        ROOT / "pyproject.toml",
        ROOT / "action.yml",
    ]
)


def links(page: Path) -> list[str]:
    return [link.rstrip(".,;:") for link in LINK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_lead_only_to_known_hosts(page: Path) -> None:
    hosts = {urlsplit(link).hostname or link for link in links(page)}

    assert hosts - KNOWN - NOT_LINKS == set()


def test_repository_and_site_are_those_of_the_package() -> None:
    here = {
        link
        for page in PAGES
        for link in links(page)
        if urlsplit(link).hostname in OURS and "vlm-runner" in urlsplit(link).path
    }
    roots = (URLS["Homepage"], URLS["Documentation"])

    assert len(here) >= len(URLS)
    assert sorted(link for link in here if not link.startswith(roots)) == []


def test_the_action_is_used_from_the_repository() -> None:
    name = urlsplit(URLS["Homepage"]).path.strip("/")
    used = re.findall(r"uses: (vlm-runner/\S+)@", (ROOT / "docs/how-to/github-actions.md").read_text("utf-8"))

    assert set(used) == {name}
