// The story of the console: see what is live, go back in two clicks with a reason, promote what was compared.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import https from "node:https";
import { end, start, until, Visit } from "./browser.mjs";

let edge, browser;
const versions = {};

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.spring = (await edge.push("shop", "Spring", "--message", "The shop in spring")).version;
  versions.summer = (await edge.push("shop", "Summer", "--message", "The shop in summer")).version;
});

/** Asks for the live page again and again; gives what it saw, when it is ended. */
function load() {
  const agent = new https.Agent({ keepAlive: true, rejectUnauthorized: false });
  const seen = { answers: 0, failures: [] };
  let going = true;
  const ask = () =>
    new Promise((resolve) => {
      const host = `shop.localhost:${edge.https}`;
      const request = https.get({ agent, host: "127.0.0.1", port: edge.https, servername: "shop.localhost", path: "/", headers: { host } }, (response) => {
        response.resume();
        response.on("end", () => {
          seen.answers += 1;
          if (response.statusCode !== 200) seen.failures.push(response.statusCode);
          resolve();
        });
      });
      request.on("error", (error) => {
        seen.failures.push(error.message);
        resolve();
      });
    });
  const done = (async () => {
    while (going) await ask();
    agent.destroy();
    return seen;
  })();
  return () => {
    going = false;
    return done;
  };
}

test("an app is found, and taken back in two clicks with a reason, while it is visited", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn();
  const { page } = visit;
  await visit.heading("Apps").waitFor();
  await page.getByRole("link", { name: "shop", exact: true }).click();
  await visit.heading("shop").waitFor();
  await page.getByText(versions.summer.slice(0, 12)).first().waitFor();
  await page.getByText("The shop in summer").waitFor();

  const end = load();
  await visit.button("Roll back prod").click();
  await visit.dialog().getByLabel("Reason").fill("The cart is empty; it's me");
  await page.getByText(`devanture rollback ${versions.spring.slice(0, 12)} --app shop --reason 'The cart is empty; it'\\''s me'`).waitFor();
  await visit.button(`Roll back to ${versions.spring.slice(0, 12)}`).click();
  await page.getByText("The cart is empty; it's me").waitFor();
  assert.equal(await edge.live("shop"), versions.spring);
  await until("visitors of the earlier version", async () => (await page.getByText(versions.spring.slice(0, 12)).count()) > 0);
  const seen = await end();
  assert.deepEqual(seen.failures, []);
  assert.ok(seen.answers > 0);

  await page.getByRole("link", { name: "Deploys", exact: true }).click();
  await page.locator("details", { hasText: "Rollback" }).first().click();
  await page.getByText("The cart is empty; it's me").first().waitFor();
  const history = await edge.api("GET", "/v1/apps/shop/environments/prod/history?limit=1");
  assert.equal(history.json.deploys[0].reason, "The cart is empty; it's me");
  assert.equal(history.json.deploys[0].who, "ada");
  await visit.close();
});

test("what is promoted was compared before", async () => {
  await edge.push("shop", "Autumn", "--env", "staging", "--message", "The shop in autumn");
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  const { page } = visit;
  visit.expect(/\/promote$/, 409);
  await visit.button("Promote to prod").click();
  const dialog = visit.dialog();
  await dialog.getByRole("combobox", { name: "From the environment" }).waitFor();
  await dialog.getByText("index.html").waitFor();
  await dialog.getByText("devanture promote --app shop --from staging --to prod").waitFor();
  await dialog.getByLabel("Reason").fill("Leaves");
  // Somebody else pushes between the look and the click: what was not shown does not go live.
  const before = await edge.live("shop");
  const report = await edge.push("shop", "Winter", "--env", "staging", "--message", "The shop in winter");
  await dialog.getByRole("button", { name: "Promote to prod" }).click();
  await dialog.getByText(`Meanwhile ${report.version.slice(0, 12)} went live in staging.`).waitFor();
  await dialog.locator(".versions", { hasText: report.version.slice(0, 12) }).waitFor();
  assert.equal(await edge.live("shop"), before);
  await dialog.getByRole("button", { name: "Promote to prod" }).click();
  await until("the promotion", async () => (await edge.live("shop")) === report.version);
  await visit.closed();
  // What came by a promotion has a preview as well.
  await visit.go("/console/apps/shop/previews?env=prod");
  const preview = page.locator(".previews li", { hasText: report.version.slice(0, 12) });
  await preview.getByText("live now").waitFor();
  await page.locator(".previews li", { hasText: versions.summer.slice(0, 12) }).getByText("The shop in summer").waitFor();
  await visit.close();
});

