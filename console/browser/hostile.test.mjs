// Texts that somebody hostile wrote are texts: they are markup nowhere, run nothing, lead nowhere and hide nothing.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { end, start, until, Visit } from "./browser.mjs";

const MARKUP = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>';
const TURNED = "invoice\u202efdp.exe";
let edge, browser;

after(end);

before(async () => {
  ({ edge, browser } = await start());
  const folder = edge.site({
    "index.html": "<!doctype html><title>One</title>",
    [`${TURNED}.html`]: "x",
    "<b onclick=window.broken=1>.html": "x",
  });
  const archive = path.join(edge.folder, "hostile.tar.gz");
  execFileSync("tar", ["-C", folder, "-czf", archive, "."]);
  const query = new URLSearchParams({
    message: `${MARKUP} ${TURNED}`,
    commit: "<i>1a2b</i>",
    branch: `"><svg onload=window.broken=1>\u2066`,
    ci: "<u>ci</u>",
    url: "javascript:window.broken=1",
  });
  const pushed = await edge.api("POST", `/v1/apps/shop/environments/prod/deploys?${query}`, {
    raw: fs.readFileSync(archive),
    headers: { "content-type": "application/gzip" },
  });
  assert.equal(pushed.status, 200, pushed.text);
  await edge.push("shop", "Two", "--message", "An honest page");
  await edge.devanture(["lock", "--app", "shop", "--reason", `${MARKUP} ${TURNED}`]);
  await edge.devanture(["env", "set", `GREETING=${MARKUP}${TURNED}`, "--app", "shop"]);
  await edge.own("token", "create", "--app", "shop", "--name", "<s>ci</s>", "--scope", "read");
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
  const signers = await edge.api("PUT", "/v1/apps/shop/environments/staging/signers", { body: { signers: [`${key} ${MARKUP}`], signatures_min: 1 } });
  assert.equal(signers.status, 200, signers.text);
});

/** Nothing of what was written became an element or ran. */
async function isText(visit) {
  const { page } = visit;
  assert.equal(await page.evaluate(() => globalThis.broken), undefined);
  const made = await page.locator("main :is(img, script, b[onclick], svg[onload], i, u, s), dialog :is(img, script, i, u, s)").count();
  assert.equal(made, 0, page.url());
  assert.equal(await page.locator('a[href^="javascript:" i]').count(), 0);
}

test("on every page", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  const { page } = visit;
  await page.getByText(MARKUP).first().waitFor();
  await page.locator(".hidden-character", { hasText: "U+202E" }).first().waitFor();
  await isText(visit);

  await visit.go("/console/apps/shop/deploys");
  await page.locator("details", { hasText: MARKUP }).last().click();
  await page.getByText("javascript:window.broken=1").waitFor();
  await page.getByText('"><svg onload=window.broken=1>').waitFor();
  await isText(visit);

  const history = (await edge.api("GET", "/v1/apps/shop/environments/prod/history")).json;
  const first = history.deploys.findLast((deploy) => deploy.kind === "push").version;
  await visit.go(`/console/apps/shop/compare?from=${first}&to=prod`);
  await page.getByText("<b onclick=window.broken=1>.html").waitFor();
  await page.locator("td .hidden-character", { hasText: "U+202E" }).waitFor();
  await isText(visit);

  await visit.go("/console/apps/shop/settings");
  await page.getByText(MARKUP).waitFor();
  await isText(visit);
  await visit.go("/console/apps/shop/tokens");
  await page.getByText("<s>ci</s>", { exact: true }).waitFor();
  await isText(visit);
  await visit.go("/console/apps/shop/signing?env=staging");
  await page.getByText(MARKUP).waitFor();
  await isText(visit);
  await visit.go("/console/audit");
  await page.getByText("lock", { exact: true }).first().waitFor();
  await isText(visit);
  await visit.close();
});

test("in an address of the console itself", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\/apps\//, 404);
  visit.expect(/^\/v1\/apps\//, 400);
  await visit.logIn();
  await visit.go("/console/apps/no-such-app");
  await visit.page.locator("main [role=alert]").first().waitFor();
  await visit.go(`/console/?search=${encodeURIComponent(MARKUP.slice(0, 30))}`);
  await visit.page.getByText(MARKUP.slice(0, 30)).waitFor();
  await isText(visit);
  await visit.go(`/console/apps/shop/compare?env=${encodeURIComponent(TURNED)}&from=${encodeURIComponent(MARKUP)}&to=prod`);
  await visit.page.locator("main [role=alert]").first().waitFor();
  await isText(visit);
  await visit.close();
});

test("in requests as they come", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/requests");
  const { page } = visit;
  await page.getByText("Requests appear as they are answered").waitFor();
  const visitor = await browser.newContext({ ignoreHTTPSErrors: true, userAgent: MARKUP });
  await (await visitor.newPage()).goto(`https://shop.localhost:${edge.https}/?${"<b>".repeat(3)}`);
  await visitor.close();
  // The request for an icon that follows has a line of its own, above it.
  const line = page.locator("details.request", { has: page.locator(".request-target", { hasText: "/?" }) });
  await line.click();
  await line.getByText(MARKUP).waitFor();
  await isText(visit);
  await visit.close();
});

test("the frame of a preview keeps what it shows inside", async () => {
  await edge.push("evil", "<script>try{top.location='https://localhost:1/'}catch{}</script>Evil");
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/evil/previews");
  const { page } = visit;
  // What the frame tries is refused, and the browser says so.
  page.removeAllListeners("console");
  page.removeAllListeners("pageerror");
  await page.getByRole("button", { name: /^Show here/ }).first().click();
  const frame = page.locator("iframe");
  await frame.waitFor();
  assert.equal(await frame.getAttribute("sandbox"), "allow-scripts allow-same-origin");
  await page.frameLocator("iframe").getByText("Evil").first().waitFor();
  await until("the page to stay", () => page.url().startsWith(`${edge.origin}/console/apps/evil/previews`));
  await visit.close();
});

test("what is typed into a dialog stays from the frame of a preview that takes the focus", async () => {
  const takes = "setInterval(() => { focus(); document.querySelector('input').focus(); }, 1)";
  await edge.push("greedy", `<!doctype html><p>Greedy<input><script>${takes}</script>`);
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/greedy/previews");
  const { page } = visit;
  await page.getByRole("button", { name: /^Show here/ }).first().click();
  const frame = page.locator("iframe");
  await frame.waitFor();
  await page.frameLocator("iframe").getByText("Greedy").waitFor();
  await page.getByRole("button", { name: /^Share/ }).first().click();
  const field = visit.dialog().getByRole("textbox").first();
  await field.click();
  await page.keyboard.type("correct-horse", { delay: 20 });
  assert.equal(await field.inputValue(), "correct-horse");
  assert.equal(await frame.count(), 0);
  await page.keyboard.press("Escape");
  await frame.waitFor();
  await visit.close();
});
