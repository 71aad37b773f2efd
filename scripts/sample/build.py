"""Turn what render.mjs left behind into the two parquet files of the sample.

python build.py RENDERED_FOLDER
"""

import io
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "src" / "vlm_runner" / "sample" / "data"

# In this order: the first is what a demonstration shows, and should have something to find.
VALIDATION = ("hotel-search", "museum-visit", "event-page", "podcast-player", "pricing-plans")

FEATURES = Features(
    {
        "image": Image(),
        "html": Value("string"),
        "output": List({key: Value("string") for key in ("rationale", "eval_items", "eval_reason", "plan")}),
        "page": Value("string"),
    }
)

CRITERIA = {
    "wcag111": "1.1.1 Non-text Content",
    "wcag131": "1.3.1 Info and Relationships",
    "wcag135": "1.3.5 Identify Input Purpose",
    "wcag141": "1.4.1 Use of Color",
    "wcag143": "1.4.3 Contrast (Minimum)",
    "wcag144": "1.4.4 Resize Text",
    "wcag242": "2.4.2 Page Titled",
    "wcag244": "2.4.4 Link Purpose (In Context)",
    "wcag258": "2.5.8 Target Size (Minimum)",
    "wcag311": "3.1.1 Language of Page",
    "wcag412": "4.1.2 Name, Role, Value",
}

SEVERITY = ["critical", "serious", "moderate", "minor"]
LONGEST_SNIPPET = 200

Violation: TypeAlias = dict[str, Any]
Colour: TypeAlias = tuple[int, int, int]


def main(rendered: Path) -> None:
    remedies = tomllib.loads((HERE / "remedies.toml").read_text())
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for page in sorted((HERE / "pages").glob("*.html"), key=_place):
        split = "validation" if page.stem in VALIDATION else "train"
        splits[split].append(row(page, rendered, remedies))
    DATA.mkdir(exist_ok=True)
    for split, rows in splits.items():
        target = DATA / f"{split}.parquet"
        Dataset.from_list(rows, features=FEATURES).to_parquet(target)
        findings = sum(len(row["output"]) for row in rows)
        print(f"{target.name}: {len(rows)} pages, {findings} findings, {target.stat().st_size:,} bytes")


def row(page: Path, rendered: Path, remedies: dict[str, Any]) -> dict[str, Any]:
    violations = json.loads((rendered / f"{page.stem}.json").read_text())
    violations.sort(key=lambda violation: (SEVERITY.index(violation["impact"]), violation["id"]))
    return {
        "image": {"bytes": smaller_png(rendered / f"{page.stem}.png"), "path": f"{page.stem}.png"},
        "html": page.read_text(),
        "output": [finding(page.stem, violation, remedies) for violation in violations],
        "page": page.stem,
    }


def smaller_png(path: Path) -> bytes:
    buffer = io.BytesIO()
    Pillow.open(path).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def finding(slug: str, violation: Violation, remedies: dict[str, Any]) -> dict[str, str]:
    rule = violation["id"]
    words = remedies["rules"][rule]
    plan = remedies["pages"].get(slug, {}).get(rule)
    if plan is None and rule == "color-contrast":
        plan = better_colours(violation)
    return {
        "rationale": f"{plain(violation['help'])}. {words['who']} Impact: {violation['impact']}.",
        "eval_items": criterion(violation),
        "eval_reason": reason(violation),
        "plan": plan or words["remedy"].replace("%ELEMENT%", snippet(violation["nodes"][0])),
    }


def criterion(violation: Violation) -> str:
    names = [CRITERIA[tag] for tag in violation["tags"] if re.fullmatch(r"wcag\d{3,}", tag)]
    return f"{'WCAG ' + ', '.join(names) if names else 'Best practice'} ({violation['id']})"


def reason(violation: Violation) -> str:
    """Say what axe-core said, once for all the elements it said it of."""
    elements: dict[str, list[str]] = {}
    for node in violation["nodes"]:
        where = f"{snippet(node)} at {node['target']}"
        elements.setdefault(one_line(node["summary"]), []).append(where)
    return " ".join(f"{', '.join(unique(found))}: {summary}." for summary, found in elements.items())


def snippet(node: dict[str, Any]) -> str:
    """Give the element as it stands in the page, without its content where that is long."""
    html = str(node["html"])
    if len(html) > LONGEST_SNIPPET or "\n" in html:
        html = html[: html.index(">") + 1]
    return f"`{html}`"


def one_line(summary: str) -> str:
    """Join axe-core's indented list of remarks into one sentence."""
    blocks = [[plain(line) for line in block.splitlines()] for block in summary.split("\n\n")]
    return ". ".join(f"{head} {'; '.join(remarks)}" for head, *remarks in blocks)


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".")


def unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def better_colours(violation: Violation) -> str:
    """Propose, for each pair of colours, the nearest shade that is readable."""
    pairs: dict[tuple[str, str, float], list[str]] = {}
    for node in violation["nodes"]:
        data = next(check["data"] for check in node["checks"] if check["id"] == "color-contrast")
        wanted = float(data["expectedContrastRatio"].removesuffix(":1"))
        pairs.setdefault((data["fgColor"], data["bgColor"], wanted), []).append(snippet(node))
    text = "; ".join(f"for {several(found)} {proposal(*pair)}" for pair, found in pairs.items())
    return f"{text[0].upper()}{text[1:]}."


def several(found: list[str]) -> str:
    others = len(found) - 1
    return found[0] + {0: "", 1: " and one more"}.get(others, f" and {others} more")


def proposal(front: str, back: str, wanted: float) -> str:
    if shade := readable(front, against=back, wanted=wanted):
        return f"change the text colour from {front} to {shade} ({contrast(shade, back):.1f}:1 on {back})"
    shade = readable(back, against=front, wanted=wanted)
    if shade is None:
        raise ValueError(f"no shade of {front} on {back} reaches {wanted}:1")
    return f"change the background from {back} to {shade} ({contrast(front, shade):.1f}:1 with {front})"


def readable(colour: str, *, against: str, wanted: float) -> str | None:
    """Move `colour` away from `against`, towards black or white, until it can be read."""
    end = 0 if luminance(colour) < luminance(against) else 255
    for percent in range(101):
        share = percent / 100
        shade = "#" + "".join(f"{round(part + (end - part) * share):02x}" for part in parts(colour))
        # A little more than wanted, so that the rounded figure in the plan is true.
        if contrast(shade, against) >= wanted + 0.05:
            return shade
    return None


def parts(colour: str) -> Colour:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _place(page: Path) -> tuple[int, str]:
    return (VALIDATION.index(page.stem) if page.stem in VALIDATION else -1, page.stem)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in parts(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python build.py RENDERED_FOLDER")
    main(Path(sys.argv[1]))
