// Three nodes of a cluster: each of them shows all of it, and a browser acts at each by that node's own pages.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { atEnd, end, startCluster, until, Visit } from "./browser.mjs";
import { withCart } from "./edge.mjs";

let nodes, browser, backend;
const versions = {};
/** Requests of the smoke check that the test has not let go yet. */
const held = [];

after(end);

before(async () => {
  ({ nodes, browser } = await startCluster());
  backend = http.createServer((_request, response) => held.push(response));
  await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
  atEnd(() => {
    backend.closeAllConnections();
    backend.close();
  });
  versions.first = (await nodes[0].push("shop", "First", "--message", "The first page")).version;
});

/** The table of nodes: the state of each by its name. */
function states(page) {
  return page.locator("tbody tr").evaluateAll((rows) => Object.fromEntries(rows.map((row) => [row.cells[0].innerText.split(/\s/)[0], row.cells[1].innerText.trim()])));
}

test("each node lists all of them", async () => {
  for (const node of nodes) {
    const visit = await Visit.open(browser, node);
    await visit.logIn("/console/nodes");
    const all = { "edge-1": "ready", "edge-2": "ready", "edge-3": "ready" };
    await until("three nodes that are ready", async () => JSON.stringify(await states(visit.page)) === JSON.stringify(all));
    await until("the version that is live", async () => {
      const ready = await visit.page.locator("tbody tr > :last-child").allInnerTexts();
      return ready.join(", ") === "1 / 1, 1 / 1, 1 / 1";
    });
    await visit.go("/console/apps/shop");
    await visit.page.getByText("3 of 3 ready").waitFor();
    await visit.close();
  }
});

test("a push by one node is watched at another, with a line for each node", async () => {
  const visit = await Visit.open(browser, nodes[1]);
  await visit.logIn("/console/apps/shop/deploys");
  const { page } = visit;
  await page.getByText("No push is under way.").waitFor();
  const folder = nodes[0].site(withCart("Second", backend));
  const push = nodes[0].devanture(["push", "--json", "--message", "The second page"], { cwd: folder });
  const recent = page.locator("article.recent", { hasText: "The second page" });
  const prepare = recent.locator("li", { hasText: "prepare" });
  await prepare.locator(".mark.good").waitFor();
  await recent.locator("li", { hasText: "smoke" }).locator(".mark.busy").waitFor();
  // As long as the check is held, this is what there is to see.
  assert.deepEqual(await prepare.locator(".step-detail p").allInnerTexts(), ["edge-1 ready", "edge-2 ready", "edge-3 ready"]);
  assert.equal(await nodes[1].live("shop"), versions.first);
  await until("the request of the smoke check", () => held.length > 0);
  for (const response of held.splice(0)) response.end("a cart");
  versions.second = JSON.parse(await push).version;
  await page.locator("li.entry.current", { hasText: versions.second.slice(0, 12) }).waitFor();
  await page.getByText("No push is under way.").waitFor();
  for (const node of nodes) assert.equal(await node.live("shop"), versions.second);
  await visit.close();
});

test("a login holds at every node, by that node's own pages alone", async () => {
  // Without the policy of the page, so that it is the other node that refuses.
  const visit = await Visit.open(browser, nodes[0], { bypassCSP: true });
  await visit.logIn("/console/apps/shop");
  const where = "/v1/apps/shop/environments/prod/rollback";
  const other = await visit.context.newPage();
  await other.goto(`${nodes[0].origin}/console/`);
  const refused = other.waitForResponse((response) => response.url() === nodes[1].origin + where);
  const read = await other.evaluate(
    async ([session, change]) => {
      await fetch(change, { method: "POST", mode: "no-cors", credentials: "include" });
      return fetch(session, { credentials: "include" }).then((answer) => `read ${answer.status}`, () => "refused");
    },
    [`${nodes[1].origin}/v1/session`, nodes[1].origin + where],
  );
  assert.equal((await refused).status(), 403);
  assert.equal(read, "refused");
  await other.close();
  assert.equal(await nodes[1].live("shop"), versions.second);

  // At its own address the second node knows the session of the first: they have one host, and one catalog.
  const second = await visit.beside(nodes[1]);
  await second.go("/console/apps/shop");
  await second.button("Roll back prod").click();
  await second.dialog().getByLabel("Reason").fill("By the second node");
  await second.button(`Roll back to ${versions.first.slice(0, 12)}`).click();
  await second.closed();
  for (const node of nodes) await until(`the rollback at ${node.name}`, async () => (await node.live("shop")) === versions.first);
  await visit.page.getByText("By the second node").waitFor();

  // At another host of the third one there is no session yet.
  const third = await visit.beside({ ...nodes[2], origin: nodes[2].origin.replace("localhost", "127.0.0.1") });
  await third.go("/console/apps/shop");
  await third.page.getByLabel("Password").waitFor();

  // A logout at one is one at all.
  visit.expect(/^\/v1\//, 401);
  await second.button("Log out").first().click();
  await second.page.getByLabel("Password").waitFor();
  await visit.go("/console/");
  await visit.page.getByLabel("Password").waitFor();
  await visit.close();
});

test("a node that was killed is gone", async () => {
  const visit = await Visit.open(browser, nodes[0]);
  await visit.logIn("/console/nodes");
  const { page } = visit;
  await until("three nodes", async () => Object.keys(await states(page)).length === 3);
  await nodes[2].kill();
  await until("the end of its lease", async () => (await states(page))["edge-3"] === "gone");
  const { "edge-1": first, "edge-2": second } = await states(page);
  assert.deepEqual([first, second], ["ready", "ready"]);
  // The others go on.
  const third = await nodes[1].push("shop", "Third", "--message", "The third page");
  await visit.go("/console/apps/shop");
  await page.getByText("2 of 2 ready").waitFor();
  await page.getByText(third.version.slice(0, 12)).first().waitFor();
  await visit.close();
});
