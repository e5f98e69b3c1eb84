// Hashes in pages: what is live of them, and what browsers reported.
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, test } from "node:test";
import { DESK, PHONE, end, start, Visit } from "./browser.mjs";

let edge, browser;

after(end);

async function push(environment, integrity) {
  const folder = edge.site({
    "www/index.html": "<!doctype html><title>Shop</title><script src=/a.js></script>",
    "www/a.js": "document.title",
    "devanture.toml": `app = "shop"\nwww = "www"\nintegrity = "${integrity}"\n`,
  });
  return JSON.parse(await edge.devanture(["push", "--env", environment, "--json"], { cwd: folder }));
}

/** Sends what a browser does that found something without a hash. */
function report(host, blockedURL, destination = "script") {
  const body = JSON.stringify([{ type: "integrity-violation", body: { documentURL: `https://${host}:${edge.https}/cart?secret`, blockedURL, destination } }]);
  const headers = { host: `${host}:${edge.https}`, "content-type": "application/reports+json", "content-length": Buffer.byteLength(body) };
  const options = { host: "127.0.0.1", port: edge.https, servername: host, method: "POST", path: "/.well-known/devanture/integrity", headers, rejectUnauthorized: false };
  return new Promise((resolve, reject) => {
    const request = https.request(options, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on("error", reject);
    request.end(body);
  });
}

before(async () => {
  ({ edge, browser } = await start());
  await push("prod", "enforce");
  await push("staging", "off");
  await edge.account("reader", "read", "--app", "shop");
  await edge.account("elsewhere", "read", "--app", "shop", "--env", "staging");
});

test("the mode of what is live is there, and that nothing was reported", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/integrity");
  const { page } = visit;
  await page.getByText("enforce: what has none is not loaded").waitFor();
  await page.getByText("No browser has reported anything.").waitFor();
  await page.getByText("devanture integrity --app shop").waitFor();
  assert.equal(await page.locator(".fact").filter({ hasText: "Pages with a policy" }).locator("dd").textContent(), "1");
  // By keyboard, to the other environment, and to the previews.
  await page.getByLabel("Environment").focus();
  await page.keyboard.press("ArrowDown");
  await page.getByText("off: no hashes").waitFor();
  await page.getByText("devanture integrity --app shop --env staging").waitFor();
  await page.getByLabel("Environment").selectOption("preview");
  await page.getByText("Reports of aliases and of versions").waitFor();
  await visit.close();
});

test("what browsers report is shown, as the text that it is", async () => {
  for (const _ of [1, 2]) assert.equal(await report("shop.localhost", "https://cdn.example/count.js?visitor=7"), 204);
  assert.equal(await report("shop.localhost", "https://cdn.example/<b onclick=window.broken=1>x</b>.css", "style"), 204);
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/integrity", { account: "reader" });
  const reports = visit.page.getByRole("group", { name: "Reports of browsers" });
  const row = reports.getByRole("row").filter({ hasText: "https://cdn.example/count.js" });
  await row.getByText("not loaded").waitFor();
  assert.deepEqual((await row.getByRole("cell").allTextContents()).slice(0, 4), ["/cart", "script", "not loaded", "2"]);
  await reports.getByRole("row").filter({ hasText: "style" }).waitFor();
  assert.equal(await reports.locator("b").count(), 0);
  const content = await visit.page.content();
  assert.ok(!content.includes("visitor=7") && !content.includes("?secret"));
  await visit.close();
});

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`it holds to the rules of accessibility, on ${name}`, async () => {
    const visit = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await visit.logIn("/console/apps/shop/integrity");
    await visit.page.getByText("https://cdn.example/count.js").waitFor();
    assert.deepEqual(await visit.axe(), []);
    await visit.fits();
    await visit.close();
  });
}

test("who has a right to one environment sees no other", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/integrity", { account: "elsewhere" });
  const { page } = visit;
  await page.getByText("off: no hashes").waitFor();
  assert.deepEqual(await page.getByLabel("Environment").locator("option").allTextContents(), ["staging"]);
  await visit.go("/console/apps/shop/integrity?env=prod");
  await page.getByText("You may not see this.").waitFor();
  await visit.close();
});
