// Canaries: begun of a stored version, looked at, stepped, finished and aborted; and what they keep from going live.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESK, PHONE, end, start, until, Visit } from "./browser.mjs";
import { ACCOUNT } from "./edge.mjs";

let edge, browser;
const versions = {};
const short = (version) => version.slice(0, 12);

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.old = (await edge.push("shop", "Old", "--message", "The old page")).version;
  versions.first = (await edge.push("shop", "First", "--message", "The first page")).version;
  versions.next = (await edge.push("shop", "Next", "--message", "The next page", "--no-switch")).version;
  await edge.push("shop", "Elsewhere", "--env", "staging");
  await edge.account("reader", "read", "--app", "shop");
});

const canary = async () => (await edge.api("GET", "/v1/apps/shop/environments/prod/canary")).json.canary;
const region = (visit) => visit.page.getByRole("region", { name: "Canary: prod" });

/** Begins one of the version that waits, unless it runs already. */
async function running(share) {
  const body = (await canary()) ? { share } : { version: versions.next, share };
  const answer = await edge.api("PUT", "/v1/apps/shop/environments/prod/canary", { body });
  assert.equal(answer.status, 200, answer.text);
}

test("one begins of a stored version, and both versions are shown beside each other", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/deploys");
  const { page } = visit;
  const entry = page.locator("details", { hasText: "The next page" });
  await entry.click();
  await entry.getByRole("button", { name: `Begin a canary: ${short(versions.next)}` }).click();
  const dialog = visit.dialog();
  await dialog.getByText("index.html").waitFor();
  const share = dialog.getByLabel("Share of the visitors, in %");
  assert.equal(await share.inputValue(), "10");
  // What the edge would refuse is not sent.
  for (const [typed, isRefused] of [["0", true], ["100", true], ["25", false]]) {
    await share.fill(typed);
    assert.equal(await dialog.getByRole("button", { name: "Begin a canary" }).isDisabled(), isRefused, typed);
  }
  await dialog.getByLabel("Steps by itself").fill("50 25");
  assert.ok(await dialog.getByRole("button", { name: "Begin a canary" }).isDisabled());
  await dialog.getByLabel("Steps by itself").fill("50 100");
  await dialog.getByLabel("Time of each step").selectOption("1d");
  await dialog.getByLabel("Reason").fill("The sale");
  await dialog.getByText(`"plan":{"shares":[50,100],"every_s":86400}`).waitFor();
  await dialog.getByRole("button", { name: "Begin a canary" }).click();
  await until("the canary", canary);
  await visit.closed();
  assert.equal(await edge.live("shop"), versions.first);

  // The list of apps says so, and the card has how both answer.
  await visit.go("/console/");
  await page.getByText("Live, canary 25 %").waitFor();
  await visit.go("/console/apps/shop");
  await region(visit).getByText("25 % of the visitors get").waitFor();
  await region(visit).getByText("By itself 50 % get it").waitFor();
  const row = (version) => region(visit).getByRole("row").filter({ hasText: short(version) });
  await row(versions.first).getByText("live").waitFor();
  const visitor = await browser.newContext({ ignoreHTTPSErrors: true });
  await (await visitor.newPage()).goto(`https://shop.localhost:${edge.https}/`);
  await visitor.close();
  const requests = async (version) => Number(await row(version).getByRole("cell").first().textContent());
  await until("the request is counted", async () => (await requests(versions.first)) + (await requests(versions.next)) > 0);
  await visit.close();
});

test("nothing else goes live while it runs, and the pages say why", async () => {
  await running(10);
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  const { page } = visit;
  const reason = `10 % of the visitors get ${short(versions.next)}, as a canary.`;
  await page.getByText(reason).first().waitFor();
  for (const name of ["Roll back prod", "Promote to prod"]) assert.ok(await visit.button(name).isDisabled(), name);
  assert.ok(await visit.button("Promote to staging").isEnabled());
  await visit.go("/console/apps/shop/deploys");
  const entry = page.locator("details", { hasText: "The old page" });
  await entry.click();
  await entry.getByText(reason).waitFor();
  assert.ok(await entry.getByRole("button", { name: `Roll back to ${short(versions.old)}` }).isDisabled());
  assert.equal(await page.getByRole("button", { name: /^Begin a canary/ }).count(), 0);
  for (const where of ["previews", `compare?from=prod&to=${versions.old}`]) {
    await visit.go(`/console/apps/shop/${where}`);
    await page.getByText(reason).first().waitFor();
    const goes = page.getByRole("button", { name: new RegExp(`^Make .*${short(versions.old)}`) });
    await goes.first().waitFor();
    assert.ok(await goes.first().isDisabled(), where);
  }
  await visit.close();
});

