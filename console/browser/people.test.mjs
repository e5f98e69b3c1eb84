// Everybody can use it: by keyboard alone, on a phone, in light and dark, with what reads pages out.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESK, PHONE, end, start, until, Visit } from "./browser.mjs";

let edge, browser;
const versions = {};

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.first = (await edge.push("shop", "First", "--message", "The first page")).version;
  versions.second = (await edge.push("shop", "Second", "--message", "The second page")).version;
  await edge.push("shop", "Third", "--env", "staging", "--message", "The third page");
  await edge.devanture(["alias", "set", "feature-x", versions.first.slice(0, 12), "--app", "shop"]);
  await edge.devanture(["share", "feature-x", "--app", "shop"]);
  await edge.devanture(["hostnames", "add", "www.shop.example", "--app", "shop"]);
  await edge.devanture(["env", "set", "API_URL=https://api.example", "--public", "--app", "shop"]);
});

/** Each page, and a text that is there once it is loaded. */
const PAGES = [
  ["/console/", "shop"],
  ["/console/apps/shop", "The second page"],
  ["/console/apps/shop/deploys", "The first page"],
  ["/console/apps/shop/compare?from=prod&to=staging", "index.html"],
  ["/console/apps/shop/previews", "feature-x"],
  ["/console/apps/shop/traffic", "Bytes sent"],
  ["/console/apps/shop/requests", "Requests appear as they are answered"],
  ["/console/apps/shop/hostnames", "local authority"],
  ["/console/apps/shop/settings", "API_URL"],
  ["/console/apps/shop/backend", "No backend here."],
  ["/console/apps/shop/protection", "feature-x"],
  ["/console/apps/shop/signing", "Versions need no signature here."],
  ["/console/apps/shop/pins", "Nobody is held on an earlier version."],
  ["/console/apps/shop/integrity", "No browser has reported anything."],
  ["/console/apps/shop/webhooks", "No webhook."],
  ["/console/apps/shop/tokens", "Make a token"],
  ["/console/apps/shop/upkeep", "versions_max"],
  ["/console/tokens", "Make a token"],
  ["/console/audit", "create token"],
  ["/console/nodes", /^ready$/],
  ["/console/account", "Chrome on Linux"],
  ["/console/nowhere", "There is no such page"],
];

/** Dialogs: where, by which button, and a text of each. */
const DIALOGS = [
  ["/console/apps/shop", "Roll back prod", "index.html"],
  ["/console/apps/shop", "Promote to prod", "index.html"],
  ["/console/apps/shop", "Lock: prod", "Pushes are stored then"],
  ["/console/apps/shop", "Pause: prod", "Message for visitors"],
  ["/console/apps/shop/previews", /^Share: /, "Give it the name"],
  ["/console/apps/shop/hostnames", "Add a hostname", "See what it needs"],
  ["/console/apps/shop/settings", "Add", "Kind"],
  ["/console/apps/shop/protection", "Change: previews", "Nothing is set here"],
  ["/console/apps/shop/protection", "Make a link", "Its address holds a secret"],
  ["/console/apps/shop/protection", /^Revoke: /, "see nothing any more"],
  ["/console/apps/shop/webhooks", "Add a webhook", "with none chosen"],
  ["/console/apps/shop/tokens", "Make a token", "push includes read"],
  ["/console/apps/shop/upkeep", "Delete staging", "Type staging to delete it"],
  ["/console/account", "Add a passkey", "Such as laptop"],
];

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`each page holds to the rules of accessibility, on ${name}`, async () => {
    const visit = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await visit.go("/console/");
    await visit.page.getByLabel("Password").waitFor();
    const found = await visit.axe();
    await visit.fits();
    await visit.logIn();
    for (const [where, text] of PAGES) {
      await visit.go(where);
      await visit.page.locator("main").getByText(text).first().waitFor();
      found.push(...(await visit.axe()));
      await visit.fits();
    }
    for (const [where, opens, shows] of DIALOGS) {
      if (new URL(visit.page.url()).pathname !== where) await visit.go(where);
      await visit.button(opens).first().click();
      await visit.dialog().getByText(shows).first().waitFor();
      found.push(...(await visit.axe()));
      await visit.fits();
      await visit.page.keyboard.press("Escape");
      await visit.closed();
    }
    assert.deepEqual(found, []);
    await visit.close();
  });
}

test("the colours follow the system", async () => {
  const grounds = [];
  for (const scheme of ["light", "dark"]) {
    const visit = await Visit.open(browser, edge, { scheme });
    await visit.logIn();
    grounds.push(await visit.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor));
    await visit.close();
  }
  assert.notEqual(grounds[0], grounds[1]);
});

/** Presses Tab until the focus is on what the function describes. */
async function tabTo(page, what, matches) {
  for (let pressed = 0; pressed < 80; pressed += 1) {
    const name = await page.evaluate(() => {
      const element = document.activeElement;
      return element ? `${element.getAttribute("aria-label") ?? element.textContent ?? ""}`.trim() : "";
    });
    if (matches(name)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`the focus never came to ${what}`);
}

test("a rollback needs no mouse", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn();
  const { page } = visit;
  await page.getByRole("link", { name: "shop", exact: true }).waitFor();
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("type")), "search");
  await page.keyboard.type("sho");
  await tabTo(page, "the app", (name) => name === "shop");
  await page.keyboard.press("Enter");
  await visit.heading("shop").waitFor();
  await visit.button("Roll back prod").waitFor();
  // A page that was gone to has the focus on its name.
  await until("the heading has the focus", () => page.evaluate(() => document.activeElement?.tagName === "H1"));
  await tabTo(page, "the rollback", (name) => name === "Roll back prod");
  await page.keyboard.press("Enter");
  const go = visit.button(`Roll back to ${versions.first.slice(0, 12)}`);
  await go.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "INPUT");
  // Escape leaves everything as it is, and the focus where it was.
  await page.keyboard.press("Escape");
  await visit.closed();
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), "Roll back prod");
  assert.equal(await edge.live("shop"), versions.second);
  await page.keyboard.press("Enter");
  await go.waitFor();
  await page.keyboard.type("By keyboard");
  await page.keyboard.press("Enter");
  await until("the rollback", async () => (await edge.live("shop")) === versions.first);
  await visit.closed();
  await visit.close();
});
