// What is confirmed before it is done: tokens, which are shown once, and what an app protects, by a passkey.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { end, start, until, Visit } from "./browser.mjs";

let edge, browser;
const versions = {};

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.first = (await edge.push("shop", "First")).version;
  versions.second = (await edge.push("shop", "Second")).version;
});

/** Confirms by the password, if the page asks for it. */
async function confirm(visit) {
  const field = visit.page.getByLabel("Password of ada");
  await field.fill("correct horse battery staple");
  await visit.button("Confirm", visit.dialog()).click();
}

test("a token is shown once, and not closed by a slip", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/tokens");
  const { page } = visit;
  await visit.button("Make a token…").click();
  await visit.dialog().getByLabel("Name").fill("ci");
  await visit.dialog().getByText(/devanture token create --app shop --name ci --scope push --expires \d+[dhm]/).waitFor();
  await visit.dialog().getByRole("button", { name: "Make a token" }).click();
  const shown = page.locator("code.secret");
  await shown.waitFor();
  const token = (await shown.textContent()).trim();
  assert.match(token, /^dv/);
  await page.keyboard.press("Escape");
  await page.getByText("It cannot be shown again. Close it?").waitFor();
  await page.keyboard.press("Escape");
  assert.equal((await shown.textContent()).trim(), token);
  await visit.button("Keep it open").click();
  await visit.button("I have kept it").click();
  await visit.closed();
  assert.ok(!(await page.content()).includes(token));
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!stored.includes("dv"), stored);
  const used = await edge.api("GET", "/v1/apps/shop/environments/prod", { headers: { authorization: `Bearer ${token}` } });
  assert.equal(used.status, 200);
  await page.locator("tr", { hasText: "ci" }).getByRole("button", { name: /Revoke/ }).click();
  await visit.dialog().getByRole("button", { name: "Revoke" }).click();
  await until("the token is refused", async () => {
    return (await edge.api("GET", "/v1/apps/shop/environments/prod", { headers: { authorization: `Bearer ${token}` } })).status === 401;
  });
  await visit.close();
});

test("a token that outlives the session is made once that was confirmed", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\/tokens$/, 403);
  await visit.logIn("/console/apps/shop/tokens");
  await visit.button("Make a token…").click();
  await visit.dialog().getByLabel("Name").fill("deploys");
  await visit.dialog().getByLabel("Ends").selectOption("90d");
  await visit.dialog().getByText("devanture token create --app shop --name deploys --scope push --expires 90d").waitFor();
  await visit.dialog().getByRole("button", { name: "Make a token" }).click();
  await confirm(visit);
  await visit.page.locator("code.secret").waitFor();
  await visit.button("I have kept it").click();
  await visit.closed();
  const { tokens } = (await edge.api("GET", "/v1/tokens?app=shop")).json;
  const { created_ms, expires_ms } = tokens.find(({ name }) => name === "deploys");
  assert.ok(expires_ms - created_ms > 89 * 86_400_000);
  await visit.close();
});

test("a confirmation that was left while it was under way closes no other dialog", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\/tokens$/, 403);
  await visit.logIn("/console/apps/shop/tokens");
  const { page } = visit;
  let goOn;
  const isLeft = new Promise((resolve) => (goOn = resolve));
  await page.route("**/v1/session/confirm", async (route) => {
    await isLeft;
    await route.continue();
  });
  await visit.button("Make a token…").click();
  await visit.dialog().getByLabel("Name").fill("left");
  await visit.dialog().getByLabel("Ends").selectOption("90d");
  await visit.dialog().getByRole("button", { name: "Make a token" }).click();
  const isSent = page.waitForRequest(/\/v1\/session\/confirm$/);
  await confirm(visit);
  await isSent;
  await page.keyboard.press("Escape");
  await visit.dialog().getByText("devanture token create --app shop --name left --scope push --expires 90d").waitFor();
  const answered = page.waitForResponse(/\/v1\/session\/confirm$/);
  goOn();
  await (await answered).finished();
  // The session is confirmed by now: the dialog that was left open does what it says.
  await visit.dialog().getByRole("button", { name: "Make a token" }).click();
  await page.locator("code.secret").waitFor();
  await visit.button("I have kept it").click();
  await visit.closed();
  await visit.close();
});

