// The news of a new release, with answers of the test's own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { onNewVersion } from "../index.js";
import { after, eventually } from "./support.mjs";

/** A site whose live version the test sets, and that counts how often it was read. */
function site(t, version, options = {}) {
  const seen = { version, reads: 0, news: [] };
  const fetch = (url, { cache, signal }) => {
    seen.reads += 1;
    assert.deepEqual([url, cache, signal instanceof AbortSignal], [
      "https://shop.example.org/.well-known/devanture/release.json", "no-cache", true,
    ]);
    return seen.version instanceof Error ? Promise.reject(seen.version) : seen.answer?.() ?? Response.json(seen);
  };
  const listen = (live) => {
    seen.news.push(live?.version ?? null);
    if (options.fails) throw new Error("a callback that fails");
  };
  seen.stop = onNewVersion(listen, { origin: "https://shop.example.org", everyMs: 5, fetch, ...options });
  after(t, () => seen.stop());
  return seen;
}

/** Waits until it was read twice more: what was live before is known by then. */
async function looked(seen) {
  const reads = seen.reads + 2;
  await eventually(() => seen.reads >= reads);
}

test("each further version is reported once, and the page's own as its return", async (t) => {
  const seen = site(t, "one");
  await looked(seen);
  assert.deepEqual(seen.news, []);
  for (const version of ["two", "three", "one", "two"]) {
    seen.version = version;
    await looked(seen);
  }
  assert.deepEqual(seen.news, ["two", "three", null, "two"]);
});

test("a page that knows its version hears at the first read that it is replaced", async (t) => {
  const seen = site(t, "two", { version: "one", everyMs: 60_000 });
  await eventually(() => seen.news.length === 1);
  assert.deepEqual([seen.news, seen.reads], [["two"], 1]);
});

test("what is no answer reports nothing, and neither does the end", async (t) => {
  const report = t.mock.method(console, "error", () => {});
  const seen = site(t, "one", { fails: true });
  await looked(seen);
  for (const answer of [
    () => new Response("<html>"), () => new Response("", { status: 503 }), () => Response.json(null),
    () => Response.json({ version: 7 }),
  ]) {
    seen.answer = answer;
    await looked(seen);
  }
  seen.answer = undefined;
  seen.version = new TypeError("no network");
  await looked(seen);
  assert.deepEqual(seen.news, []);
  seen.version = "two";
  await looked(seen);
  // A callback that fails is not called again for the same version.
  assert.deepEqual([seen.news, report.mock.callCount()], [["two"], 1]);
  seen.stop();
  const { reads } = seen;
  seen.version = "three";
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(seen.reads <= reads + 1 && seen.news.length === 1);
});

test("a service that connects again has the release looked up", async (t) => {
  const handlers = [];
  let isOver = false;
  const service = {
    on(event, handler) {
      assert.equal(event, "connected");
      handlers.push(handler);
      return () => (isOver = true);
    },
  };
  const seen = site(t, "one", { service, everyMs: 60_000 });
  await eventually(() => seen.reads === 1);
  await new Promise((resolve) => setImmediate(resolve));
  seen.version = "two";
  handlers[0]();
  await eventually(() => seen.news.length === 1);
  seen.stop();
  assert.ok(isOver);
});

test("a page that looks at events alone, or once a month, waits as long as a timer can", async (t) => {
  for (const everyMs of [Infinity, 31 * 86_400_000]) {
    const timers = t.mock.method(globalThis, "setTimeout");
    const { stop } = site(t, "one", { everyMs });
    const ofPage = () => timers.mock.calls.map(({ arguments: [, ms] }) => ms).find((ms) => ms > 60_000);
    await eventually(ofPage);
    assert.ok(ofPage() < 2 ** 31, `${ofPage()}`);
    stop();
    timers.mock.restore();
  }
});

test("a page cannot look without a rest", () => {
  assert.throws(() => onNewVersion(() => {}, { everyMs: 10, origin: "http://127.0.0.1:9" }), RangeError);
  assert.throws(() => onNewVersion(() => {}, { everyMs: NaN, origin: "http://127.0.0.1:9" }), RangeError);
});
