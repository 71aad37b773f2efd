"""
Hooks of mkdocs.yml: pages that are made of the code, and links to files that are no pages.

A page of the repository links to files as they lie there, so that its links also work where it is read as a
file. What is linked and is no page comes along as a file of the site.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from site_pages import diagram, reference, troubleshooting  # noqa: E402 - found by the line above

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

GENERATED = {
    "reference/spec.md": reference.spec,
    "reference/settings.md": reference.settings,
    "reference/commands.md": reference.commands,
    "reference/exit-codes.md": reference.exit_codes,
    "reference/events.md": reference.events,
    "reference/models.md": reference.models,
    "troubleshooting.md": troubleshooting.page,
}
INSERTED = {"<!-- diagram -->": diagram.svg, "<!-- phases -->": reference.phases}
"""Marks in pages, and what takes their place."""
COPIED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "benchmarks.md": "benchmarks/RESULTS.md",
}
"""Pages that lie elsewhere in the repository."""
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, make in GENERATED.items():
        files.append(File.generated(config, uri, content=make()))
    for uri, path in COPIED.items():
        files.append(
            File.generated(config, uri, content=_relinked((ROOT / path).read_text("utf-8"), uri, path))
        )
    for path in sorted(_linked(ROOT / config["docs_dir"])):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    for mark, make in INSERTED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    uri = page.file.src_uri
    return markdown if uri in GENERATED or uri in COPIED else _relinked(markdown, uri, f"docs/{uri}")


def _relinked(markdown: str, uri: str, path: str) -> str:
    """With the links of a file at `path` of the repository as those of the page `uri`."""

    def link(found: re.Match[str]) -> str:
        target = normpath(str(Path(path).parent / found[1]))
        page = _page_of(target)
        return _relative(page, uri) + (found[2] or "")

    return _LINK.sub(link, markdown)


def _page_of(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return next(
        (uri for uri, copied in COPIED.items() if copied == path), _AS_PAGES.get(path, f"files/{path}")
    )


_AS_PAGES = {"README.md": "index.md", "deploy/README.md": "how-to/ecs.md"}


def _relative(target: str, uri: str) -> str:
    up = "../" * uri.count("/")
    return f"{up}{target}"


def _linked(docs: Path) -> set[str]:
    """Files of the repository that are no pages, and that a page links to."""
    sources = [*docs.rglob("*.md"), *(ROOT / path for path in COPIED.values())]
    found = set()
    for source in sources:
        for target, _ in _LINK.findall(source.read_text("utf-8")):
            path = normpath(str(source.parent.relative_to(ROOT) / target))
            if _page_of(path).startswith("files/") and (ROOT / path).is_file():
                found.add(path)
    return found
