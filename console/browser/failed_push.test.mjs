// A push that fails is watched while it happens, and the page says why, and that what was live still is.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { atEnd, end, start, until, Visit } from "./browser.mjs";
import { withCart } from "./edge.mjs";

let edge, browser, backend;
/** Requests of the smoke check that the test has not let go yet. */
const held = [];

after(end);

before(async () => {
  ({ edge, browser } = await start());
  backend = http.createServer((_request, response) => held.push(response));
  await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
  atEnd(() => {
    backend.closeAllConnections();
    backend.close();
  });
  await edge.push("shop", "Fine", "--message", "A shop that works");
});

test("a failed push is seen as it happens, with its reason", async () => {
  const before = await edge.live("shop");
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/deploys");
  const { page } = visit;
  await page.getByText("No push is under way.").waitFor();

  const folder = edge.site(withCart("Broken", backend));
  const push = edge.devanture(["push", "--json", "--message", "A cart that breaks"], { code: 1, cwd: folder });
  const recent = page.locator("article.recent", { hasText: "A cart that breaks" });
  await recent.waitFor();
  await recent.locator("li", { hasText: "smoke" }).locator(".mark.busy").waitFor();
  await until("the request of the smoke check", () => held.length > 0);
  for (const response of held.splice(0)) {
    response.statusCode = 500;
    response.end("no cart");
  }
  await recent.getByText("Failed", { exact: true }).waitFor();
  await recent.getByText("smoke_failed").waitFor();
  await recent.getByText("What was live before still is.").waitFor();
  await page.getByRole("heading", { name: "Failed lately" }).waitFor();
  await page.getByText("No push is under way.").waitFor();
  const report = JSON.parse(await push);
  assert.equal(report.error.code, "smoke_failed");
  assert.equal(await edge.live("shop"), before);
  // Its entry in the history says why once.
  const entry = page.locator("li.entry", { hasText: "A cart that breaks" });
  await entry.locator("summary").click();
  await entry.getByText("smoke_failed").waitFor();
  const { deploys } = (await edge.api("GET", "/v1/apps/shop/environments/prod/history?limit=1")).json;
  const said = (await entry.innerText()).split(deploys[0].problem.detail.replace(/\.$/, "")).length - 1;
  assert.equal(said, 1, await entry.innerText());
  // A later push that goes live is the end of it.
  await edge.push("shop", "Mended", "--message", "A cart that works");
  await until("the failed one is past", async () => (await page.getByRole("heading", { name: "Failed lately" }).count()) === 0);
  await visit.close();
});

test("requests appear as they are answered", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/requests");
  const { page } = visit;
  await page.getByText("Requests appear as they are answered").waitFor();
  const visitor = await visit.context.newPage();
  await visitor.goto(`https://shop.localhost:${edge.https}/missing-page?a=1`);
  const line = page.locator("details.request", { hasText: "/missing-page?a=1" }).first();
  await line.waitFor();
  await line.getByText("404").waitFor();
  await line.click();
  await line.getByText(`shop.localhost:${edge.https}`).waitFor();
  await page.getByLabel("Status").fill("5xx");
  await visit.button("Filter").click();
  await page.getByText("devanture logs --tail --app shop --status 5xx").waitFor();
  await until("the others are gone", async () => (await page.locator("details.request").count()) === 0);
  await visit.close();
});
