// Who may see previews and environments: set, seen by visitors at once, and opened by links that are shown once.
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, test } from "node:test";
import { end, start, Visit } from "./browser.mjs";

let edge, browser, version, preview;

after(end);

before(async () => {
  ({ edge, browser } = await start());
  const pushed = await edge.push("shop", "First", "--message", "The first page");
  version = pushed.version;
  preview = pushed.urls.preview;
  await edge.push("shop", "Team", "--env", "staging");
  await edge.account("reader", "read", "--app", "shop");
});

/** What a stranger's program gets. */
function statusOf(address, cookie) {
  const url = new URL(address);
  const headers = { host: url.host, ...(cookie ? { cookie } : {}) };
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: edge.https, servername: url.hostname, path: url.pathname + url.search, headers, rejectUnauthorized: false };
    https
      .get(options, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
      .on("error", reject);
  });
}

/** A visitor of the site, in a browser of their own. */
async function visitor() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  return { page: await context.newPage(), leave: () => context.close() };
}

const row = (visit, text) => visit.page.getByRole("row").filter({ hasText: text });

test("an environment is opened by its password, and by the edge's default again", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/protection");
  await row(visit, "staging").getByText("public: everybody").waitFor();
  await visit.button("Change: staging").click();
  const dialog = visit.dialog();
  await dialog.getByLabel("Who").selectOption("password");
  await dialog.getByText("devanture protect staging password --app shop").waitFor();
  // A password is needed, and environments cannot be turned off.
  assert.ok(await dialog.getByRole("button", { name: "Save" }).isDisabled());
  assert.equal(await dialog.getByRole("option", { name: "off: nobody" }).count(), 0);
  await dialog.getByLabel("Password").fill("open sesame, please");
  await dialog.getByRole("button", { name: "Save" }).click();
  await visit.closed();
  await row(visit, "staging").getByText("password: by a password or a link").waitFor();
  assert.ok(!(await visit.page.content()).includes("open sesame, please"));
  const address = `https://staging--shop.localhost:${edge.https}/`;
  assert.equal(await statusOf(address), 401);
  await visit.go("/console/apps/shop");
  await visit.page.getByText("by a password or a link").click();
  const { page, leave } = await visitor();
  await page.goto(address);
  await page.locator("input[type=password]").fill("open sesame, please");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Team" }).waitFor();
  await leave();
  await visit.button("Change: staging").click();
  await visit.dialog().getByLabel("Who").selectOption("default");
  await visit.dialog().getByRole("button", { name: "Save" }).click();
  await visit.closed();
  await row(visit, "staging").getByText("public: everybody").waitFor();
  assert.equal(await statusOf(address), 200);
  await visit.close();
});

test("a link opens a protected preview, is shown once, and ends when it is revoked", async () => {
  const visit = await Visit.open(browser, edge, { bypassCSP: true });
  await visit.logIn("/console/apps/shop/protection");
  await visit.button("Change: previews").click();
  await visit.dialog().getByLabel("Who").selectOption("token");
  await visit.dialog().getByRole("button", { name: "Save" }).click();
  await visit.closed();
  assert.equal(await statusOf(preview), 401);
  // Who would pass on the address alone is led to the links.
  await visit.go("/console/apps/shop/previews");
  await visit.button(`Share: ${version.slice(0, 12)}`).click();
  await visit.dialog().getByText("Previews of this app are protected").waitFor();
  await visit.dialog().getByRole("button", { name: "Share links" }).click();
  await visit.closed();

  await visit.page.getByText("No share link.").waitFor();
  await visit.button("Make a link").click();
  const dialog = visit.dialog();
  await dialog.getByRole("option", { name: /The first page/ }).waitFor({ state: "attached" });
  await dialog.getByLabel("Opens").selectOption(version);
  await dialog.getByLabel("Ends").selectOption("1d");
  await dialog.getByText(`devanture share ${version.slice(0, 12)} --app shop --expires 1d`).waitFor();
  await dialog.getByRole("button", { name: "Make a link" }).click();
  await visit.page.getByRole("heading", { name: "The link is made" }).waitFor();
  assert.deepEqual(await visit.axe(), []);
  const link = await dialog.locator("code.secret").textContent();
  // It is not closed by a slip.
  await visit.page.keyboard.press("Escape");
  await dialog.getByText("It cannot be shown again. Close it?").waitFor();
  await dialog.getByRole("button", { name: "Keep it open" }).click();
  await dialog.getByRole("button", { name: "I have kept it" }).click();
  await visit.closed();
  assert.ok(!(await visit.page.content()).includes(link));
  assert.ok(!JSON.stringify((await edge.api("GET", "/v1/apps/shop/shares")).json).includes(link));

  const { page, leave } = await visitor();
  await page.goto(link);
  await page.getByRole("heading", { name: "First" }).waitFor();
  await row(visit, version.slice(0, 12)).getByRole("button", { name: /^Revoke/ }).click();
  await visit.dialog().getByRole("button", { name: "Revoke" }).click();
  await visit.closed();
  await visit.page.getByText("No share link.").waitFor();
  assert.equal((await page.reload()).status(), 401);
  await leave();
  await visit.close();
});

test("a protected preview is said to be so, where its frame would stay empty", async () => {
  const visit = await Visit.open(browser, edge, { bypassCSP: true });
  const set = (body) => edge.api("PUT", "/v1/apps/shop/environments/preview/protection", { body });
  await edge.devanture(["alias", "set", "feature-x", version.slice(0, 12), "--app", "shop"]);
  await set({ mode: "public" });
  await visit.logIn("/console/apps/shop/previews");
  const { page } = visit;
  const show = () => visit.button("Show here: feature-x").click();
  await show();
  await page.frameLocator("iframe").getByRole("heading", { name: "First" }).waitFor();
  for (const [body, about] of [
    [{ mode: "password", password: "open sesame, please" }, "They ask for a password"],
    [{ mode: "token" }, "They open by a share link alone"],
    [{ mode: "off" }, "None of them is served"],
  ]) {
    assert.equal((await set(body)).status, 200);
    await page.reload();
    await show();
    const card = page.getByRole("region", { name: "Preview of feature-x" });
    await card.getByText(about).waitFor();
    assert.equal(await page.locator("iframe").count(), 0);
    assert.equal(await page.getByRole("button", { name: "Phone" }).count(), 0);
    assert.equal(await card.getByRole("link", { name: "Open in a new tab" }).count(), body.mode === "off" ? 0 : 1);
    assert.deepEqual(await visit.axe(), []);
    if (body.mode !== "token") continue;
    await card.getByRole("button", { name: "Make a share link: feature-x" }).click();
    await visit.dialog().getByText("devanture share feature-x --app shop --expires 7d").waitFor();
    await visit.dialog().getByRole("button", { name: "Make a link" }).click();
    const stranger = await visitor();
    await stranger.page.goto(await visit.dialog().locator("code.secret").textContent());
    await stranger.page.getByRole("heading", { name: "First" }).waitFor();
    await stranger.leave();
  }
  await set({});
  await visit.close();
});

test("who may only look sees what is set, and is offered nothing", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/protection", { account: "reader" });
  await row(visit, "staging").first().waitFor();
  await visit.page.getByText("feature-x", { exact: true }).waitFor();
  assert.equal(await visit.page.locator("main").getByRole("button").count(), 0);
  await visit.close();
});
