// A thousand apps: found by name, scrolled through to the last, with a handful of rows in the document.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { PHONE, end, start, until, Visit } from "./browser.mjs";

const APPS = 1000;
const AT_ONCE = 8;
/** Rows in sight of a window, with those that stand ready around them. */
const ROWS_MAX = 80;
let edge, browser;

after(end);

before(async () => {
  ({ edge, browser } = await start());
});

test("an edge without apps shows how the first is made", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn();
  await visit.page.getByText("There is no app yet.").waitFor();
  for (const command of ["devanture-edge token create", "devanture init", `DEVANTURE_URL=${edge.origin}`]) {
    await visit.page.getByText(command).first().waitFor();
  }
  await visit.close();
});

test("a thousand apps are a list like any other", async () => {
  const folder = edge.site({ "index.html": "<!doctype html><title>One</title>" });
  const archive = path.join(edge.folder, "one.tar.gz");
  execFileSync("tar", ["-C", folder, "-czf", archive, "."]);
  const raw = fs.readFileSync(archive);
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < APPS) {
        const name = `app-${String(next++).padStart(4, "0")}`;
        const pushed = await edge.api("POST", `/v1/apps/${name}/environments/prod/deploys`, { raw, headers: { "content-type": "application/gzip" } });
        assert.equal(pushed.status, 200, pushed.text);
      }
    }),
  );
  for (const viewport of [undefined, PHONE]) {
    const visit = await Visit.open(browser, edge, viewport ? { viewport } : {});
    await visit.logIn();
    const { page } = visit;
    await page.getByText("1,000 apps").waitFor();
    await page.getByRole("link", { name: "app-0000" }).waitFor();
    const rows = () => page.locator("table.apps tbody tr.row").count();
    assert.ok((await rows()) < ROWS_MAX, `${await rows()} rows`);
    await until("the last app", async () => {
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      return (await page.getByRole("link", { name: "app-0999" }).count()) > 0;
    });
    assert.ok((await rows()) < ROWS_MAX, `${await rows()} rows`);
    await page.evaluate(() => scrollTo(0, 0));
    await page.getByRole("searchbox").fill("app-0512");
    await page.getByRole("link", { name: "app-0512" }).waitFor();
    await until("the others to be gone", async () => (await rows()) === 1);
    await visit.fits();
    await page.getByRole("searchbox").fill("nothing-like-this");
    await page.getByText("No app has “nothing-like-this” in its name.").waitFor();
    await visit.close();
  }
});