test("who may only look sees it, and is offered nothing", async () => {
  await running(10);
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop", { account: "reader" });
  await region(visit).getByText("10 % of the visitors get").waitFor();
  assert.equal(await region(visit).getByRole("button").count(), 0);
  await visit.close();
});

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`it holds to the rules of accessibility, on ${name}`, async () => {
    await running(10);
    const visit = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await visit.logIn("/console/apps/shop");
    await region(visit).getByText("10 % of the visitors get").waitFor();
    const found = await visit.axe();
    await visit.fits();
    for (const opens of ["Change the share: prod", "Finish: prod", "Abort: prod"]) {
      await visit.button(opens).click();
      await visit.dialog().getByLabel("Reason").waitFor();
      found.push(...(await visit.axe()));
      await visit.fits();
      await visit.page.keyboard.press("Escape");
      await visit.closed();
    }
    assert.deepEqual(found, []);
    await visit.close();
  });
}

test("it gets another share, is aborted with a reason, begins again and is finished", async () => {
  await running(10);
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop");
  const { page } = visit;
  await visit.button("Change the share: prod").click();
  const change = () => visit.dialog().getByRole("button", { name: "Change the share", exact: true });
  assert.ok(await change().isDisabled());
  await visit.dialog().getByLabel("Share of the visitors, in %").fill("50");
  await visit.dialog().getByText("devanture canary 50 --app shop").waitFor();
  await change().click();
  await visit.closed();
  await region(visit).getByText("50 % of the visitors get").waitFor();

  await visit.button("Abort: prod").click();
  await visit.dialog().getByLabel("Reason").fill("The cart is empty");
  await visit.dialog().getByText("devanture canary abort --app shop --reason 'The cart is empty'").waitFor();
  await visit.dialog().getByRole("button", { name: "Abort", exact: true }).click();
  await visit.closed();
  await until("its end", async () => (await region(visit).count()) === 0);
  assert.equal(await edge.live("shop"), versions.first);
  assert.ok(await visit.button("Roll back prod").isEnabled());

  await running(20);
  await region(visit).getByText("20 % of the visitors get").waitFor();
  // Nobody but its owner finishes one in an environment that was locked meanwhile.
  visit.expect(/\/canary\/finish$/, 423);
  await edge.api("PUT", "/v1/apps/shop/environments/prod/lock", { body: { reason: "Until Monday" } });
  await visit.button("Finish: prod").click();
  await visit.dialog().getByText("index.html").waitFor();
  await visit.dialog().getByRole("button", { name: `Make ${short(versions.next)} live for all` }).click();
  await visit.dialog().getByText("locked", { exact: true }).waitFor();
  await visit.dialog().getByLabel("Override the lock").check();
  await visit.dialog().getByText("devanture canary finish --app shop --force").waitFor();
  await visit.dialog().getByRole("button", { name: `Make ${short(versions.next)} live for all` }).click();
  await visit.closed();
  assert.equal(await edge.live("shop"), versions.next);
  await page.getByText("Live, locked").waitFor();
  await visit.close();
});

test("where the app wants it, a person confirms who they are before it begins, and aborts it without", async () => {
  const waiting = (await edge.push("shop", "Later", "--message", "The later page", "--no-switch")).version;
  await edge.api("DELETE", "/v1/apps/shop/environments/prod/lock");
  const set = await edge.api("PUT", "/v1/apps/shop/confirmations", { body: { confirm: ["promote"] } });
  assert.equal(set.status, 200, set.text);
  const visit = await Visit.open(browser, edge);
  visit.expect(/\/canary$/, 403);
  await visit.logIn("/console/apps/shop/deploys");
  const { page } = visit;
  const entry = page.locator("details", { hasText: "The later page" });
  await entry.click();
  await entry.getByRole("button", { name: `Begin a canary: ${short(waiting)}` }).click();
  await visit.dialog().getByText("index.html").waitFor();
  await visit.dialog().getByRole("button", { name: "Begin a canary" }).click();
  await page.getByLabel("Password of ada").fill(ACCOUNT.password);
  assert.equal(await canary(), null);
  await visit.dialog().getByRole("button", { name: "Confirm" }).click();
  await until("the canary", canary);
  await visit.closed();
  await visit.close();

  const later = await Visit.open(browser, edge);
  await later.logIn("/console/apps/shop");
  await later.button("Abort: prod").click();
  await later.dialog().getByRole("button", { name: "Abort", exact: true }).click();
  await later.closed();
  assert.equal(await canary(), null);
  await later.close();
});
