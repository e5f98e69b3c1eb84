// What a person may not do, what other origins may not, and the end of sessions.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { atEnd, end, start, until, Visit } from "./browser.mjs";

let edge, browser;

after(end);

before(async () => {
  ({ edge, browser } = await start());
  await edge.push("shop", "First");
  await edge.push("shop", "Second");
  await edge.account("reader", "read", "--app", "shop");
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
  const row = other.page.locator("tr").filter({ has: other.page.getByRole("button", { name: /^End: / }) }).filter({ hasText: "ada" });
  await row.first().waitFor();
  // Every other session of this account: the tests before have left theirs, too.
  for (let left = await row.count(); left > 0; left -= 1) {
    await row.first().getByRole("button", { name: /^End: / }).click();
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

test("the end of a session is said above what is open", async () => {
  const visit = await Visit.open(browser, edge);
  visit.expect(/^\/v1\//, 401);
  await visit.logIn("/console/apps/shop/settings");
  const { page } = visit;
  await visit.button("Add…").click();
  await visit.dialog().getByLabel("Name").fill("API_KEY");
  const { id } = await page.evaluate(() => fetch("/v1/session").then((answer) => answer.json()));
  assert.equal((await edge.api("DELETE", `/v1/sessions/${id}`)).status, 204);
  await visit.dialog().getByLabel("Value").fill("typed");
  await visit.dialog().getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Your session has ended." }).waitFor();
  // What was typed is still there to be copied.
  assert.equal(await page.locator("dialog").first().getByLabel("Value").inputValue(), "typed");
  await visit.button("Log in again").click();
  await page.getByLabel("Password").waitFor();
  await visit.close();
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