test("a passkey confirms what an app protects", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/\/rollback$/, 403);
  visit.expect(/^\/v1\/passkeys$/, 403);
  visit.expect(/\/confirmations$/, 403);
  await visit.logIn("/console/account");
  const { page } = visit;
  const authenticator = await visit.context.newCDPSession(page);
  await authenticator.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true };
  const { authenticatorId } = await authenticator.send("WebAuthn.addVirtualAuthenticator", { options: { ...options, automaticPresenceSimulation: true } });
  await visit.button("Add a passkey…").click();
  await visit.dialog().getByLabel("Name").fill("laptop");
  await visit.dialog().getByRole("button", { name: "Add a passkey" }).click();
  // Whoever does not confirm leaves nothing behind on the device.
  await page.getByLabel("Password of ada").waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("This was not confirmed, and nothing was done.").waitFor();
  assert.deepEqual((await authenticator.send("WebAuthn.getCredentials", { authenticatorId })).credentials, []);
  await visit.dialog().getByRole("button", { name: "Add a passkey" }).click();
  await confirm(visit);
  await page.getByText("laptop").first().waitFor();
  await visit.closed();

  const protect = await edge.api("PUT", "/v1/apps/shop/confirmations", { body: { confirm: ["promote", "token", "delete"] } });
  assert.ok(protect.status < 300, protect.text);
  // Another session, which has confirmed nothing; the passkey stays where it is.
  await visit.button("Log out").first().click();
  await page.getByLabel("Account").waitFor();
  await visit.logIn("/console/apps/shop");
  await visit.button("Roll back prod").click();
  await visit.button(`Roll back to ${versions.first.slice(0, 12)}`).click();
  await page.getByText("Confirm that it is you").waitFor();
  assert.equal(await edge.live("shop"), versions.second);
  await visit.button("Use a passkey").click();
  await until("the rollback", async () => (await edge.live("shop")) === versions.first);
  await visit.closed();

  // It logs in, too.
  await visit.button("Log out").first().click();
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.locator("header.bar").waitFor();
  await page.getByText("ada").first().waitFor();
  await visit.close();
});

test("what is confirmed is what was shown, whatever came meanwhile", async () => {
  await edge.push("guarded", "First");
  const staged = await edge.push("guarded", "Second", "--env", "staging");
  await edge.api("PUT", "/v1/apps/guarded/confirmations", { body: { confirm: ["promote"] } });
  const live = await edge.live("guarded");
  const visit = await Visit.open(browser, edge);
  visit.expect(/\/promote$/, 403);
  visit.expect(/\/promote$/, 409);
  await visit.logIn("/console/apps/guarded");
  await visit.button("Promote to prod").click();
  await visit.dialog().locator(".versions", { hasText: staged.version.slice(0, 12) }).waitFor();
  await visit.dialog().getByRole("button", { name: "Promote to prod" }).click();
  await visit.page.getByLabel("Password of ada").waitFor();
  // While the password is typed, somebody pushes to the source.
  const later = await edge.push("guarded", "Third", "--env", "staging");
  await confirm(visit);
  await visit.dialog().getByText(`Meanwhile ${later.version.slice(0, 12)} went live in staging.`).waitFor();
  assert.equal(await edge.live("guarded"), live);
  await visit.dialog().locator(".versions", { hasText: later.version.slice(0, 12) }).waitFor();
  await visit.dialog().getByRole("button", { name: "Promote to prod" }).click();
  await until("the promotion", async () => (await edge.live("guarded")) === later.version);
  await visit.closed();
  await visit.close();
});