test("a rollback takes back what its dialog showed, and nothing else", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  visit.expect(/\/rollback$/, 409);
  const shown = await edge.live("shop");
  await visit.button("Roll back prod").click();
  const dialog = visit.dialog();
  const sides = dialog.locator(".versions");
  await sides.filter({ hasText: shown.slice(0, 12) }).waitFor();
  const report = await edge.push("shop", "Midwinter", "--message", "The shop in midwinter");
  await dialog.getByRole("button", { name: /^Roll back to / }).click();
  await dialog.getByText(`Meanwhile ${report.version.slice(0, 12)} went live in prod.`).waitFor();
  assert.equal(await edge.live("shop"), report.version);
  // The difference is that of what would happen now, and is confirmed once more.
  await sides.filter({ hasText: `${report.version.slice(0, 12)} → ${shown.slice(0, 12)}` }).waitFor();
  await visit.button(`Roll back to ${shown.slice(0, 12)}`).click();
  await until("the rollback", async () => (await edge.live("shop")) === shown);
  await visit.closed();
  await visit.close();
});

test("any two versions are compared", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/compare");
  const { page } = visit;
  await page.getByRole("combobox", { name: "From", exact: true }).selectOption({ value: versions.spring });
  await page.getByRole("combobox", { name: "To", exact: true }).selectOption({ value: versions.summer });
  await page.getByRole("cell", { name: "index.html" }).waitFor();
  await page.getByText(`devanture diff ${versions.spring.slice(0, 12)} ${versions.summer.slice(0, 12)} --app shop`).waitFor();
  await visit.close();
});

test("what was visited is drawn, and there as figures, too", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/traffic?span=1h&by=version");
  const { page } = visit;
  await page.locator(".chart canvas").first().waitFor();
  await page.getByText("Figures").first().click();
  await page.getByRole("columnheader", { name: versions.summer.slice(0, 12) }).first().waitFor();
  await page.getByRole("listitem").filter({ hasText: versions.spring.slice(0, 12) }).first().waitFor();
  await visit.close();
});

test("locks and pauses are made and ended, and a setting that is secret is never shown again", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  const { page } = visit;
  visit.expect(/\/rollback$/, 409);
  visit.expect(/\/rollback$/, 423);
  await visit.button("Lock: prod").click();
  await visit.dialog().getByLabel("Reason").fill("Sale until Monday");
  await visit.dialog().getByRole("button", { name: "Lock", exact: true }).click();
  await page.getByText("Sale until Monday").waitFor();
  // A rollback is not offered before the lock is overridden.
  await visit.button("Roll back prod").click();
  await visit.dialog().getByText("locked", { exact: true }).waitFor();
  assert.ok(await visit.dialog().getByRole("button", { name: "Roll back", exact: true }).isDisabled());
  await visit.dialog().getByLabel("Override the lock").check();
  await until("the rollback is offered", () => visit.dialog().getByRole("button", { name: /^Roll back to / }).isEnabled());
  await page.keyboard.press("Escape");
  await visit.closed();
  await visit.button("Unlock: prod").click();
  await visit.dialog().getByRole("button", { name: "Unlock", exact: true }).click();
  await until("the end of the lock", async () => !(await edge.api("GET", "/v1/apps/shop/environments/prod")).json.locked);
  await visit.button("Pause: prod").click();
  await visit.dialog().getByLabel("Message for visitors").fill("Back at ten.");
  await visit.dialog().getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByText("Back at ten.").waitFor();
  await visit.button("Resume: prod").click();
  await visit.dialog().getByRole("button", { name: "Resume", exact: true }).click();
  await until("the end of the pause", async () => !(await edge.api("GET", "/v1/apps/shop/environments/prod")).json.paused);

  await visit.go("/console/apps/shop/settings");
  await visit.button("Add…").click();
  const dialog = visit.dialog();
  await dialog.getByLabel("Name").fill("API_KEY");
  await dialog.getByLabel("Kind").selectOption("secret");
  await dialog.getByLabel("Value").fill("of-nobody");
  assert.equal(await page.getByText("of-nobody").count(), 0);
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByText("sealed").waitFor();
  assert.ok(!(await page.content()).includes("of-nobody"));
  await visit.close();
});
