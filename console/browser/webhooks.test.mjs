// Webhooks: added with a secret that is shown once, tried, seen with what was sent, and removed.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import http from "node:http";
import { after, before, test } from "node:test";
import { DESK, PHONE, atEnd, end, start, until, Visit } from "./browser.mjs";

let edge, browser, address;
/** What the receiver got, and how it answers. */
const received = [];
let answers = { status: 204, body: "" };

after(end);

before(async () => {
  ({ edge, browser } = await start());
  await edge.push("shop", "First");
  await edge.push("shop", "Team", "--env", "staging");
  await edge.account("reader", "read", "--app", "shop");
  await edge.account("pusher", "push", "--app", "shop", "--env", "staging");
  const receiver = http.createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      received.push({ headers: request.headers, body });
      response.statusCode = answers.status;
      response.end(answers.body);
    });
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  atEnd(() => new Promise((resolve) => receiver.close(resolve)));
  address = `http://127.0.0.1:${receiver.address().port}/hooks/a-secret-path`;
});

/** Whether a message is signed with the secret, as the form `standard` says. */
function isSigned({ headers, body }, secret) {
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const wanted = createHmac("sha256", Buffer.from(secret.replace("whsec_", ""), "base64")).update(signed).digest("base64");
  return headers["webhook-signature"].split(" ").includes(`v1,${wanted}`);
}

test("one is added, its secret is shown once, and a test says what came of it", async () => {
  const visit = await Visit.open(browser, edge, { bypassCSP: true });
  await visit.logIn("/console/apps/shop/webhooks");
  const { page } = visit;
  await page.getByText("No webhook.").waitFor();
  await visit.button("Add a webhook").click();
  const dialog = visit.dialog();
  const adds = dialog.getByRole("button", { name: "Add a webhook" });
  await dialog.getByLabel("Name").fill("CI");
  await dialog.getByLabel("Address").fill(address);
  assert.ok(await adds.isDisabled());
  await dialog.getByLabel("Name").fill("ci");
  await dialog.getByLabel("Address").fill("ftp://example.org");
  assert.ok(await adds.isDisabled());
  await dialog.getByLabel("Address").fill(address);
  for (const event of ["deploy.live", "environment.locked"]) await dialog.getByLabel(event, { exact: true }).check();
  await dialog.getByLabel("prod", { exact: true }).check();
  await dialog.getByText("--event deploy.live --event environment.locked --from prod").waitFor();
  await adds.click();
  await page.getByRole("heading", { name: "The webhook is added" }).waitFor();
  assert.deepEqual(await visit.axe(), []);
  const secret = await dialog.locator("code.secret").textContent();
  assert.match(secret, /^whsec_/);
  await dialog.getByRole("button", { name: "I have kept it" }).click();
  await visit.closed();
  await page.getByText("active", { exact: true }).waitFor();
  const content = await page.content();
  assert.ok(!content.includes(secret) && !content.includes("a-secret-path"));

  await visit.button("Test: ci").click();
  await visit.dialog().getByRole("button", { name: "Test", exact: true }).click();
  await visit.dialog().getByText("delivered").waitFor();
  await visit.dialog().getByRole("button", { name: "Close" }).last().click();
  await visit.closed();
  assert.ok(isSigned(received.at(-1), secret));
  // A receiver that refuses says so in the dialog, as the text that it is.
  answers = { status: 500, body: "<b onclick=window.broken=1>full</b>" };
  await visit.button("Test: ci").click();
  await visit.dialog().getByRole("button", { name: "Test", exact: true }).click();
  await visit.dialog().getByText("<b onclick=window.broken=1>full</b>").waitFor();
  await visit.dialog().getByRole("button", { name: "Close" }).last().click();
  await visit.closed();
  answers = { status: 204, body: "" };

  // What happens in the environment is sent; what happens elsewhere is not.
  await edge.devanture(["lock", "--app", "shop", "--env", "staging", "--reason", "Elsewhere"]);
  await edge.devanture(["lock", "--app", "shop", "--reason", "The sale"]);
  await until("the message", () => received.some(({ body }) => body.includes("The sale")));
  await visit.button("Messages to ci").click();
  const messages = page.getByRole("group", { name: "Messages to ci" });
  const row = messages.getByRole("row").filter({ hasText: "environment.locked" });
  await row.getByText("delivered").waitFor();
  assert.equal(await row.count(), 1);
  await messages.getByText("<b onclick=window.broken=1>full</b>").waitFor();
  assert.equal(await messages.locator("b").count(), 0);

  const times = () => received.filter(({ body }) => body.includes("The sale")).length;
  await row.getByRole("button", { name: /^Send again/ }).click();
  await visit.dialog().getByRole("button", { name: "Send again" }).click();
  await visit.closed();
  await until("the message again", () => times() === 2);
  await visit.close();
});

test("another secret signs beside the one before, and a change keeps the address", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/webhooks");
  const { page } = visit;
  await visit.button("New secret: ci").click();
  await visit.dialog().getByRole("button", { name: "New secret" }).click();
  await visit.dialog().getByText("Messages are signed with the one before, too, until").waitFor();
  const secret = await visit.dialog().locator("code.secret").textContent();
  await visit.dialog().getByRole("button", { name: "I have kept it" }).click();
  await visit.closed();
  await visit.button("Change: ci").click();
  const dialog = visit.dialog();
  assert.ok(await dialog.getByLabel("deploy.live", { exact: true }).isChecked());
  await dialog.getByLabel("deploy.live", { exact: true }).uncheck();
  await dialog.getByLabel("environment.locked", { exact: true }).uncheck();
  await dialog.getByText("devanture webhooks add ci --app shop --format standard --every-event --from prod").waitFor();
  await dialog.getByRole("button", { name: "Save" }).click();
  await visit.closed();
  await page.getByRole("row").filter({ hasText: "127.0.0.1" }).getByText("all", { exact: true }).waitFor();
  await edge.devanture(["unlock", "--app", "shop"]);
  await until("the message", () => received.some((message) => message.body.includes("environment.unlocked") && isSigned(message, secret)));
  await visit.close();
});

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`they hold to the rules of accessibility, on ${name}`, async () => {
    const visit = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await visit.logIn("/console/apps/shop/webhooks?webhook=ci");
    await visit.page.getByText("webhook.test").first().waitFor();
    const found = await visit.axe();
    await visit.fits();
    for (const [opens, shows] of [["Change: ci", "with none chosen"], ["Remove: ci", "Nothing more is sent to"]]) {
      await visit.button(opens).click();
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

test("who may only look sees them, and who has a right to one environment does not", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/webhooks?webhook=ci", { account: "reader" });
  await visit.page.getByText("webhook.test").first().waitFor();
  assert.equal(await visit.page.getByRole("button", { name: /webhook|^(Test|Change|Remove|New secret|Send again)/ }).count(), 0);
  await visit.close();
  const other = await Visit.open(browser, edge);
  await other.logIn("/console/apps/shop/webhooks", { account: "pusher" });
  await other.page.getByText("You may not see this.").waitFor();
  assert.equal(await other.page.getByRole("link", { name: "Webhooks" }).count(), 0);
  await other.close();
});

test("one is removed", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/webhooks");
  await visit.button("Remove: ci").click();
  await visit.dialog().getByText("devanture webhooks remove ci --app shop").waitFor();
  await visit.dialog().getByRole("button", { name: "Remove" }).click();
  await visit.closed();
  await visit.page.getByText("No webhook.").waitFor();
  assert.deepEqual((await edge.api("GET", "/v1/apps/shop/webhooks")).json.webhooks, []);
  await visit.close();
});
