// Tokens that are shown once, what a person may not do, passkeys and confirmations, other origins and the end of sessions.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { atEnd, end, start, until, Visit } from "./browser.mjs";

let edge, browser;
const versions = {};

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.first = (await edge.push("shop", "First")).version;
  versions.second = (await edge.push("shop", "Second")).version;
  await edge.account("reader", "read", "--app", "shop");
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
  await visit.dialog().getByText("devanture token create --app shop --name ci --scope push --expires 90d").waitFor();
  await visit.dialog().getByRole("button", { name: "Make a token" }).click();
  // It outlives the session: that is confirmed first.
  await confirm(visit);
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
  await page.locator("dialog").waitFor({ state: "detached" });
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

test("what a person may not do is not offered", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop", { account: "reader" });
  const { page } = visit;
  await page.getByText("You may look, and change nothing here.").waitFor();
  for (const name of [/Roll back/, /Promote/, /Lock/, /Pause/]) assert.equal(await page.getByRole("button", { name }).count(), 0);
  for (const name of ["Audit log", "Nodes", "Tokens"]) assert.equal(await page.getByRole("link", { name, exact: true }).count(), 0);
  await visit.go("/console/apps/shop/settings");
  await page.getByText("Nothing is set.").waitFor();
  assert.equal(await visit.button("Add…").count(), 0);
  await visit.go("/console/apps/shop/upkeep");
  await page.getByText("Nothing was deleted lately.").waitFor();
  assert.equal(await page.getByRole("button", { name: /Delete/ }).count(), 0);
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
  await authenticator.send("WebAuthn.addVirtualAuthenticator", { options: { ...options, automaticPresenceSimulation: true } });
  await visit.button("Add a passkey…").click();
  await visit.dialog().getByLabel("Name").fill("laptop");
  await visit.dialog().getByRole("button", { name: "Add a passkey" }).click();
  await confirm(visit);
  await page.getByText("laptop").first().waitFor();
  await page.locator("dialog").waitFor({ state: "detached" });

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
  await page.locator("dialog").waitFor({ state: "detached" });

  // It logs in, too.
  await visit.button("Log out").first().click();
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.locator("header.bar").waitFor();
  await page.getByText("ada").first().waitFor();
  await visit.close();
});

test("another origin changes and reads nothing", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn();
  const attacker = http.createServer((_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>Evil</title><p>Evil</p>");
  });
  await new Promise((resolve) => attacker.listen(0, "127.0.0.1", resolve));
  atEnd(() => attacker.close());
  const before = await edge.live("shop");
  const page = await visit.context.newPage();
  await page.goto(`http://127.0.0.1:${attacker.address().port}/`);
  const tried = await page.evaluate(async (origin) => {
    const outcomes = [];
    for (const [method, mode] of [["POST", "no-cors"], ["POST", "cors"], ["GET", "cors"], ["DELETE", "cors"]]) {
      const where = method === "GET" ? "/v1/apps" : "/v1/apps/shop/environments/prod/rollback";
      try {
        const answer = await fetch(origin + where, { method, mode, credentials: "include" });
        outcomes.push(answer.type === "opaque" ? "opaque" : `read ${answer.status}`);
      } catch {
        outcomes.push("refused");
      }
    }
    return outcomes;
  }, edge.origin);
  assert.deepEqual(tried.slice(1), ["refused", "refused", "refused"]);
  // A form goes wherever it wants; it finds nothing to act on.
  await page.evaluate((origin) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = `${origin}/v1/apps/shop/environments/prod/rollback`;
    document.body.append(form);
    form.submit();
  }, edge.origin);
  await page.waitForURL(`${edge.origin}/**`);
  assert.equal(await edge.live("shop"), before);
  // Nor is the console shown in a frame of another page.
  await page.goto(`http://127.0.0.1:${attacker.address().port}/`);
  await page.evaluate((origin) => {
    const frame = document.createElement("iframe");
    frame.src = `${origin}/console/`;
    document.body.append(frame);
    return new Promise((resolve) => (frame.onload = resolve));
  }, edge.origin);
  assert.equal(await page.frameLocator("iframe").getByText("Apps").count(), 0);
  await page.close();
  await visit.close();
});

test("a session that has ended shows the login", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\//, 401);
  await visit.logIn();
  const { page } = visit;
  const own = await page.evaluate(() => fetch("/v1/session").then((answer) => answer.json()));
  assert.equal(own.account, "ada");
  assert.equal(await page.evaluate(() => document.cookie), "");
  const other = await Visit.open(browser, edge);
  await other.logIn("/console/account");
  const cookies = await other.context.cookies();
  assert.deepEqual(
    cookies.map(({ name, httpOnly, secure, sameSite }) => [name, httpOnly, secure, sameSite]),
    [["__Host-Http-devanture-session", true, true, "Strict"]],
  );
  const row = other.page.locator("tr").filter({ has: other.page.getByRole("button", { name: "End…" }) }).filter({ hasText: "ada" });
  await row.first().waitFor();
  // Every other session of this account: the tests before have left theirs, too.
  for (let left = await row.count(); left > 0; left -= 1) {
    await row.first().getByRole("button", { name: "End…" }).click();
    await other.dialog().getByRole("button", { name: "End" }).click();
    await until("the session is gone from the list", async () => (await row.count()) < left);
  }
  await page.getByRole("link", { name: "Account" }).click();
  await page.getByLabel("Password").waitFor();
  await visit.close();
  other.expect(/^\/v1\//, 401);
  await other.button("Log out").first().click();
  await other.page.getByLabel("Password").waitFor();
  await other.close();
});

test("a login by a token acts as the token, and ends with it", async () => {
  const token = (await edge.own("token", "create", "--app", "shop", "--name", "phone", "--scope", "push")).trim();
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\//, 401);
  await visit.logIn("/console/apps/shop", { token });
  const { page } = visit;
  await visit.button("Roll back prod").waitFor();
  await page.getByText("phone").first().waitFor();
  const { tokens } = (await edge.api("GET", "/v1/tokens?app=shop")).json;
  const { id } = tokens.find(({ name }) => name === "phone");
  assert.equal((await edge.api("DELETE", `/v1/tokens/${id}`)).status, 204);
  // The overview asks again by itself, and the page becomes the login.
  await page.getByLabel("Password").waitFor();
  await visit.close();
});
