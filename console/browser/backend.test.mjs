// The backend of an app: its instances and pools are shown and changed, and not asked for where there is none.
import assert from "node:assert/strict";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { PHONE, atEnd, end, start, until, Visit } from "./browser.mjs";

const SERVER = `
const http = require("node:http");
http.createServer((request, response) => response.end("from an instance")).listen(process.env.PORT, "127.0.0.1");
`;

let edge, browser;

after(end);

before(async () => {
  ({ edge, browser } = await start(`[runner]\nenabled = true\npath = "${path.dirname(process.execPath)}:/usr/bin:/bin"\n`));
  await edge.push("plain", "Plain");
  const other = http.createServer((_request, response) => response.end("from another program"));
  await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
  atEnd(() => other.close());
  const folder = edge.site({
    "www/index.html": "<!doctype html><title>Game</title>",
    "server/server.cjs": SERVER,
    "devanture.toml": [
      'app = "game"',
      'www = "www"',
      "[[routes]]",
      'path = "/other/*"',
      `to = "http://127.0.0.1:${other.address().port}"`,
      "[server]",
      'dir = "server"',
      'command = ["node", "server.cjs"]',
      'routes = ["/api/*"]',
      "",
    ].join("\n"),
  });
  await edge.devanture(["push", "--json", "--allow-warnings"], { cwd: folder });
});

test("instances are shown where the edge runs a backend, and are scaled", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/game");
  const { page } = visit;
  await page.getByText("1 of 1 healthy").waitFor();
  await visit.go("/console/apps/game/backend");
  const rows = page.getByRole("group", { name: "Instances" }).locator("tbody tr");
  await rows.first().locator(".mark.good", { hasText: "healthy" }).waitFor();
  await visit.button(/^Scale /).click();
  await visit.dialog().getByLabel("Number of instances").fill("2");
  await visit.dialog().getByRole("button", { name: "Scale" }).click();
  await until("two instances", async () => (await rows.count()) === 2);
  await visit.closed();
  await visit.close();
});

test("a member of a pool that is up is well", async () => {
  const visit = await Visit.open(browser, edge, { viewport: PHONE, bypassCSP: true });
  await visit.logIn("/console/apps/game/backend");
  const { page } = visit;
  await page.locator(".mark.good", { hasText: /^up$/ }).first().waitFor();
  assert.deepEqual(await visit.axe(), []);
  await visit.fits();
  await visit.close();
});

test("an app without a backend is not asked for instances", async () => {
  const visit = await Visit.open(browser, edge);
  const asked = [];
  visit.page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await visit.logIn("/console/apps/plain");
  await visit.page.getByText("revision 0").waitFor();
  await visit.go("/console/apps/plain/backend");
  await visit.page.getByText("No backend here.").waitFor();
  assert.deepEqual(asked.filter((where) => /\/(instances|schedules)$/.test(where)), []);
  await visit.close();
});
