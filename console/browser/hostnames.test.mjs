// Hostnames: the records of DNS by which browsers come by HTTP/3 at once, to be copied into the form of a provider.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PHONE, end, start, Visit } from "./browser.mjs";

const RECORDS = [
  'www.shop.example. 3600 IN HTTPS 1 . alpn="h3" no-default-alpn port=444',
  'www.shop.example. 3600 IN HTTPS 2 . alpn="h2"',
];
let edge, browser;

after(end);

before(async () => {
  ({ edge, browser } = await start());
  await edge.push("shop", "First");
  await edge.devanture(["hostnames", "add", "www.shop.example", "--app", "shop"]);
});

test("the records of type HTTPS are shown in the parts of a form, and copied as a line", async () => {
  for (const viewport of [undefined, PHONE]) {
    const visit = await Visit.open(browser, edge, { bypassCSP: true, ...(viewport ? { viewport } : {}) });
    const { page } = visit;
    // The authority of the tests is none that browsers accept, so that the edge itself has no record to give.
    await page.route("**/environments/prod/hostnames?*", async (route) => {
      const { pathname, search } = new URL(route.request().url());
      const { json } = await edge.api("GET", pathname + search);
      for (const host of json.hostnames) host.https_records = RECORDS;
      await route.fulfill({ json });
    });
    await visit.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: edge.origin });
    await visit.logIn("/console/apps/shop/hostnames");
    const table = page.getByRole("group", { name: "DNS records for HTTP/3" });
    await table.getByText('1 . alpn="h3" no-default-alpn port=444').waitFor();
    await table.getByRole("button", { name: "Copy the record of www.shop.example." }).last().click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), RECORDS[1]);
    await visit.button("Copy all of them").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${RECORDS.join("\n")}\n`);
    assert.deepEqual(await visit.axe(), []);
    await visit.fits();
    await visit.close();
  }
});

test("an edge that gives no records shows no place for them", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/hostnames");
  await visit.page.getByText("local authority").first().waitFor();
  assert.equal(await visit.page.getByText("DNS records for HTTP/3").count(), 0);
  await visit.close();
});
