// Takes a screenshot of every page and runs axe-core on it, in one Chromium.
//
//   node render.mjs OUT_FOLDER [CHROMIUM]
//
// Leaves OUT_FOLDER/<page>.png and OUT_FOLDER/<page>.json (axe's violations) for build.py.

import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const WIDTH = 1000;
const HEIGHT = { least: 640, most: 860 };

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--hide-scrollbars",
  "--force-color-profile=srgb",
  "--font-render-hinting=none",
];

// Off by default in axe-core, but just what a reviewer would say about these pages.
const EXTRA_RULES = { "target-size": { enabled: true }, "td-has-header": { enabled: true } };

const out = process.argv[2];
const executablePath = process.argv[3] ?? "/usr/bin/chromium";
if (!out) {
  console.error("usage: node render.mjs OUT_FOLDER [CHROMIUM]");
  process.exit(2);
}

const pages = fileURLToPath(new URL("pages/", import.meta.url));
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const slugs = (await readdir(pages))
  .filter((name) => name.endsWith(".html"))
  .map((name) => name.slice(0, -".html".length))
  .sort();

await mkdir(out, { recursive: true });
const profile = await mkdtemp(join(tmpdir(), "sample-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  args: FLAGS,
  viewport: { width: WIDTH, height: HEIGHT.least },
  deviceScaleFactor: 1,
  locale: "en-US",
  timezoneId: "UTC",
  reducedMotion: "reduce",
});

try {
  for (const slug of slugs) {
    const page = await browser.newPage();
    await page.goto(`file://${pages}${slug}.html`, { waitUntil: "load" });
    const wanted = await page.evaluate(() => document.documentElement.scrollHeight);
    const height = Math.min(Math.max(wanted, HEIGHT.least), HEIGHT.most);
    await page.setViewportSize({ width: WIDTH, height });

    await page.addScriptTag({ path: axe });
    const violations = await page.evaluate(
      async (rules) => {
        const results = await window.axe.run(document, { iframes: false, rules, resultTypes: ["violations"] });
        return results.violations;
      },
      EXTRA_RULES,
    );
    // After axe-core, as hiding the caret writes style attributes into the page.
    await page.screenshot({ path: join(out, `${slug}.png`), animations: "disabled" });

    const facts = violations.map(({ id, impact, tags, help, description, nodes }) => ({
      id,
      impact,
      tags,
      help,
      description,
      nodes: nodes.map((node) => ({
        html: node.html,
        target: node.target.join(" "),
        summary: node.failureSummary,
        checks: [...node.any, ...node.all, ...node.none].map((check) => ({ id: check.id, data: check.data })),
      })),
    }));
    await writeFile(join(out, `${slug}.json`), `${JSON.stringify(facts, null, 1)}\n`);
    console.log(`${slug}  ${WIDTH}x${height} (page ${wanted})  ${facts.map((fact) => `${fact.id}*${fact.nodes.length}`).join(", ") || "no findings"}`);
    await page.close();
  }
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
