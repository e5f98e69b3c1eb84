// Visitors who are held on earlier versions: where they are, on which versions, and their release.
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, test } from "node:test";
import { DESK, PHONE, end, start, until, Visit } from "./browser.mjs";

let edge, browser;
/** The ids of the versions, by their titles. */
const versions = {};

after(end);

/** Pushes a page that holds its visitors. */
async function push(title, environment, pin = "session") {
  const folder = edge.site({
    "www/index.html": `<!doctype html><title>${title}</title><h1>${title}</h1>`,
    "devanture.toml": `app = "shop"\nwww = "www"\npin = "${pin}"\n`,
  });
  const pushed = JSON.parse(await edge.devanture(["push", "--env", environment, "--message", title, "--json"], { cwd: folder }));
  versions[title] = pushed.version.slice(0, 12);
}

before(async () => {
  ({ edge, browser } = await start());
  await push("Spring", "prod");
  await push("Team", "staging", "off");
  await edge.account("reader", "read", "--app", "shop");
  await edge.account("pusher", "push", "--app", "shop", "--env", "staging");
});

/** What a browser of the site gets that navigates, with the cookies that it was given. */
function visit(cookie) {
  const host = `shop.localhost:${edge.https}`;
  const headers = { host, accept: "text/html", "user-agent": "Firefox", ...(cookie ? { cookie } : {}) };
  const options = { host: "127.0.0.1", port: edge.https, servername: "shop.localhost", path: "/", headers, rejectUnauthorized: false };
  return new Promise((resolve, reject) => {
    https
      .get(options, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (piece) => (text += piece));
        response.on("end", () => resolve({ title: /<title>(.*)<\/title>/.exec(text)?.[1], cookie: response.headers["set-cookie"]?.[0]?.split(";")[0] }));
      })
      .on("error", reject);
  });
}

const row = (visit, text) => visit.page.getByRole("row").filter({ hasText: text });

test("environments that hold nobody on an earlier version say so", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/pins");
  await row(visit, "prod").getByText("held, each on one version").waitFor();
  await row(visit, "staging").getByText("not held").waitFor();
  await visit.page.getByText("Nobody is held on an earlier version.").waitFor();
  assert.equal(await visit.page.getByRole("button", { name: /^Release/ }).count(), 0);
  await visit.close();
});

test("visitors of earlier versions are seen on the overview, and released by keyboard", async () => {
  const { cookie } = await visit();
  await push("Summer", "prod");
  await push("Autumn", "prod");
  assert.equal((await visit(cookie)).title, "Spring");
  const looks = await Visit.open(browser, edge);
  await looks.logIn("/console/apps/shop");
  const { page } = looks;
  await page.getByRole("link", { name: "on 2 earlier versions" }).click();
  const held = page.getByRole("group", { name: "Earlier versions that are held" });
  await held.getByRole("row").filter({ hasText: versions.Summer }).getByText("Summer").waitFor();
  await held.getByRole("row").filter({ hasText: versions.Spring }).getByText("Spring").waitFor();
  await row(looks, "prod").first().getByText("on 2 earlier versions").waitFor();

  // Escape leaves it as it was.
  const release = looks.button("Release: prod");
  await release.focus();
  await page.keyboard.press("Enter");
  await looks.dialog().getByText("devanture unpin --app shop").waitFor();
  await page.keyboard.press("Escape");
  await looks.closed();
  assert.equal((await visit(cookie)).title, "Spring");
  await release.focus();
  await page.keyboard.press("Enter");
  const dialog = looks.dialog();
  await dialog.getByText(`${versions.Summer}, ${versions.Spring}`).waitFor();
  const confirms = dialog.getByRole("button", { name: "Release", exact: true });
  for (let tabs = 0; tabs < 10 && !(await confirms.evaluate((button) => button === document.activeElement)); tabs += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await looks.closed();
  await page.getByText("The visitors of prod who were on 2 earlier versions are released.").waitFor();
  await page.getByText("Nobody is held on an earlier version.").waitFor();
  assert.equal((await visit(cookie)).title, "Autumn");
  await looks.close();
});

test("who may only look is offered nothing, and a right that went meanwhile is a refusal in the dialog", async () => {
  const { cookie } = await visit();
  await push("Winter", "prod");
  const looks = await Visit.open(browser, edge);
  await looks.logIn("/console/apps/shop/pins", { account: "reader" });
  await row(looks, versions.Autumn).waitFor();
  assert.equal(await looks.page.getByRole("button", { name: /^Release/ }).count(), 0);
  await looks.close();
  // A right to another environment shows that one alone.
  const other = await Visit.open(browser, edge);
  await other.logIn("/console/apps/shop/pins", { account: "pusher" });
  await row(other, "staging").waitFor();
  assert.equal(await row(other, "prod").count(), 0);
  await other.close();

  const refused = await Visit.open(browser, edge);
  refused.expect(/\/pins$/, 403);
  const pins = /\/v1\/apps\/shop\/environments\/prod\/pins$/;
  const problem = { title: "Forbidden", status: 403, code: "forbidden", detail: "The token may not do that.", hint: "use one with the scope push" };
  await refused.page.route(pins, (route) => route.fulfill({ status: 403, contentType: "application/problem+json", body: JSON.stringify(problem) }));
  await refused.logIn("/console/apps/shop/pins");
  await refused.button("Release: prod").click();
  await refused.dialog().getByRole("button", { name: "Release", exact: true }).click();
  await refused.dialog().getByText("The token may not do that.").waitFor();
  await refused.page.keyboard.press("Escape");
  await refused.closed();
  assert.equal((await visit(cookie)).title, "Autumn");
  await refused.close();
});

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`it holds to the rules of accessibility, on ${name}`, async () => {
    const looks = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await looks.logIn("/console/apps/shop/pins");
    await row(looks, versions.Autumn).waitFor();
    const found = await looks.axe();
    await looks.fits();
    await looks.button("Release: prod").click();
    await looks.dialog().getByText("also in the middle of a form").waitFor();
    found.push(...(await looks.axe()));
    await looks.fits();
    assert.deepEqual(found, []);
    await looks.page.keyboard.press("Escape");
    await looks.closed();
    await until("the overview to say it too", async () => (await edge.api("GET", "/v1/apps/shop/environments/prod")).json.pinned?.length > 0);
    await looks.close();
  });
}
